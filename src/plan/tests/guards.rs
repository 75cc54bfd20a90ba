//! Numbered checks that every tool of this kind has failed at least once: what a plan prints.

use super::*;
use crate::observe::model::Described;
use crate::report::findings::Form;
use crate::report::text::TextOptions;
use crate::report::{self, findings, json, markdown, text};

/// The plan and the drift in all their forms.
fn forms(plan: &Plan) -> [String; 11] {
    let drift = crate::plan::drift::drift(plan, &std::collections::BTreeSet::new());
    [
        report::drift::text(&drift, TextOptions::PLAIN),
        report::drift::json(&drift),
        markdown::drift(&drift, 0),
        findings::drift(&drift, Form::Github, 0),
        findings::drift(&drift, Form::Sarif, 0),
        findings::junit(&drift, 0),
        text::plan(plan, TextOptions::PLAIN),
        json::plan(plan),
        markdown::plan(plan, 0),
        findings::plan(plan, Form::Github, 0),
        findings::plan(plan, Form::Sarif, 0),
    ]
}

/// 4,960 mirrors to be created, 10 to be deleted, 20 that are blocked, and 10 topics that get another value.
fn many() -> (Topology, Model) {
    let model = Model::new(&["east", "west"]);
    for number in 0..4_970 {
        let name = format!("topic-{number:04}");
        model.add_topic("east", &name, 1, 1, &[]);
    }
    assert!(apply(&copy("topics = [\"topic-000*\"]"), &model).is_complete());
    let mut owned = String::new();
    for number in 0..10 {
        let name = format!("owned-{number}");
        model.add_topic("west", &name, 1, 1, &[("retention.ms", "1000")]);
        owned.push_str(&format!(
            "[clusters.west.topics.{name}]\nconfig = {{ \"retention.ms\" = 2000 }}\n"
        ));
    }
    let absent: Vec<String> = (0..20)
        .map(|number| format!("\"absent-{number:02}\""))
        .collect();
    let doomed: String = (0..10)
        .map(|number| format!("[links.copy.mirrors.topic-{number:04}]\nstate = \"absent\"\n"))
        .collect();
    let file = format!(
        "{owned}[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"topic-*\", {}]\n{doomed}",
        absent.join(", ")
    );
    (with_clusters(&file), model)
}

#[test]
fn check_12_a_comment_on_five_thousand_changes_fits_and_keeps_what_matters() {
    let (topology, model) = many();
    let plan = plan(&topology, &model);
    assert_eq!(plan.entries.len(), 5_002);
    let comment = markdown::plan(&plan, 0);
    assert!(comment.chars().count() <= 65_536, "{}", comment.len());
    assert!(comment.contains("**Shortened** to fit into a comment:"));
    assert!(
        comment
            .contains("**4,960 to create, 11 to update, 10 to delete, 1 unchanged, 20 blocked.**")
    );
    for number in 0..20 {
        let blocked = format!("! mirror.copy/absent-{number:02} is blocked");
        let cause = format!("`east` has no topic `absent-{number:02}`.");
        assert!(comment.contains(&blocked) && comment.contains(&cause));
    }
    for number in 0..10 {
        let changed = format!("~ cluster.west/topic.owned-{number} will be updated");
        assert!(comment.contains(&changed), "{number}");
    }
    assert_eq!(comment.matches("1000 (1s) -> 2000 (2s)").count(), 10);
    for number in 0..10 {
        let deleted = format!("- mirror.copy/topic-{number:04} will be deleted");
        let what = format!("deletes topic west/topic-{number:04} ");
        assert!(comment.contains(&deleted) && comment.contains(&what));
    }
    assert!(comment.contains("more are not shown."));
    let drift = crate::plan::drift::drift(&plan, &std::collections::BTreeSet::new());
    let drift = markdown::drift(&drift, 0);
    assert!(drift.chars().count() <= 65_536, "{}", drift.len());
    assert!(drift.contains("4,960 declared but missing, 10 changed live, 10 live but undeclared, 1 declared but not applied, 20 blocked"));
    for comment in [comment, drift] {
        // Nothing is left open.
        assert_eq!(comment.matches("```").count() % 2, 0);
        assert_eq!(
            comment.matches("<details").count(),
            comment.matches("</details>").count()
        );
    }
}

#[test]
fn check_15_a_hundred_runs_print_the_same_lines_in_the_same_order() {
    let topology = with_clusters(
        r#"
[clusters.west.topics.audit]
config = { "retention.ms" = 1000, "cleanup.policy" = "delete", "segment.ms" = 7000 }
[links.copy]
source = "east"
destination = "west"
topics = ["topic-*", "absent"]
[links.back]
source = "west"
destination = "east"
topics = ["audit", "nowhere"]
"#,
    );
    let model = Model::new(&["east", "west"]);
    for number in 0..30 {
        let name = format!("topic-{number}");
        let configs = [("retention.ms", "5"), ("min.insync.replicas", "2")];
        model.add_topic("east", &name, 1, 1, &configs);
    }
    let first = forms(&plan(&topology, &model));
    for _ in 1..100 {
        assert_eq!(forms(&plan(&topology, &model)), first);
    }
}

/// Everything that is not in a fenced block.
fn outside_of_fences(markdown: &str) -> String {
    let parts = markdown.split("```");
    parts.step_by(2).collect::<Vec<_>>().join("")
}

#[test]
fn what_clusters_say_can_not_leave_its_place_in_any_form() {
    const NASTY: &str =
        "</details>\n```\n\n# x @team\n::error::x\u{1b}[2J | <img src=x onerror=y> <!-- ![a](b)";
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[]);
    model.with_topic("east", "orders", |topic| {
        topic.configs = Described::Refused(NASTY.to_owned());
    });
    model.change(|observed| {
        let west = observed.clusters.get_mut("west").expect("known");
        west.cluster_id = NASTY.to_owned();
    });
    let plan = plan(&topology, &model);
    let comment = markdown::plan(&plan, 0);
    assert!(comment.contains("onerror"));
    let outside = outside_of_fences(&comment);
    let spans: Vec<&str> = outside.split('`').collect();
    let bare: String = spans.iter().step_by(2).copied().collect();
    for words in ["onerror", "@team", "# x"] {
        assert!(!bare.contains(words), "{bare}");
    }
    assert_eq!(comment.matches("```").count() % 2, 0, "{comment}");
    let commands = findings::plan(&plan, Form::Github, 0);
    assert!(commands.contains("onerror"));
    for line in commands.lines() {
        assert!(line.starts_with("::error file=") || line.starts_with("::notice file="));
    }
    for form in forms(&plan) {
        let steers = |char: char| char.is_control() && char != '\n';
        assert!(!form.contains(steers), "{form}");
    }
}
