//! The plan for programs: one JSON document, from the same value as the text.

use serde::Serialize;

use crate::plan::model::Plan;

/// The document, indented, with a final newline.
pub fn plan(plan: &Plan) -> String {
    document(plan)
}

/// The same for any value made of plain parts.
pub(super) fn document(value: &impl Serialize) -> String {
    let mut text =
        serde_json::to_string_pretty(value).expect("documents have only serialisable parts");
    text.push('\n');
    // JSON allows the C1 controls and DEL in strings; a terminal would obey them.
    if text.contains(is_stray_control) {
        text = text
            .chars()
            .map(|char| match char {
                char if is_stray_control(char) => format!("\\u{:04x}", u32::from(char)),
                char => char.to_string(),
            })
            .collect();
    }
    text
}

fn is_stray_control(char: char) -> bool {
    matches!(char, '\u{7f}'..='\u{9f}')
}
