//! Mistakes for a comment on a pull request: each with the lines that it is about.

use super::Checked;
use crate::report::markdown::{Document, Item, Section, code, html};
use crate::topology::render;

/// Columns of the text in fenced blocks.
const WIDTH: usize = 90;

pub(super) fn document(files: &[Checked<'_>]) -> String {
    let wrong: Vec<&Checked<'_>> = files.iter().filter(|checked| !checked.is_valid).collect();
    let head = match wrong.as_slice() {
        [] => "## No mistakes\n\n".to_owned(),
        [one] => format!(
            "## There are mistakes in {}\n\n",
            code(&one.path.to_string_lossy())
        ),
        several => format!("## There are mistakes in {} files\n\n", several.len()),
    };
    let sections = files
        .iter()
        .filter(|checked| !checked.diagnostics.is_empty())
        .map(|checked| Section {
            summary: format!(
                "<b><code>{}</code></b>: {} found",
                html(&checked.path.to_string_lossy()),
                checked.diagnostics.iter().len()
            ),
            open: true,
            items: render::texts(checked.diagnostics, WIDTH)
                .iter()
                .map(|text| Item::new(0, text))
                .collect(),
        })
        .collect();
    Document {
        head,
        sections,
        whole: "kmirror validate".to_owned(),
    }
    .render()
}
