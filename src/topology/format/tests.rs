//! Layouts by example, and what holds for any text.

use std::path::Path;

use proptest::prelude::*;

use super::{FormatError, format};
use crate::topology::tests::{EVERYTHING, cases};

fn formatted(text: &str) -> String {
    match format(Path::new("t.toml"), text) {
        Ok(formatted) => formatted,
        Err(error) => panic!("{error}: {text}"),
    }
}

/// Pairs of a text and its layout, which is also its own.
fn assert_laid_out(pairs: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (text, expected) in pairs {
        for text in [text, expected] {
            let found = formatted(text);
            if found != *expected {
                wrong.push(format!(
                    "{text}\n-- became --\n{found}\n-- not --\n{expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn spaces_and_blank_lines_are_those_of_the_layout() {
    assert_laid_out(&[
        ("", ""),
        ("\n\n", ""),
        ("  a=1", "a = 1\n"),
        ("a . b\t=\"x\"  ", "a.b = \"x\"\n"),
        ("\n\na = 1\n\n\n\nb = 2\n\n", "a = 1\n\nb = 2\n"),
        (
            "a = 1\n[ b . \"c.d\" ]\nx = 1",
            "a = 1\n\n[b.\"c.d\"]\nx = 1\n",
        ),
        ("[a]\n[b]\n", "[a]\n[b]\n"),
        ("[[ a ]]\n", "[[a]]\n"),
        ("a = {b=1,c.d=[ 1,2, ]}", "a = { b = 1, c.d = [1, 2] }\n"),
        ("a = { }\nb = [ ]\nc = [\n\n]", "a = {}\nb = []\nc = []\n"),
        ("a = 1979-05-27 07:32:00Z", "a = 1979-05-27 07:32:00Z\n"),
    ]);
}

#[test]
fn comments_stay_where_they_are() {
    assert_laid_out(&[
        ("#a\n  # b  \na=1#c\n", "#a\n# b\na = 1 #c\n"),
        // What a comment between two tables is about is not decided here.
        ("a = 1\n# old = 2\n[b]\n", "a = 1\n# old = 2\n[b]\n"),
        (
            "a = 1\n\n# about b\n[b] # c\n",
            "a = 1\n\n# about b\n[b] # c\n",
        ),
        (
            "a = 1   # one\nlonger = 2 # two\n\nb = 1     # apart\n",
            "a = 1      # one\nlonger = 2 # two\n\nb = 1 # apart\n",
        ),
        (
            "a = [ # first\n\n1 # one\n, # two\n\n\n# three\n2 ] # four\n",
            "a = [ # first\n  1, # one\n  # two\n\n  # three\n  2,\n] # four\n",
        ),
        ("a = [ # only\n]\n", "a = [ # only\n]\n"),
        (
            "a = { # first\nb = 1, # one\nc # two\n= 2 }\n",
            "a = { # first\n  b = 1, # one\n  # two\n  c = 2,\n}\n",
        ),
    ]);
}

#[test]
fn long_arrays_have_an_item_on_each_line() {
    let word = "x".repeat(40);
    let flat = format!("a = [\"{word}\", \"{word}\"]\n");
    assert_laid_out(&[(&flat, &flat)]);
    let long = format!("a = [\"{word}\", \"{word}\", \"{word}\"]\n");
    let spread = format!("a = [\n  \"{word}\",\n  \"{word}\",\n  \"{word}\",\n]\n");
    assert_laid_out(&[
        (&long, &spread),
        ("a = [\"x\",\n\"y\"]\n", "a = [\n  \"x\",\n  \"y\",\n]\n"),
        (
            "a = [[1,\n2], { b = 1 }]\n",
            "a = [\n  [\n    1,\n    2,\n  ],\n  { b = 1 },\n]\n",
        ),
    ]);
}

#[test]
fn strings_are_not_touched() {
    let text = "a = '''\n  x   \n\n\n # no comment'''\nb = \"\"\"\\\n   y\"\"\" # z\nc = 'q\\'\n";
    assert_laid_out(&[(text, text)]);
}

#[test]
fn line_ends_and_the_byte_order_mark_stay_what_they_are() {
    assert_laid_out(&[
        (
            "\u{feff}a=1\r\nb=2 # c\n\n",
            "\u{feff}a = 1\r\nb = 2 # c\r\n",
        ),
        ("a=1\nb=2\r\n", "a = 1\nb = 2\n"),
    ]);
}

#[test]
fn what_is_no_toml_is_refused() {
    for text in ["a = ", "[a", "a = 1\na = 2", "a = \"", "\u{7}", "a = [1, 2"] {
        let refused = format(Path::new("t.toml"), text);
        assert!(matches!(refused, Err(FormatError::Syntax(_))), "{text}");
    }
    let deep = "[".repeat(5000);
    assert!(format(Path::new("t.toml"), &format!("a = {deep}")).is_err());
}

fn comment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => Just(String::new()),
        1 => " {0,2}#[ a\\[\\],\"=]{0,6}".prop_map(|text| text),
    ]
}

/// Spaces and, where they may stand, ends of lines with comments.
fn gap(lines: bool) -> BoxedStrategy<String> {
    if lines {
        prop_oneof![
            3 => " {0,3}",
            1 => (comment(), "(\n|\r\n)( |\n|\t){0,3}").prop_map(|(comment, end)| comment + &end),
        ]
        .boxed()
    } else {
        "[ \t]{0,2}".boxed()
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", "\"[a-c.# ]\"", "'[\"]'", "[a-c] ?\\. ?[a-c]"]
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("1_000".to_owned()),
        Just("-0.5e3".to_owned()),
        Just("nan".to_owned()),
        Just("true".to_owned()),
        Just("1979-05-27 07:32:00".to_owned()),
        "\"[a#,\\]}é]{0,50}\"",
        "'''(a|\n|#| ){0,4}'''",
        "\"\"\"(b|\r\n| |\\\\\n){0,3}\"\"\"",
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        let array = prop::collection::vec((gap(true), inner.clone(), gap(true)), 0..4);
        let table = prop::collection::vec((gap(true), key(), gap(true), inner, gap(true)), 0..3);
        prop_oneof![
            (array, any::<bool>(), gap(true)).prop_map(|(items, comma, last)| {
                let comma = if comma && !items.is_empty() { "," } else { "" };
                let items: Vec<_> = items
                    .into_iter()
                    .map(|(before, value, after)| before + &value + &after)
                    .collect();
                format!("[{}{comma}{last}]", items.join(","))
            }),
            (table, gap(true)).prop_map(|(items, last)| {
                let items: Vec<_> = items
                    .into_iter()
                    .enumerate()
                    .map(|(index, (before, key, middle, value, after))| {
                        format!("{before}k{index}.{key}{middle}= {value}{after}")
                    })
                    .collect();
                format!("{{{}{last}}}", items.join(","))
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => (gap(false), key(), gap(false), gap(false), value())
            .prop_map(|(a, key, b, c, value)| format!("{a}K.{key}{b}={c}{value}")),
        1 => (gap(false), key()).prop_map(|(a, key)| format!("[{a}K.{key}{a}]")),
        1 => Just("[[T]]".to_owned()),
        2 => Just(String::new()),
    ];
    let lines = prop::collection::vec((line, comment(), "\r?\n"), 0..8);
    lines.prop_map(|lines| {
        lines
            .into_iter()
            .enumerate()
            .map(|(index, (line, comment, end))| {
                format!("{}{comment}{end}", line.replace('K', &format!("k{index}")))
            })
            .collect()
    })
}

/// What TOML itself makes of a text. `nan` is not even equal to itself, so it is written out.
fn meaning(text: &str) -> String {
    let table: toml::Table = text.parse().expect("the text is TOML");
    format!("{table:?}")
}

/// How often each comment stands in a text.
fn comments(text: &str) -> usize {
    super::document::events(text)
        .expect("the text is TOML")
        .iter()
        .filter(|event| event.kind() == toml_parser::parser::EventKind::Comment)
        .count()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn formatting_changes_no_meaning_and_formatting_again_changes_nothing(text in document()) {
        // Keys may collide; such a text has no meaning.
        prop_assume!(text.parse::<toml::Table>().is_ok());
        let once = formatted(&text);
        prop_assert_eq!(meaning(&once), meaning(&text), "{}", once);
        prop_assert_eq!(comments(&once), comments(&text), "{}", once);
        prop_assert_eq!(&formatted(&once), &once);
    }

    #[test]
    fn no_text_makes_the_formatter_fail(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, ".{0,3}"), 1..4)
    ) {
        let mut text: Vec<char> = EVERYTHING.chars().collect();
        for (at, length, insert) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        match format(Path::new("t.toml"), &text) {
            Ok(once) => prop_assert_eq!(&formatted(&once), &once),
            Err(FormatError::Syntax(_)) => {}
            Err(FormatError::Unfaithful) => prop_assert!(false, "{}", text),
        }
    }
}
