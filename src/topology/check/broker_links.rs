//! Links that brokers carry, beside each other: endpoints that they are set up through, both directions of a bidirectional one,
//! prefixes that only one link to a cluster can have.

use std::collections::HashMap;

use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::engines::Engine;
use crate::topology::model::{Link, LinkState};
use crate::topology::read::{Draft, DraftLink};

pub(super) fn check(draft: &Draft, found: &mut Vec<Diagnostic>) {
    let links = || {
        let links = draft.links.iter();
        links.filter(|link| link.link.engine == Engine::ClusterLink)
    };
    for link in links() {
        check_endpoints(draft, link, found);
        check_pair(links(), link, found);
    }
    check_prefixes(links(), found);
    check_names(links(), found);
}

/// The halves of a link are made where their clusters' brokers are asked.
fn check_endpoints(draft: &Draft, DraftLink { link, .. }: &DraftLink, found: &mut Vec<Diagnostic>) {
    let at_source = link.has_half_at_source();
    let ends = [
        (&link.destination, true, "the link is made there"),
        (
            &link.source,
            at_source,
            "the half at the source is made there",
        ),
    ];
    for (cluster, is_needed, why) in ends {
        let Some(cluster) = draft.clusters.get(cluster).filter(|_| is_needed) else {
            continue;
        };
        if cluster.rest.is_none() {
            found.push(
                Diagnostic::error(
                    Code::MissingKey,
                    format!("cluster `{}` has no `rest`", cluster.name),
                )
                .at(cluster.span, why)
                .at(link.span, "needed by this link")
                .help(format!(
                    "add [clusters.{}.rest] with url = \"https://HOST:8090/kafka\"",
                    cluster.name
                )),
            );
        }
    }
}

/// A bidirectional link is two links of the file: of one name at the brokers, with swapped ends.
fn check_pair<'d>(
    links: impl Iterator<Item = &'d DraftLink>,
    DraftLink { link, .. }: &DraftLink,
    found: &mut Vec<Diagnostic>,
) {
    let Some(shared) = &link.brokers.bidirectional else {
        return;
    };
    let others: Vec<&Link> = links
        .map(|other| &other.link)
        .filter(|other| other.name != link.name)
        .filter(|other| {
            let name = other.brokers.bidirectional.as_ref();
            name.is_some_and(|name| name.value == shared.value)
        })
        .collect();
    let problem = |text: String| Diagnostic::error(Code::InvalidValue, text);
    match others.as_slice() {
        [] => found.push(
            problem(format!(
                "the other direction of `{}` is missing",
                shared.value
            ))
            .at(shared.span, "this is one direction")
            .help(format!(
                "add a link with source = {:?}, destination = {:?} and bidirectional = {:?}",
                link.destination, link.source, shared.value
            )),
        ),
        [other] if other.source != link.destination || other.destination != link.source => {
            found.push(
                problem(format!(
                    "`{}` and `{}` are not the two directions of one link",
                    link.name, other.name
                ))
                .at(shared.span, "one direction")
                .at(other.span, "the other one has other ends")
                .help("their ends have to be the same two clusters, swapped"),
            );
        }
        [other] => {
            let (Some(one), Some(two)) = (
                link.brokers.source_initiated,
                other.brokers.source_initiated,
            ) else {
                return;
            };
            if link.name < other.name {
                found.push(
                    problem(format!(
                        "nobody opens the connections of `{}`",
                        shared.value
                    ))
                    .at(one, "begun by the other side")
                    .at(two, "and here as well")
                    .help("leave `initiated_by` out of the link whose destination connects"),
                );
            }
        }
        [first, ..] => found.push(
            problem(format!("`{}` has more than two directions", shared.value))
                .at(shared.span, "here")
                .at(first.span, "also here")
                .help("a name of a bidirectional link stands in two links"),
        ),
    }
}

fn check_prefixes<'d>(links: impl Iterator<Item = &'d DraftLink>, found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<(&str, &str), &DraftLink> = HashMap::new();
    for draft in links.filter(|draft| draft.link.state != LinkState::Absent) {
        let Some(prefix) = draft.link.prefix() else {
            continue;
        };
        let Some(first) = seen.get(&(draft.link.destination.as_str(), prefix)) else {
            seen.insert((&draft.link.destination, prefix), draft);
            continue;
        };
        let place = |draft: &DraftLink| draft.rename_span.unwrap_or(draft.link.span);
        found.push(
            Diagnostic::error(
                Code::InvalidValue,
                format!(
                    "two links to cluster `{}` have the prefix `{prefix}`",
                    draft.link.destination
                ),
            )
            .at(place(draft), "brokers refuse it")
            .at(place(first), "the other one")
            .help("a prefix belongs to one link of a cluster"),
        );
    }
}

/// Brokers know a link by its name, on each cluster that has a half of it.
fn check_names<'d>(links: impl Iterator<Item = &'d DraftLink>, found: &mut Vec<Diagnostic>) {
    let mut seen: HashMap<(&str, &str), &Link> = HashMap::new();
    for DraftLink { link, .. } in links {
        let mut clusters = vec![link.destination.as_str()];
        if link.has_half_at_source() {
            clusters.push(&link.source);
        }
        for cluster in clusters {
            let Some(first) = seen.insert((cluster, link.broker_name()), link) else {
                continue;
            };
            found.push(
                Diagnostic::error(
                    Code::InvalidValue,
                    format!(
                        "`{}` and `{}` are one link to the brokers of `{cluster}`",
                        first.name, link.name
                    ),
                )
                .at(link.span, "called the same there")
                .at(first.span, "first here")
                .help("give one of them another name"),
            );
        }
    }
}
