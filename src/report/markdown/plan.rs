//! The plan as Markdown: what is blocked first, then a fold for each cluster and each link.

use super::{Document, Item, NOTES, Section, WIDTH, cluster_list, code, html};
use crate::plan::model::{Action, Entry, Plan};
use crate::report::findings::rank;
use crate::report::{grouped, text, words};

/// The whole plan, at most [`super::LIMIT`] characters.
pub fn plan(plan: &Plan, now_ms: i64) -> String {
    let mut document = Document {
        head: head(plan),
        sections: Vec::new(),
        whole: format!("kmirror plan {}", plan.file),
    };
    let item = |entry: &&Entry| Item::new(rank(entry.severity), &text::entry(entry, plan, WIDTH));
    let blocked: Vec<&Entry> = plan
        .entries
        .iter()
        .filter(|entry| entry.action == Action::Blocked)
        .collect();
    document.sections.push(Section {
        summary: format!("<b>blocked</b>: {}", grouped(blocked.len() as u64)),
        open: true,
        items: blocked.iter().map(item).collect(),
    });
    for group in text::groups(plan) {
        let changing: Vec<&Entry> = group
            .entries
            .iter()
            .copied()
            .filter(|entry| entry.action.changes())
            .collect();
        let counts = text::counts_of(group.entries.iter().copied());
        document.sections.push(Section {
            summary: format!("<b>{}</b>: {counts}", html(&group.title)),
            open: false,
            items: changing.iter().map(item).collect(),
        });
    }
    document.sections.push(Section {
        summary: format!("<b>notes</b>: {}", grouped(plan.notes.len() as u64)),
        open: false,
        items: plan
            .notes
            .iter()
            .map(|note| {
                let note = format!("# {}.", words::note(note, now_ms));
                Item::new(NOTES, &text::sentence(&note, WIDTH))
            })
            .collect(),
    });
    document
        .sections
        .retain(|section| !section.items.is_empty());
    document.render()
}

fn head(plan: &Plan) -> String {
    let mut head = format!("## Plan for {}\n\n", code(&plan.file));
    if !plan.targets.is_empty() {
        let targets: Vec<String> = plan.targets.iter().map(|target| code(target)).collect();
        head.push_str(&format!(
            "Only {}, and what that depends on.\n\n",
            targets.join(", ")
        ));
    }
    if plan.has_changes() || plan.is_blocked() {
        head.push_str(&format!("**{}.**", text::counts(plan)));
        if plan.is_blocked() && plan.has_changes() {
            head.push_str(" An apply does nothing while something is blocked.");
        }
    } else {
        let counts = text::counts(plan);
        head.push_str(&format!(
            "**No changes.** The clusters are as the file says ({counts})."
        ));
    }
    head.push_str("\n\n");
    head.push_str(&cluster_list(&plan.clusters));
    let legend = text::legend(plan);
    if !legend.is_empty() {
        let symbols: Vec<String> = legend
            .into_iter()
            .map(|mark| format!("{} {}", code(mark.symbol), mark.word))
            .collect();
        head.push_str(&format!("Symbols: {}\n\n", symbols.join(", ")));
    }
    head
}
