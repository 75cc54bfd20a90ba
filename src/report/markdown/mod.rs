//! Markdown for a comment on a pull request, never longer than such a comment may be.
//!
//! What comes from files and clusters stands in fenced blocks, in code spans or as escaped HTML, so that
//! no name can end a fold, start a table or call a person. A document is a head, folded sections and a
//! tail; where they are too long together, items of the sections are shortened to their first lines
//! and then left out, the least important first, and the document says so.

mod diff;
mod drift;
mod plan;

pub use diff::diff;
pub use drift::drift;
pub use plan::plan;

use std::collections::BTreeMap;

use super::{clean, grouped};
use crate::plan::model::PlannedCluster;

/// The longest comment that GitHub takes, in characters. Bytes are counted here, which are not fewer.
pub const LIMIT: usize = 65_536;

/// Columns of the text in fenced blocks.
const WIDTH: usize = 100;

/// Kept free for the sentence that says what is left out.
const SHORTENED: usize = 400;

/// Names from elsewhere are not repeated at any length in a head.
const LONGEST_NAME: usize = 200;

/// Clusters that a head lists.
const CLUSTERS: usize = 20;

/// Where notes stand among what can be left out.
const NOTES: u8 = u8::MAX;

/// The clusters of a head, as a list with an empty line behind it.
fn cluster_list(clusters: &[PlannedCluster]) -> String {
    let mut list = String::new();
    for cluster in clusters.iter().take(CLUSTERS) {
        let brokers = if cluster.brokers == 1 {
            "broker"
        } else {
            "brokers"
        };
        list.push_str(&format!(
            "- {}: cluster id {}, {} {brokers}\n",
            code(&cluster.name),
            code(&cluster.cluster_id),
            cluster.brokers,
        ));
    }
    if let Some(more @ 1..) = clusters.len().checked_sub(CLUSTERS) {
        list.push_str(&format!("- and {} more\n", grouped(more as u64)));
    }
    list.push('\n');
    list
}

/// A document in its parts.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Markdown, with a final newline.
    pub head: String,
    pub sections: Vec<Section>,
    /// What shows everything, such as `kmirror plan FILE`.
    pub whole: String,
}

/// A fold.
#[derive(Debug, Default)]
pub(super) struct Section {
    /// HTML.
    pub summary: String,
    pub open: bool,
    pub items: Vec<Item>,
}

/// A piece of a fenced block.
#[derive(Debug, Default)]
pub(super) struct Item {
    /// The smaller, the later it is left out.
    pub rank: u8,
    /// Lines of text, each with its end.
    pub text: String,
}

impl Item {
    pub fn new(rank: u8, text: &str) -> Self {
        Self {
            rank,
            text: without_fences(text),
        }
    }

    /// The first line alone.
    fn brief(&self) -> &str {
        let end = self.text.find('\n').map_or(self.text.len(), |end| end + 1);
        &self.text[..end]
    }
}

/// How much of an item is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shown {
    Nothing,
    Brief,
    Whole,
}

impl Section {
    fn opening(&self) -> String {
        let open = if self.open { " open" } else { "" };
        format!(
            "<details{open}>\n<summary>{}</summary>\n\n```diff\n",
            self.summary
        )
    }

    fn closing(left_out: usize) -> String {
        let left_out = match left_out {
            0 => String::new(),
            count => format!("{} more are not shown.\n\n", grouped(count as u64)),
        };
        format!("```\n\n{left_out}</details>\n\n")
    }

    /// The most that it takes besides its items.
    fn frame(&self) -> usize {
        self.opening().len() + Self::closing(usize::MAX).len()
    }
}

impl Document {
    /// The whole document, at most [`LIMIT`] bytes.
    pub fn render(&self) -> String {
        let shown = self.choose();
        let mut out = self.head.clone();
        let all: Vec<Shown> = shown.iter().flatten().copied().collect();
        let count = |wanted: Shown| all.iter().filter(|shown| **shown == wanted).count();
        let (brief, nothing) = (count(Shown::Brief), count(Shown::Nothing));
        if brief + nothing > 0 {
            out.push_str(&format!(
                "**Shortened** to fit into a comment: {} of {} items are shown, {} of them without details. All counts are complete. {} shows everything.\n\n",
                grouped((all.len() - nothing) as u64),
                grouped(all.len() as u64),
                grouped(brief as u64),
                code(&self.whole),
            ));
        }
        for (section, shown) in self.sections.iter().zip(&shown) {
            if shown.iter().all(|shown| *shown == Shown::Nothing) {
                continue;
            }
            out.push_str(&section.opening());
            for (item, shown) in section.items.iter().zip(shown) {
                out.push_str(match shown {
                    Shown::Nothing => "",
                    Shown::Brief => item.brief(),
                    Shown::Whole => &item.text,
                });
            }
            let left_out = shown.iter().filter(|shown| **shown == Shown::Nothing);
            out.push_str(&Section::closing(left_out.count()));
        }
        let end = out.trim_end().len();
        out.truncate(end);
        out.push('\n');
        out
    }

