//! The graph as a Mermaid flowchart, which GitHub, GitLab and most wikis draw.

use std::fmt::Write as _;

use super::{Graph, Kind, Node};
use crate::report::clean;

pub(super) fn write(graph: &Graph) -> String {
    let mut text = String::from("flowchart LR\n");
    for (index, cluster) in graph.clusters.iter().enumerate() {
        let label = quoted(&cluster.label);
        if cluster.nodes.is_empty() {
            // Not every version draws a subgraph without nodes.
            line(&mut text, 1, &format!("cluster{index}[({label})]"));
            continue;
        }
        line(&mut text, 1, &format!("subgraph cluster{index}[{label}]"));
        for node in &cluster.nodes {
            line(&mut text, 2, &shape(node));
        }
        line(&mut text, 1, "end");
    }
    for edge in &graph.edges {
        let arrow = if edge.is_active { "-->" } else { "-.->" };
        let label = quoted(&edge.label);
        line(
            &mut text,
            1,
            &format!("n{} {arrow}|{label}| n{}", edge.from, edge.to),
        );
    }
    let mut nodes = graph.clusters.iter().flat_map(|cluster| &cluster.nodes);
    if nodes.any(|node| node.kind == Kind::Owned) {
        line(&mut text, 1, "classDef owned stroke-width:3px");
    }
    text
}

fn line(text: &mut String, depth: usize, content: &str) {
    writeln!(text, "{:1$}{content}", "", depth * 2).expect("writing to a string cannot fail");
}

/// Owned topics have a thick border, rules have round ends.
fn shape(node: &Node) -> String {
    let lines: Vec<_> = node.lines.iter().map(|line| escaped(line)).collect();
    let label = lines.join("<br/>");
    match node.kind {
        Kind::Owned => format!("n{}[\"{label}\"]:::owned", node.id),
        Kind::Topic => format!("n{}[\"{label}\"]", node.id),
        Kind::Rule => format!("n{}([\"{label}\"])", node.id),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// Labels are read as Markdown with HTML in it, so all that could mean something there becomes an
/// entity in Mermaid's own notation: `#35;`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for (index, char) in clean(text).chars().enumerate() {
        let is_plain = if index == 0 {
            // A digit or hyphen could begin a list.
            char.is_alphabetic()
        } else {
            char.is_alphanumeric() || matches!(char, ' ' | '.' | ',' | ':' | '/' | '-' | '(' | ')')
        };
        if is_plain {
            escaped.push(char);
        } else {
            write!(escaped, "#{};", u32::from(char)).expect("writing to a string cannot fail");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_end_a_label_or_become_markup() {
        assert_eq!(escaped("orders.eu-1 (paused)"), "orders.eu-1 (paused)");
        assert_eq!(escaped("a\"]-->b"), "a#34;#93;--#62;b");
        assert_eq!(escaped("<b>#35;`x`"), "#60;b#62;#35;35#59;#96;x#96;");
        assert_eq!(escaped("__x*"), "#95;#95;x#42;");
        assert_eq!(escaped("- x"), "#45; x");
        assert_eq!(escaped("1. x"), "#49;. x");
        assert_eq!(escaped("a\nb"), "a#92;u#123;a#125;b");
        assert_eq!(escaped("größe"), "größe");
    }
}
