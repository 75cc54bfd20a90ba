//! What is found wrong, in the forms that programs read.

use std::path::Path;

use serde_json::Value;

use crate::assert_shown;
use crate::support::{Ran, Scenario};

/// Mistakes with one place and with several, without a place, a warning, and names with everything
/// in them that the forms have to escape.
fn check(format: &str) -> Ran {
    let scenario = Scenario::new();
    std::fs::create_dir(scenario.path("a, b")).expect("the folder is writable");
    scenario
        .file(
            "mirror.toml",
            r#"kmirror = 1

[clusters.east]
bootstrap_servers = "east-1:9092"

[clusters.west]
bootstrap_servers = "west-1:9092"

[links.east-to-west]
source = "east"
destination = "west"
topics = ["orders", "payments.*", "100%"]
rename = "é-$topic"

[links.again]
source = "east"
destination = "west"
topics = ["orders"]
rename = [
  { regex = "[a](b)", to = "${2}" },
]
start = """
now"""

[links.third]
source = "west"
destination = "east"
topics = ["clicks", "views"]
exclude = ["cl*"]
"#,
        )
        .file("a, b/x.toml", "kmirror = 1\nlink = 1\n")
        .file(
            "good.toml",
            "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"east-1:9092\"\n",
        );
    scenario.run(&[
        "validate",
        "--format",
        format,
        "mirror.toml",
        "./a, b/x.toml",
        "absent.toml",
        "good.toml",
    ])
}

#[test]
fn github_shows_each_mistake_at_its_line() {
    let ran = check("github");
    assert_shown("validate_github", &ran);
    for line in ran.stdout.lines() {
        assert!(
            line.starts_with("::error file=") || line.starts_with("::warning file="),
            "{line}"
        );
    }
}

#[test]
fn code_scanning_gets_rules_places_and_help() {
    let mut ran = check("sarif");
    let mut document: Value = serde_json::from_str(&ran.stdout).expect("valid JSON");
    let rules = document["runs"][0]["tool"]["driver"]["rules"].as_array_mut();
    for rule in rules.expect("there are rules") {
        // What the documentation says may be said better some day.
        for (key, part) in [("fullDescription", "text"), ("help", "markdown")] {
            let text = rule[key][part].as_str().expect(key);
            assert!(text.len() > 40, "{text}");
        }
        rule["fullDescription"] = "…".into();
        rule["help"] = "…".into();
    }
    ran.stdout = serde_json::to_string_pretty(&document).expect("it was JSON");
    ran.stdout.push('\n');
    assert_shown("validate_sarif", &ran);
}

/// Why a document does not follow a schema.
pub(crate) fn violations(schema: &Path, document: &Value) -> Option<String> {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.enable_format_assertions();
    let text = std::fs::read_to_string(schema).expect("the schema is readable");
    let schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    let url = "mem:///schema.json";
    compiler
        .add_resource(url, schema)
        .expect("the schema is one");
    let index = compiler
        .compile(url, &mut schemas)
        .expect("the schema is consistent");
    let result = schemas.validate(document, index);
    result.err().map(|error| format!("{error:#}"))
}

/// What every SARIF document has to be.
pub(crate) fn assert_sarif(document: &Value) {
    let ours =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sarif-2.1.0-as-written.schema.json");
    // Whoever has a copy of the standard's own schema can name it.
    let public = std::env::var_os("KMIRROR_SARIF_SCHEMA").map(Into::into);
    for schema in std::iter::once(&ours).chain(&public) {
        let violations = violations(schema, document);
        assert!(violations.is_none(), "{violations:?}");
    }
    let run = &document["runs"][0];
    let results = run["results"].as_array().expect("there are results");
    for result in results {
        let index = result["ruleIndex"].as_u64().expect("an index");
        let index = usize::try_from(index).expect("a small one");
        let rule = &run["tool"]["driver"]["rules"][index];
        assert_eq!(rule["id"], result["ruleId"]);
    }
}

#[test]
fn sarif_is_what_the_standard_says() {
    let scenario = Scenario::new();
    scenario.file("good.toml", "kmirror = 1\n");
    let nothing_found = scenario.run(&["validate", "--format", "sarif", "good.toml"]);
    for ran in [check("sarif"), nothing_found] {
        let document: Value = serde_json::from_str(&ran.stdout).expect("valid JSON");
        assert_sarif(&document);
    }
}

#[test]
fn the_schema_for_sarif_notices_what_is_wrong() {
    let ours =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sarif-2.1.0-as-written.schema.json");
    let good: Value = serde_json::from_str(&check("sarif").stdout).expect("valid JSON");
    for (pointer, value) in [
        ("/version", Value::from("2.0.0")),
        ("/runs/0/results/0/level", Value::from("fatal")),
        ("/runs/0/results/0/message", Value::from("text")),
        ("/runs/0/tool", Value::Null),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(violations(&ours, &bad).is_some(), "{pointer}");
    }
}

#[test]
fn a_plan_that_cannot_be_made_says_why_in_the_form_that_was_asked_for() {
    let scenario = Scenario::new();
    scenario.file("bad.toml", "kmirror = 1\nlink = 1\n");
    let plan = |format: &str| {
        let ran = scenario.run(&["plan", "--format", format, "bad.toml"]);
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), ""), "{ran}");
        ran
    };
    let document: Value = serde_json::from_str(&plan("json").stdout).expect("valid JSON");
    assert_eq!(document["files"][0]["diagnostics"][0]["code"], "K0010");
    let document: Value = serde_json::from_str(&plan("sarif").stdout).expect("valid JSON");
    assert_sarif(&document);
    assert_eq!(document["runs"][0]["results"][0]["ruleId"], "K0010");
    let commands = plan("github").stdout;
    assert!(
        commands.starts_with("::error file=bad.toml,line=2,"),
        "{commands}"
    );
    assert_shown("plan_mistakes_markdown", &plan("markdown"));
}
