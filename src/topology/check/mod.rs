//! What takes more than one table to see: ends that are no cluster, topics both named and
//! excluded, former names, and (in [`flow`]) where topics end up.

use std::collections::HashMap;

use crate::nearest::nearest;

use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::engines::Engine;
use super::model::{Span, Spanned};
use super::read::{self, Draft, DraftLink};

mod broker_links;
mod examples;
mod flow;

/// Checks the whole draft.
pub(super) fn check(draft: &Draft) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    check_ends(draft, &mut found);
    check_addresses(draft, &mut found);
    check_moves(draft, &mut found);
    for link in &draft.links {
        check_excluded(link, &mut found);
    }
    check_endpoints(draft, &mut found);
    broker_links::check(draft, &mut found);
    found.extend(flow::check(draft));
    found
}

fn check_ends(draft: &Draft, found: &mut Vec<Diagnostic>) {
    for link in &draft.links {
        for (key, end) in [("source", &link.source), ("destination", &link.destination)] {
            if let Some(end) = end
                && !draft.cluster_names.contains_key(&end.value)
            {
                found.push(unknown_cluster(draft, link, key, end));
            }
        }
    }
}

/// An endpoint that no engine asks is there for nothing.
fn check_endpoints(draft: &Draft, found: &mut Vec<Diagnostic>) {
    for cluster in draft.clusters.values() {
        let engines: Vec<Engine> = draft
            .links
            .iter()
            .filter(|link| {
                link.link.source == cluster.name || link.link.destination == cluster.name
            })
            .map(|link| link.link.engine)
            .collect();
        let used = |needs: fn(Engine) -> bool| engines.iter().any(|engine| needs(*engine));
        for (key, endpoint, used) in [
            ("rest", &cluster.rest, used(Engine::needs_rest)),
            ("connect", &cluster.connect, used(Engine::needs_connect)),
        ] {
            let Some(endpoint) = endpoint.as_ref().filter(|_| !used) else {
                continue;
            };
            found.push(
                Diagnostic::warning(
                    Code::UnusedEndpoint,
                    format!("`{key}` of cluster `{}` is not used", cluster.name),
                )
                .at(endpoint.span, "no link's engine needs it")
                .help(format!(
                    "leave `{key}` out: the engine `{}` speaks to brokers only",
                    Engine::default().name()
                )),
            );
        }
    }
}

fn unknown_cluster(
    draft: &Draft,
    link: &DraftLink,
    key: &str,
    end: &Spanned<String>,
) -> Diagnostic {
    let names = || draft.cluster_names.keys().map(String::as_str);
    let help = match nearest(&end.value, names()) {
        Some(name) => format!("did you mean `{name}`?"),
        None if draft.cluster_names.is_empty() => {
            format!("add a table [clusters.{}]", end.value)
        }
        None => {
            let names: Vec<_> = names().map(|name| format!("`{name}`")).collect();
            format!("the clusters of this file are {}", names.join(", "))
        }
    };
    Diagnostic::error(
        Code::UnknownCluster,
        format!(
            "the {key} of link `{}` is no cluster of this file",
            link.link.name
        ),
    )
    .at(end.span, format!("there is no [clusters.{}]", end.value))
    .help(help)
}

/// What tells that two tables are one cluster: a shared address, or the same pinned id.
fn marks(draft: &Draft) -> impl Iterator<Item = (&str, String, &Spanned<String>)> {
    let addresses = draft.addresses.iter().map(|(cluster, address)| {
        let mark = read::canonical_address(&address.value);
        (cluster.as_str(), mark, address)
    });
    let ids = draft.clusters.values().filter_map(|cluster| {
        let id = cluster.cluster_id.as_ref()?;
        // An address has a colon, so the two kinds cannot be mistaken for each other.
        Some((cluster.name.as_str(), id.value.clone(), id))
    });
    addresses.chain(ids)
}

fn check_addresses(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<String, (&str, Span)> = HashMap::new();
    for (cluster, mark, written) in marks(draft) {
        let Some((other, first)) = seen.get(&mark) else {
            seen.insert(mark, (cluster, written.span));
            continue;
        };
        let message = if *other == cluster {
            format!("`{}` is listed twice", written.value)
        } else {
            format!("`{other}` and `{cluster}` are one cluster")
        };
        let mut diagnostic = Diagnostic::warning(Code::SharedAddress, message)
            .at(written.span, "again here")
            .at(*first, "first here");
        if *other != cluster {
            diagnostic = diagnostic.help("give it one name and use that in the links");
        }
        found.push(diagnostic);
    }
}

/// Second and further names of a cluster, with its first.
fn aliases(draft: &Draft) -> HashMap<&str, &str> {
    let mut first_with: HashMap<String, &str> = HashMap::new();
    let mut aliases: HashMap<&str, &str> = HashMap::new();
    for (cluster, mark, _) in marks(draft) {
        let name = aliases.get(cluster).copied().unwrap_or(cluster);
        let first = *first_with.entry(mark).or_insert(name);
        if first != name {
            for known in aliases.values_mut().filter(|known| **known == name) {
                *known = first;
            }
            aliases.insert(name, first);
        }
    }
    aliases
}

fn check_moves(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for DraftLink { link, .. } in &draft.links {
        let Some(moved) = &link.moved else {
            continue;
        };
        let same = draft
            .links
            .iter()
            .find(|other| other.link.name == moved.value);
        let problem = |message: String| Diagnostic::error(Code::BadMove, message);
        if moved.value.is_empty() {
            let message = format!("the former name of link `{}` is empty", link.name);
            found.push(
                problem(message)
                    .at(moved.span, "no link was called this")
                    .help("leave `moved` out"),
            );
        } else if moved.value == link.name {
            let message = format!("link `{}` is moved from its own name", link.name);
            found.push(
                problem(message)
                    .at(moved.span, "this is its name now")
                    .help("`moved` is the name that the link had before; leave it out if it had no other"),
            );
        } else if let Some(same) = same {
            let message = format!("`{}` is still the name of a link", moved.value);
            found.push(
                problem(message)
                    .at(moved.span, format!("link `{}` is moved from it", link.name))
                    .at(same.link.span, "this link is called so")
                    .help("rename the table, or leave `moved` out"),
            );
        } else if let Some(first) = seen.insert(&moved.value, moved.span) {
            let message = format!("two links are moved from `{}`", moved.value);
            found.push(
                problem(message)
                    .at(moved.span, "again here")
                    .at(first, "first here"),
            );
        }
    }
}

/// `exclude` wins, so what is named and excluded would silently not be mirrored.
fn check_excluded(DraftLink { link, .. }: &DraftLink, found: &mut Vec<Diagnostic>) {
    let named = link
        .topics
        .iter()
        .filter_map(|selector| Some((selector.value.as_name()?, selector.span)));
    let mirrors = link
        .mirrors
        .iter()
        .map(|(topic, mirror)| (topic.as_str(), mirror.span));
    for (topic, span) in named.chain(mirrors) {
        let excluded = link
            .exclude
            .iter()
            .find(|selector| selector.value.matches(topic));
        if let Some(selector) = excluded {
            found.push(
                Diagnostic::error(
                    Code::NamedAndExcluded,
                    format!("link `{}` both names and excludes `{topic}`", link.name),
                )
                .at(span, "named here")
                .at(selector.span, "excluded here")
                .help("remove one of the two"),
            );
        }
    }
}
