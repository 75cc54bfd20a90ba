//! `kmirror schema`.

use crate::support::Scenario;

#[test]
fn the_schema_is_a_document_that_editors_can_read() {
    let ran = Scenario::new().run(&["schema"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran}");
    let schema: serde_json::Value = serde_json::from_str(&ran.stdout).expect("valid JSON");
    // taplo takes a schema that names no draft for draft 7.
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
}

#[test]
fn a_plan_follows_the_schema_that_is_printed() {
    let ran = Scenario::new().run(&["schema", "plan"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{ran}");
    let scenario = Scenario::new();
    scenario.file("plan.schema.json", &ran.stdout);
    let clusters = crate::outputs::changed();
    let plan = clusters.run(&["plan", "--format", "json", "mirror.toml"]);
    let plan = serde_json::from_str(&plan.stdout).expect("valid JSON");
    let violations = crate::formats::violations(&scenario.path("plan.schema.json"), &plan);
    assert!(violations.is_none(), "{violations:?}");
}

#[test]
fn a_file_may_name_its_schema() {
    let scenario = Scenario::new();
    let text = "#:schema ./topology.schema.json\nkmirror = 1\n";
    scenario.file("mirror.toml", text);
    let ran = scenario.run(&["validate", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    // The formatter leaves the directive where it is.
    let ran = scenario.run_with_input(&["fmt", "-"], text);
    assert_eq!(ran.stdout, text, "{ran}");
}
