//! The difference between two versions of a file, as text and JSON.

use std::collections::BTreeSet;

use super::text::{Emphasis, TextOptions, wrap};
use super::{clean, grouped, json};
use crate::topology::diff::{
    Change, Counts, Entry, KeyChange, Place, Remark, Shown, Thing, TopologyDiff, Written,
};

/// The document, indented, with a final newline.
pub fn json(diff: &TopologyDiff) -> String {
    json::document(diff)
}

/// The whole difference for people.
pub fn text(diff: &TopologyDiff, options: TextOptions<'_>) -> String {
    let paint = options.paint;
    let mut out = format!("Diff of {} -> {}\n\n", clean(&diff.old), clean(&diff.new));
    let legend: Vec<String> = legend(diff)
        .into_iter()
        .map(|change| {
            format!(
                "{} {}",
                paint(emphasis(change), symbol(change)),
                word(change)
            )
        })
        .collect();
    if !legend.is_empty() {
        out.push_str(&format!("Symbols: {}\n\n", legend.join(", ")));
    }
    for (title, entries) in sections(diff) {
        out.push_str(&paint(Emphasis::Strong, &title));
        out.push('\n');
        for entry in entries {
            let width = options.width.map(|width| width.saturating_sub(2));
            let symbol = symbol(entry.change);
            for (index, line) in lines(entry, width).iter().enumerate() {
                match line.strip_prefix(symbol).filter(|_| index == 0) {
                    Some(rest) => {
                        let symbol = paint(emphasis(entry.change), symbol);
                        out.push_str(&format!("  {symbol}{rest}\n"));
                    }
                    None => out.push_str(&format!("  {line}\n")),
                }
            }
        }
        out.push('\n');
    }
    out.push_str(&paint(Emphasis::Strong, &closing(diff)));
    out.push('\n');
    out
}

/// The last line.
pub(super) fn closing(diff: &TopologyDiff) -> String {
    let Counts {
        added,
        changed,
        removed,
    } = diff.counts;
    let parts: Vec<String> = [(added, "added"), (changed, "changed"), (removed, "removed")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", grouped(count as u64)))
        .collect();
    if parts.is_empty() {
        "No difference: both files say the same.".to_owned()
    } else {
        format!("Diff: {}.", parts.join(", "))
    }
}

pub(super) fn symbol(change: Change) -> &'static str {
    match change {
        Change::Added => "+",
        Change::Changed => "~",
        Change::Removed => "-",
    }
}

pub(super) fn word(change: Change) -> &'static str {
    match change {
        Change::Added => "added",
        Change::Changed => "changed",
        Change::Removed => "removed",
    }
}

fn emphasis(change: Change) -> Emphasis {
    match change {
        Change::Added => Emphasis::Create,
        Change::Changed => Emphasis::Change,
        Change::Removed => Emphasis::Blocked,
    }
}

/// The kinds of changes that there are.
pub(super) fn legend(diff: &TopologyDiff) -> BTreeSet<Change> {
    diff.entries.iter().map(|entry| entry.change).collect()
}

/// Entries by cluster and by link.
pub(super) fn sections(diff: &TopologyDiff) -> Vec<(String, Vec<&Entry>)> {
    let mut sections: Vec<(String, Vec<&Entry>)> = Vec::new();
    for entry in &diff.entries {
        let title = match &entry.address {
            Thing::Cluster(cluster) | Thing::Topic { cluster, .. } => format!("cluster {cluster}"),
            Thing::Link(link) | Thing::Mirror { link, .. } => format!("link {link}"),
        };
        match sections.last_mut() {
            Some((last, entries)) if *last == title => entries.push(entry),
            _ => sections.push((title, vec![entry])),
        }
    }
    sections
}

