//! The planner against clusters in memory: single rules as a table, whole screens, and properties.

mod blocked;
mod changes;
mod checks;
mod cluster_links;
mod dead;
mod deletions;
mod drift;
mod endings;
mod guards;
mod properties;
mod rings;
mod saved;
mod schema;
mod screens;

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::model::{Operation, Plan};
use crate::apply::effects::Failure;
use crate::apply::model::Model;
use crate::apply::{Event, Manner, Outcome, PARALLELISM, Progress, execute};
use crate::topology::model::Topology;

pub(super) const CLUSTERS: &str = r#"
kmirror = 1
[clusters.east]
bootstrap_servers = "127.0.0.1:9082"
[clusters.west]
bootstrap_servers = "127.0.0.1:9092"
"#;

/// The topology of a text; `file:line` citations say `mirror.toml`.
pub(super) fn topology(text: &str) -> Topology {
    match crate::topology::parse(Path::new("mirror.toml"), text) {
        Ok(loaded) => loaded.topology,
        Err(diagnostics) => panic!("{diagnostics:?}\n{text}"),
    }
}

/// [`CLUSTERS`] with more text behind it.
pub(super) fn with_clusters(text: &str) -> Topology {
    topology(&format!("{CLUSTERS}{text}"))
}

pub(super) fn plan(topology: &Topology, model: &Model) -> Plan {
    super::plan(topology, &model.observed())
}

struct Quiet;

impl Progress for Quiet {
    fn event(&self, _: Event<'_>) {}
}

pub(super) fn manner(stop: &CancellationToken) -> Manner<'_> {
    Manner {
        progress: &Quiet,
        stop,
        parallelism: PARALLELISM,
    }
}

/// Plans and does what was planned, blocked entries aside.
pub(super) fn apply(topology: &Topology, model: &Model) -> Outcome {
    let plan = plan(topology, model);
    for entry in &plan.entries {
        if entry.operation == Operation::ControlTopics {
            model.ensure_control(&entry.cluster);
        }
    }
    let observed = model.observed();
    let stop = CancellationToken::new();
    futures::executor::block_on(execute(&plan, &observed, model, manner(&stop)))
}

/// `action address`, for all entries but the unchanged ones.
pub(super) fn summary(plan: &Plan) -> Vec<String> {
    plan.entries
        .iter()
        .filter(|entry| entry.action != super::model::Action::Unchanged)
        .map(|entry| format!("{:?} {}", entry.action, entry.address).to_lowercase())
        .collect()
}

/// All changes of the plan as `attribute: old -> new`.
pub(super) fn changes(plan: &Plan) -> Vec<String> {
    plan.entries
        .iter()
        .flat_map(|entry| &entry.changes)
        .map(|change| {
            let side = |side: &Option<super::model::Side>| {
                side.as_ref().map_or_else(
                    || "none".to_owned(),
                    |side| crate::report::words::value("", &side.value),
                )
            };
            format!(
                "{}: {} -> {}",
                change.attribute,
                side(&change.old),
                side(&change.new)
            )
        })
        .collect()
}

/// Causes of all blocked entries as people read them.
pub(super) fn causes(plan: &Plan) -> Vec<String> {
    plan.entries
        .iter()
        .flat_map(|entry| &entry.blocked)
        .map(|blocker| crate::report::words::blocker(blocker).cause)
        .collect()
}

pub(super) fn failures(outcome: &Outcome) -> Vec<(String, &Failure)> {
    outcome
        .failed
        .iter()
        .map(|(address, failure)| (address.to_string(), failure))
        .collect()
}

/// A link `copy` from east to west with everything that matches, plus whatever else.
pub(super) fn copy(more: &str) -> Topology {
    with_clusters(&format!(
        "[links.copy]\nsource = \"east\"\ndestination = \"west\"\n{more}"
    ))
}
