//! Properties that hold for any text and any order.

use proptest::prelude::*;

use super::{EVERYTHING, check};
use crate::topology::diagnostic::{Diagnostics, Severity};
use crate::topology::resolve::{LinkRule, resolve_link};
use crate::topology::{Loaded, into_text, names, render};

fn topic_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c._-]{1,4}",
        "(__|_confluent|_kmirror\\.|connect-|mm2-)[a-z.-]{0,12}",
        Just("_schemas".to_owned()),
        Just("heartbeats".to_owned()),
        Just("connect-offsets".to_owned()),
        Just("__consumer_offsets".to_owned()),
    ]
}

fn pattern() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c_*?]{1,3}\\*".prop_map(|glob| format!("{glob:?}")),
        "[a-c_.]{0,2}\\.[*+]".prop_map(|regex| format!("{{ regex = {regex:?} }}")),
        Just("{ regex = \"(a|b|_|c|mm2|heart).*\" }".to_owned()),
    ]
}

/// Whatever is said about a file can be shown.
fn render_all(result: Result<Loaded, Diagnostics>) {
    let diagnostics = match result {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => {
            assert!(diagnostics.count(Severity::Error) > 0);
            diagnostics
        }
    };
    for width in [0, 80] {
        render::text(&diagnostics, width == 80, width);
    }
    serde_json::to_string(&render::json(&diagnostics)).expect("serialises");
}

/// Few enough for every build; PROPTEST_CASES asks for more.
pub(in crate::topology) fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(50),
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let path = std::path::Path::new("t.toml");
        render_all(into_text(path, bytes).and_then(|text| check(&text)));
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        render_all(check(&text));
    }

    #[test]
    fn no_toml_like_text_makes_the_parser_panic(
        text in "(kmirror|clusters|links|a|topics|rename|\\[|\\]|\\{|\\}|=|\\.|,|\"|'|\n| |1|\\$|#){0,60}"
    ) {
        render_all(check(&text));
    }

    #[test]
    fn no_change_of_a_valid_file_makes_the_parser_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), 0usize..12, ".{0,3}"), 1..4)
    ) {
        let mut text: Vec<char> = EVERYTHING.chars().collect();
        for (at, length, insert) in cuts {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, insert.chars());
        }
        render_all(check(&text.into_iter().collect::<String>()));
    }

    #[test]
    fn no_reordered_file_makes_the_parser_panic(
        order in Just(EVERYTHING.lines().collect::<Vec<_>>()).prop_shuffle(), kept in 0usize..40
    ) {
        render_all(check(&order[..kept.min(order.len())].join("\n")));
    }

    #[test]
    fn patterns_never_take_internal_topics_and_order_never_matters(
        topics in prop::collection::vec(topic_name(), 0..20).prop_shuffle(),
        patterns in prop::collection::vec(pattern(), 1..4),
    ) {
        let text = format!(
            "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\n\
             clusters.b.bootstrap_servers = \"b:1\"\n\
             [links.l]\nsource = \"a\"\ndestination = \"b\"\ntopics = [{}]",
            patterns.join(", ")
        );
        // A pattern may be no glob; that is said elsewhere.
        let Ok(loaded) = check(&text) else { return Ok(()) };
        let rule = LinkRule::from(&loaded.topology.links["l"]);
        let resolution = resolve_link(&rule, topics.iter().map(String::as_str));
        for mirror in &resolution.mirrors {
            prop_assert!(!names::is_internal(&mirror.source), "{}", mirror.source);
        }
        let mut sorted = topics.clone();
        sorted.sort();
        let again = resolve_link(&rule, sorted.iter().map(String::as_str));
        prop_assert_eq!(resolution, again);
    }
}
