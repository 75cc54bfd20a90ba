//! `mm2.properties`: clusters by alias, flows `a->b`, and settings for all of them.

use super::super::ImportError;
use super::super::input::Input;
use super::super::model::Draft;
use super::super::settings::{Setting, Settings, is_plain_name};
use super::{Flow, connection, is_connection};

/// Where copies begin.
const RESET: &str = "consumer.auto.offset.reset";

/// The flows that are enabled.
///
/// # Errors
/// There are no clusters, or no flow is enabled.
pub(super) fn flows(input: &Input, draft: &mut Draft) -> Result<Vec<Flow>, ImportError> {
    let mut all = Settings::of_properties(input);
    let aliases: Vec<String> = match all.take_list("clusters") {
        Some((aliases, _))
            if !aliases.is_empty() && aliases.iter().all(|alias| is_plain_name(alias)) =>
        {
            aliases
        }
        found => {
            let place = found.map_or_else(|| input.place(0), |(_, setting)| setting.place);
            return Err(ImportError::new(place, "no clusters are named")
                .hint("`clusters = a, b` names them, as in the file that connect-mirror-maker.sh is given"));
        }
    };
    let mut pairs = Vec::new();
    for source in &aliases {
        for target in aliases.iter().filter(|target| *target != source) {
            let own = all.take_prefixed(&format!("{source}->{target}."));
            if !own.is_empty() {
                pairs.push((source, target, own));
            }
        }
    }
    let mut clients = clients(&mut all, &aliases);
    for alias in &aliases {
        // Settings of a worker have a cluster's prefix, too.
        let client = clients.get_mut(alias).expect("each alias has settings");
        for prefix in ["consumer.", "producer.", "admin."] {
            let own = connection(client, prefix);
            client.fill(&own);
        }
    }
    let mut flows = Vec::new();
    for (source, target, mut own) in pairs {
        let enabled = own.take("enabled");
        if !enabled.as_ref().is_some_and(Setting::is_true) {
            let why = format!("the flow from {source} to {target} is not enabled");
            let left = enabled.iter().chain(own.iter());
            draft
                .findings
                .extend(left.map(|setting| setting.unneeded(why.clone())));
            continue;
        }
        let place = enabled.map_or_else(|| input.place(0), |setting| setting.place);
        let mut consumer = clients[source].clone();
        own.fill(&consumer.take_where(|setting| setting.key == RESET));
        own.fill(&all);
        let of = |alias: &String| {
            let mut client = clients[alias].clone();
            client.take_where(|setting| is_of_one_client(&setting.key));
            client
        };
        flows.push(Flow {
            name: format!("{source}-to-{target}"),
            source: source.clone(),
            target: target.clone(),
            returns: false,
            own: Some(format!("{source}->{target}.")),
            settings: own,
            source_client: of(source),
            target_client: of(target),
            paused: false,
            place,
        });
    }
    for alias in &aliases {
        // Once for each cluster, not for each of its flows.
        let tuned = clients[alias]
            .iter()
            .filter(|setting| is_of_one_client(&setting.key));
        let tuned = tuned.filter(|setting| setting.key != RESET);
        let why = "batches are copied as they are";
        draft
            .findings
            .extend(tuned.map(|setting| setting.unneeded(why)));
    }
    if flows.is_empty() {
        return Err(ImportError::new(input.place(0), "no flow is enabled")
            .hint("`a->b.enabled = true` enables the one from a to b"));
    }
    Ok(flows)
}

fn is_of_one_client(key: &str) -> bool {
    ["consumer.", "producer.", "admin."]
        .iter()
        .any(|prefix| key.starts_with(prefix))
}

/// Takes what belongs to each cluster; what is said about connections without a cluster holds for all.
fn clients(all: &mut Settings, aliases: &[String]) -> std::collections::HashMap<String, Settings> {
    let shared = all.take_where(|setting| is_connection(&setting.key));
    // `a.b.` before `a.`
    let mut longest_first: Vec<&String> = aliases.iter().collect();
    longest_first.sort_by_key(|alias| std::cmp::Reverse(alias.len()));
    longest_first
        .into_iter()
        .map(|alias| {
            let mut client = all.take_prefixed(&format!("{alias}."));
            client.fill(&shared);
            (alias.clone(), client)
        })
        .collect()
}
