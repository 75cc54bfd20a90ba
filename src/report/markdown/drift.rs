//! Drift as Markdown: what is blocked first, then a fold for each cluster and each link.

use super::{Document, Item, NOTES, Section, WIDTH, cluster_list, code, html};
use crate::plan::drift::{Direction, Drift, Drifted};
use crate::report::{drift, grouped, text, words};

/// The whole drift, at most [`super::LIMIT`] characters.
pub fn drift(found: &Drift, now_ms: i64) -> String {
    let (headline, rest) = drift::closing(found);
    let mut head = format!(
        "## Drift of {}\n\n**{headline}**{rest}\n\n{}",
        code(&found.file),
        cluster_list(&found.clusters)
    );
    let symbols: Vec<String> = drift::legend(found)
        .into_iter()
        .map(|(symbol, word)| format!("{} {word}", code(symbol)))
        .collect();
    if !symbols.is_empty() {
        head.push_str(&format!("Symbols: {}\n\n", symbols.join(", ")));
    }
    let mut sections: Vec<Section> = Vec::new();
    for (title, entries) in drift::sections(found) {
        let items = entries.iter().map(|drifted| {
            let mut lines = drift::lines(drifted, found, Some(WIDTH), now_ms).join("\n");
            lines.push('\n');
            Item::new(rank(drifted), &lines)
        });
        let is_blocked = entries.iter().any(|drifted| !drifted.blocked.is_empty());
        let section = Section {
            summary: format!("<b>{}</b>: {}", html(&title), grouped(entries.len() as u64)),
            open: is_blocked,
            items: items.collect(),
        };
        if is_blocked {
            sections.insert(0, section);
        } else {
            sections.push(section);
        }
    }
    let notes = found.notes.iter().map(|note| {
        let note = format!("# {}.", words::note(note, now_ms));
        Item::new(NOTES, &text::sentence(&note, WIDTH))
    });
    sections.push(Section {
        summary: format!("<b>notes</b>: {}", grouped(found.notes.len() as u64)),
        open: false,
        items: notes.collect(),
    });
    sections.retain(|section| !section.items.is_empty());
    Document {
        head,
        sections,
        whole: format!("kmirror drift {}", found.file),
    }
    .render()
}

fn rank(drifted: &Drifted) -> u8 {
    match drifted.direction {
        _ if !drifted.blocked.is_empty() => 0,
        Some(Direction::DeclaredButMissing) => 1,
        Some(Direction::ChangedLive) | None => 2,
        Some(Direction::LiveButUndeclared) => 3,
        Some(Direction::DeclaredButNotApplied) => 4,
    }
}
