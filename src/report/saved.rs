//! In words: what became of the actions of a saved plan.

use super::text::old_to_new;
use super::{clean, words};
use crate::plan::model::{Action, Change};
use crate::plan::saved::Difference;

/// How something is another thing than it was when it was planned.
pub fn difference(difference: &Difference) -> String {
    match difference {
        Difference::NotAsked => "the file does not ask for it any more".to_owned(),
        Difference::Done => "nothing is left to do".to_owned(),
        Difference::NotPlanned => "it was not planned".to_owned(),
        Difference::Blocked(blockers) => {
            let causes: Vec<String> = blockers
                .iter()
                .map(|blocker| words::blocker(blocker).cause)
                .collect();
            format!("is blocked: {}", causes.join(" "))
        }
        Difference::Basis { what, planned, now } => {
            let side = |side: &Option<String>| {
                clean(side.as_deref().unwrap_or("not looked at"))
            };
            format!(
                "{} was {} when it was planned, and is {}",
                subject(what),
                side(planned),
                side(now)
            )
        }
        Difference::Action { planned, now } => {
            format!("it was to {}, and {}", verb(*planned), outcome(*now))
        }
        Difference::Change {
            attribute,
            planned,
            now,
        } => {
            let side = |change: &Option<Box<Change>>| {
                change.as_ref().map_or_else(|| "no change".to_owned(), |change| old_to_new(change))
            };
            format!(
                "{}: planned {}; now {}",
                clean(attribute),
                side(planned),
                side(now)
            )
        }
        Difference::Otherwise => {
            "it would be done in another way; the plan was made by another version of kmirror, or the file was edited"
                .to_owned()
        }
    }
}

fn verb(action: Action) -> &'static str {
    match action {
        Action::Create => "be created",
        Action::Update => "be updated",
        Action::Pause => "be paused",
        Action::Resume => "be resumed",
        Action::Promote => "be promoted",
        Action::FailOver => "be failed over",
        Action::Delete => "be deleted",
        Action::Unchanged => "stay as it is",
        Action::Blocked => "be blocked",
    }
}

fn outcome(action: Action) -> String {
    match action {
        Action::Unchanged => "nothing is left to do".to_owned(),
        Action::Blocked => "is blocked".to_owned(),
        action => format!("would now {}", verb(action)),
    }
}

/// `source.topic_id` in words.
fn subject(what: &str) -> String {
    let words = match what.split_once('.') {
        Some(("cluster", "cluster_id")) => "the cluster's id",
        Some(("source", "cluster_id")) => "the source cluster's id",
        Some(("destination", "cluster_id")) => "the destination cluster's id",
        Some(("topic", "topic_id")) => "the topic's id",
        Some(("source", "topic_id")) => "the source topic's id",
        Some(("destination", "topic_id")) => "the destination topic's id",
        Some(("topic", "partitions")) => "the topic's number of partitions",
        Some(("source", "partitions")) => "the source topic's number of partitions",
        Some(("destination", "partitions")) => "the destination topic's number of partitions",
        _ if what == "record" => "kmirror's own record",
        _ => return clean(what),
    };
    words.to_owned()
}
