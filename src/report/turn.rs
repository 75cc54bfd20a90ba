//! Mirrors that are turned round, in words: what will happen, how it goes, and what the file should say afterwards.

use super::inventory::{UNKNOWN, count, table};
use super::{clean, grouped};
use crate::rest::turn::{Found, Standing, Turn, Turned};
use crate::topology::model::Link;
use crate::topology::resolve::LinkRule;

/// The topics as they stand, and what will happen to them.
pub fn before(turn: Turn, link: &Link, found: &[Found]) -> String {
    let is_restoration = turn == Turn::TruncateAndRestore;
    let holder = clean(match is_restoration {
        true => &link.source,
        false => &link.destination,
    });
    let mut rows: Vec<Vec<String>> = Vec::new();
    for topic in found {
        let mut row = vec![
            clean(&topic.topic),
            holder.clone(),
            clean(&topic.state.to_string()),
            count(topic.lag),
        ];
        if is_restoration {
            row.push(count(topic.truncates));
        }
        rows.push(row);
    }
    let mut head = vec!["TOPIC", "CLUSTER", "STATE", "LAG"];
    if is_restoration {
        head.push("TO BE DELETED");
    }
    format!("{}\n{}", table(&head, &rows), what_happens(turn, link))
}

fn what_happens(turn: Turn, link: &Link) -> String {
    let (here, there) = (clean(&link.destination), clean(&link.source));
    match turn {
        Turn::ReverseAndStart | Turn::ReverseAndPause => {
            let then = match turn {
                Turn::ReverseAndPause => ", which are paused until somebody resumes them",
                _ => " at once",
            };
            format!(
                "Stop what produces to the topics of {there} first. What they have is copied to the last record, then those of {here}\n\
                 are ordinary topics, and those of {there} become mirrors of them{then}.\n\
                 Confluent's brokers refuse what is produced to a mirror; on plain Apache Kafka nothing does, and the mirror fails."
            )
        }
        Turn::TruncateAndRestore => format!(
            "Records that the topics of {here} got and {there} never copied are DELETED for good, then these topics\n\
             become mirrors of those of {there}. Nobody else can produce to them from then on."
        ),
    }
}

/// What is to be confirmed.
pub fn question(turn: Turn) -> &'static str {
    match turn {
        Turn::ReverseAndStart | Turn::ReverseAndPause => "Turn these mirrors round",
        Turn::TruncateAndRestore => "Make these topics mirrors",
    }
}

fn state(state: Option<&impl ToString>) -> String {
    state.map_or_else(|| UNKNOWN.to_owned(), |state| clean(&state.to_string()))
}

/// How a topic stands on both clusters.
pub fn standing(link: &Link, topic: &str, standing: &Standing) -> String {
    let lag = standing
        .lag
        .map_or_else(String::new, |lag| format!(", lag {}", count(Some(lag))));
    format!(
        "{}: {} on {}{lag}; {} on {}",
        clean(topic),
        state(standing.local.as_ref()),
        clean(&link.destination),
        state(standing.remote.as_ref()),
        clean(&link.source)
    )
}

/// A topic that has come to its end.
pub fn done(turn: Turn, link: &Link, turned: &Turned) -> String {
    let topic = clean(&turned.topic);
    let (here, there) = (clean(&link.destination), clean(&link.source));
    match turn {
        Turn::ReverseAndStart => format!("{topic}: {there} mirrors it from {here} now"),
        Turn::ReverseAndPause => {
            format!("{topic}: {there} will mirror it from {here} when it is resumed")
        }
        Turn::TruncateAndRestore => {
            let deleted = match turned.truncated {
                Some(0) => "; nothing had to be deleted".to_owned(),
                Some(1) => "; 1 record was deleted".to_owned(),
                Some(number) => format!("; {} records were deleted", grouped(number)),
                None => String::new(),
            };
            format!("{topic}: {here} mirrors it from {there} now{deleted}")
        }
    }
}

/// What the file has to say for these topics from now on: it does not change by itself.
pub fn file(turn: Turn, former: &Link, owner: &Link, topics: &[&str]) -> String {
    let mut lines = vec![format!(
        "\nThe mirrors belong to link `{}` now. Bring the file in line before the next apply:",
        clean(&owner.name)
    )];
    let rule = LinkRule::from(former);
    let is_named = |topic: &&str| rule.takes(topic).is_some_and(|reason| reason.literal);
    let is_matched = |topic: &&str| rule.takes(topic).is_some_and(|reason| !reason.literal);
    let named: Vec<&str> = topics.iter().copied().filter(is_named).collect();
    let matched: Vec<&str> = topics.iter().copied().filter(is_matched).collect();
    let place = |link: &Link| format!("[links.{}]", clean(&link.name));
    if !named.is_empty() {
        lines.push(format!(
            "  {}  no longer name {} in topics or mirrors",
            place(former),
            quoted(&named)
        ));
    }
    if !matched.is_empty() {
        lines.push(format!("  {}  exclude {}", place(former), quoted(&matched)));
    }
    let rule = LinkRule::from(owner);
    let missing: Vec<&str> = topics
        .iter()
        .copied()
        .filter(|topic| rule.takes(topic).is_none())
        .collect();
    if !missing.is_empty() {
        lines.push(format!(
            "  {}  add {} to topics",
            place(owner),
            quoted(&missing)
        ));
    }
    if turn == Turn::ReverseAndPause {
        lines.push(format!(
            "  [links.{}.mirrors.TOPIC]  state = \"paused\", as long as they are to wait",
            clean(&owner.name)
        ));
    }
    lines.join("\n")
}

fn quoted(topics: &[&str]) -> String {
    let topics: Vec<String> = topics.iter().map(|it| format!("{:?}", clean(it))).collect();
    topics.join(", ")
}
