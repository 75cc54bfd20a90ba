//! The graph in Graphviz's language.

use std::fmt::Write as _;

use super::{Graph, Kind, Node};
use crate::report::clean;

pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from(
        "digraph topology {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\"];\n",
    );
    for (index, cluster) in graph.clusters.iter().enumerate() {
        line(&mut text, 1, &format!("subgraph cluster_{index} {{"));
        let label = quoted([cluster.label.as_str()]);
        line(
            &mut text,
            2,
            &format!("label={label}; fontname=\"sans-serif\";"),
        );
        for node in &cluster.nodes {
            line(&mut text, 2, &shape(node));
        }
        if cluster.nodes.is_empty() {
            // Without a node inside nothing is drawn.
            line(&mut text, 2, &format!("empty{index} [style=invis];"));
        }
        line(&mut text, 1, "}");
    }
    for edge in &graph.edges {
        let label = quoted([edge.label.as_str()]);
        let style = if edge.is_active { "" } else { ", style=dashed" };
        line(
            &mut text,
            1,
            &format!("n{} -> n{} [label={label}{style}];", edge.from, edge.to),
        );
    }
    text.push_str("}\n");
    text
}

fn line(text: &mut String, depth: usize, content: &str) {
    writeln!(text, "{:1$}{content}", "", depth * 2).expect("writing to a string cannot fail");
}

/// Owned topics have a thick border, rules have round corners.
fn shape(node: &Node) -> String {
    let label = quoted(node.lines.iter().map(String::as_str));
    let style = match node.kind {
        Kind::Owned => ", penwidth=3",
        Kind::Topic => "",
        Kind::Rule => ", style=rounded",
    };
    format!("n{} [label={label}{style}];", node.id)
}

/// A string whose backslashes and entities are taken literally.
fn quoted<'l>(lines: impl IntoIterator<Item = &'l str>) -> String {
    let lines: Vec<_> = lines
        .into_iter()
        .map(|line| {
            clean(line)
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('&', "&amp;")
        })
        .collect();
    format!("\"{}\"", lines.join("\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_end_a_string_or_become_an_escape() {
        assert_eq!(quoted(["orders.eu-1"]), r#""orders.eu-1""#);
        assert_eq!(quoted(["a\"b"]), r#""a\"b""#);
        assert_eq!(quoted([r"\d+\N"]), r#""\\d+\\N""#);
        assert_eq!(quoted([r#"\""#]), r#""\\\"""#);
        assert_eq!(quoted(["&lt;", "b"]), r#""&amp;lt;\nb""#);
        assert_eq!(quoted(["a\nb"]), r#""a\\u{a}b""#);
    }
}
