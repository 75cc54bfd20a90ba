//! The difference between two versions of a file as Markdown: a fold for each cluster and each link.

use super::{Document, Item, Section, WIDTH, code, html};
use crate::report::{diff, grouped};
use crate::topology::diff::{Change, TopologyDiff};

/// The whole difference, at most [`super::LIMIT`] characters.
pub fn diff(found: &TopologyDiff) -> String {
    let mut head = format!(
        "## What {} changes\n\nCompared with {}, without looking at a cluster. **{}**\n\n",
        code(&found.new),
        code(&found.old),
        diff::closing(found)
    );
    let symbols: Vec<String> = diff::legend(found)
        .into_iter()
        .map(|change| format!("{} {}", code(diff::symbol(change)), diff::word(change)))
        .collect();
    if !symbols.is_empty() {
        head.push_str(&format!("Symbols: {}\n\n", symbols.join(", ")));
    }
    let sections = diff::sections(found).into_iter().map(|(title, entries)| {
        let items = entries.iter().map(|entry| {
            let mut lines = diff::lines(entry, Some(WIDTH)).join("\n");
            lines.push('\n');
            Item::new(rank(entry.change), &lines)
        });
        Section {
            summary: format!("<b>{}</b>: {}", html(&title), grouped(entries.len() as u64)),
            open: false,
            items: items.collect(),
        }
    });
    Document {
        head,
        sections: sections.collect(),
        whole: format!("kmirror diff {} {}", found.old, found.new),
    }
    .render()
}

fn rank(change: Change) -> u8 {
    match change {
        Change::Removed => 0,
        Change::Changed => 1,
        Change::Added => 2,
    }
}