/// An entry, its symbol in the first column.
pub(super) fn lines(entry: &Entry, width: Option<usize>) -> Vec<String> {
    let was = entry.was.as_ref().map_or_else(String::new, |was| {
        format!(", it was {}", clean(&was.to_string()))
    });
    let mut lines = vec![format!(
        "{} {} is {}{was}{}",
        symbol(entry.change),
        clean(&entry.address.to_string()),
        word(entry.change),
        places(entry.old.as_ref(), entry.new.as_ref())
    )];
    let said = entry.keys.iter().map(|change| key(entry, change));
    for said in said.chain(entry.remark.map(|it| remark(it).to_owned())) {
        for line in wrap(&said, width.map(|width| width.saturating_sub(4))) {
            lines.push(format!("    {line}"));
        }
    }
    lines
}

fn remark(remark: Remark) -> &'static str {
    match remark {
        Remark::TopicStays => "the topic stays on the cluster, and is not looked at any more",
        Remark::LinkStays => {
            "what was applied of it stays at the destination, and workers go on with it"
        }
        Remark::StillTaken => {
            "the link still takes the topic, with the settings that all its mirrors have"
        }
        Remark::NoLongerTaken => {
            "the link does not take the topic any more: an apply pauses the mirror"
        }
    }
}

fn key(entry: &Entry, change: &KeyChange) -> String {
    let name = clean(&change.key);
    let places = places(
        change.old.as_ref().map(|it| &it.at),
        change.new.as_ref().map(|it| &it.at),
    );
    let absent = || match change.without {
        Some(words) => format!("not set ({words})"),
        None => "not set".to_owned(),
    };
    let said = match (&change.old, &change.new) {
        (Some(old), Some(new)) => match in_and_out(change, old, new) {
            Some(said) => said,
            None if old.value == new.value => format!("{}, another one", value(&new.value)),
            None => format!("{} -> {}", value(&old.value), value(&new.value)),
        },
        (None, Some(new)) if entry.change == Change::Added => value(&new.value),
        (None, Some(new)) => format!("{} -> {}", absent(), value(&new.value)),
        (Some(old), None) => format!("{} -> {}", value(&old.value), absent()),
        (None, None) => String::new(),
    };
    format!("{name}: {said}{places}")
}

/// Of a list whose order means nothing: what came and what went.
fn in_and_out(change: &KeyChange, old: &Written, new: &Written) -> Option<String> {
    let names = |value: &Shown| match value {
        Shown::List(names) => Some(names.clone()),
        // Servers may be one string with commas.
        Shown::Text(names) => Some(names.split(',').map(|it| it.trim().to_owned()).collect()),
        Shown::Env { .. } | Shown::File { .. } | Shown::Secret(_) => None,
    };
    if !change.is_set {
        return None;
    }
    let (old, new): (Vec<String>, Vec<String>) = (names(&old.value)?, names(&new.value)?);
    let only = |all: &[String], others: &[String]| {
        let only: Vec<String> = all
            .iter()
            .filter(|one| !others.contains(one))
            .map(|one| clean(one))
            .collect();
        only.join(", ")
    };
    let (came, went) = (only(&new, &old), only(&old, &new));
    Some(match (came.as_str(), went.as_str()) {
        ("", went) => format!("without {went}"),
        (came, "") => format!("in addition {came}"),
        (came, went) => format!("in addition {came}; without {went}"),
    })
}

fn value(value: &Shown) -> String {
    match value {
        Shown::Text(text) if text.is_empty() => "\"\"".to_owned(),
        Shown::Text(text) => clean(text),
        Shown::List(values) => format!("[{}]", clean(&values.join(", "))),
        Shown::Env { env } => format!("{{ env = \"{}\" }}", clean(env)),
        Shown::File { file } => format!("{{ file = \"{}\" }}", clean(file)),
        Shown::Secret(_) => "a secret in the file".to_owned(),
    }
}

/// ` (old.toml:3 -> new.toml:4)`
fn places(old: Option<&Place>, new: Option<&Place>) -> String {
    let place = |place: &Place| {
        let file = place.file.rsplit(['/', '\\']).next();
        format!("{}:{}", clean(file.unwrap_or(&place.file)), place.line)
    };
    match (old, new) {
        (Some(old), Some(new)) => format!(" ({} -> {})", place(old), place(new)),
        (Some(one), None) | (None, Some(one)) => format!(" ({})", place(one)),
        (None, None) => String::new(),
    }
}