    /// What fits: everything; or of each rank in turn first the first lines, then the details.
    fn choose(&self) -> Vec<Vec<Shown>> {
        let sizes = self.sections.iter().map(|section| {
            let items: usize = section.items.iter().map(|item| item.text.len()).sum();
            section.frame() + items
        });
        let everything = self.head.len() + sizes.sum::<usize>();
        let all = |shown| {
            let sections = self.sections.iter();
            sections
                .map(|section| vec![shown; section.items.len()])
                .collect::<Vec<_>>()
        };
        if everything <= LIMIT {
            return all(Shown::Whole);
        }
        let mut left = LIMIT.saturating_sub(self.head.len() + SHORTENED + self.whole.len());
        let mut shown = all(Shown::Nothing);
        let mut begun = vec![false; self.sections.len()];
        let mut by_rank: BTreeMap<u8, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, section) in self.sections.iter().enumerate() {
            for (index, item) in section.items.iter().enumerate() {
                by_rank.entry(item.rank).or_default().push((at, index));
            }
        }
        for items in by_rank.values() {
            for &(at, index) in items {
                let section = &self.sections[at];
                let frame = if begun[at] { 0 } else { section.frame() };
                let size = frame + section.items[index].brief().len();
                if size <= left {
                    left -= size;
                    begun[at] = true;
                    shown[at][index] = Shown::Brief;
                }
            }
            for &(at, index) in items {
                let item = &self.sections[at].items[index];
                let more = item.text.len() - item.brief().len();
                if shown[at][index] == Shown::Brief && more <= left {
                    left -= more;
                    shown[at][index] = Shown::Whole;
                }
            }
        }
        shown
    }
}

/// Text as it is, in a code span.
pub(super) fn code(text: &str) -> String {
    let text = without_fences(&shortened(&clean(text), LONGEST_NAME));
    let mut longest = 0;
    let mut run = 0;
    for char in text.chars() {
        run = if char == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let fence = "`".repeat(longest + 1);
    // A span may not begin or end with a backtick; one space on each side is taken away again.
    let touches = |char: char| char == '`' || char == ' ';
    let pad = if text.starts_with(touches) || text.ends_with(touches) || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Nothing in the text can begin or end a fence.
fn without_fences(text: &str) -> String {
    text.replace("```", "\\u{60}\\u{60}\\u{60}")
}

/// Text in HTML.
pub(super) fn html(text: &str) -> String {
    clean(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

fn shortened(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    let kept: String = text.chars().take(longest - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_leave_its_code_span_or_its_tag() {
        assert_eq!(code("mirror.toml"), "`mirror.toml`");
        assert_eq!(code("a`b``c"), "```a`b``c```");
        assert_eq!(code("`"), "`` ` ``");
        assert_eq!(code(""), "`  `");
        assert_eq!(code("a\n\n# b"), "`a\\u{a}\\u{a}# b`");
        assert_eq!(code(&"x".repeat(300)).chars().count(), LONGEST_NAME + 2);
        assert_eq!(
            html("</code><b title=\"x\">&"),
            "&lt;/code&gt;&lt;b title=&quot;x&quot;&gt;&amp;"
        );
    }

    fn document(items: impl IntoIterator<Item = (u8, String)>) -> Document {
        Document {
            head: "## Head\n\n".to_owned(),
            sections: vec![Section {
                summary: "all".to_owned(),
                open: false,
                items: items
                    .into_iter()
                    .map(|(rank, text)| Item::new(rank, &text))
                    .collect(),
            }],
            whole: "kmirror".to_owned(),
        }
    }

    #[test]
    fn what_matters_most_is_left_out_last_wherever_it_stands() {
        let items = (0..9_000).map(|number| {
            let rank = u8::from(number % 1_000 != 999);
            (rank, format!("+ item {number}\n      detail {number}\n"))
        });
        let text = document(items).render();
        assert!(
            text.len() <= LIMIT && text.len() > LIMIT - 600,
            "{}",
            text.len()
        );
        for number in [999, 1_999, 2_999, 3_999, 4_999] {
            assert!(text.contains(&format!("      detail {number}\n")));
        }
        assert!(text.contains("**Shortened**") && text.contains("of 9,000 items"));
        assert!(text.contains(" more are not shown."));
        assert!(!text.contains("detail 0\n"));
    }

    #[test]
    fn an_item_that_is_too_long_is_no_reason_to_leave_out_the_others() {
        let long = format!("+ long\n{}\n", "x".repeat(LIMIT));
        let endless = format!("{}\n", "y".repeat(LIMIT));
        let text = document([(0, long), (0, endless), (1, "+ short\n  all\n".to_owned())]).render();
        assert!(text.len() <= LIMIT);
        assert!(text.contains("+ long\n+ short\n  all\n"), "{text}");
    }

    #[test]
    fn nothing_in_an_item_can_end_its_fence() {
        let text = document([(0, "+ a\n```\n</details>\n".to_owned())]).render();
        assert_eq!(text.matches("```").count(), 2, "{text}");
    }
}
