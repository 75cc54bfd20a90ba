//! The published schema of the plan document follows the types, and real documents follow the schema.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use super::*;
use crate::plan::model::{Address, PLAN_VERSION};

/// Set to write the schema anew.
const UPDATE: &str = "KMIRROR_UPDATE_SCHEMAS";

impl JsonSchema for Address {
    fn schema_name() -> Cow<'static, str> {
        "Address".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a thing is found in plans, in messages and in logs, such as `mirror.east-to-west/orders`.",
            "type": "string",
            "pattern": "^(cluster|control|link|mirror)\\.",
        })
    }
}

fn generated() -> String {
    let generator = SchemaSettings::draft07().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Plan>().to_value();
    schema["title"] = "kmirror plan".into();
    schema["properties"]["version"] = serde_json::json!({
        "description": "Raised when a key changes its meaning or goes; others may be added at any time.",
        "const": PLAN_VERSION,
    });
    let mut text = serde_json::to_string_pretty(&schema).expect("it is JSON");
    text.push('\n');
    text
}

fn published() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/plan.schema.json")
}

#[test]
fn the_published_schema_is_that_of_the_document() {
    let generated = generated();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(published(), &generated).expect("the schema is writable");
    }
    let published = std::fs::read_to_string(published()).expect("the schema is readable");
    assert!(
        published == generated,
        "run the test once more with {UPDATE}=1 and look at the difference"
    );
}

/// Why a plan does not follow the schema.
fn violations(plan: &Value) -> Option<String> {
    let schema: Value = serde_json::from_str(&generated()).expect("it is JSON");
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    let url = "mem:///plan.json";
    compiler.add_resource(url, schema).expect("it is a schema");
    let index = compiler.compile(url, &mut schemas).expect("it is one");
    let result = schemas.validate(plan, index);
    result.err().map(|error| format!("{error:#}"))
}

fn document(plan: &Plan) -> Value {
    serde_json::from_str(&crate::report::json::plan(plan)).expect("valid JSON")
}

#[test]
fn real_plans_follow_the_published_schema() {
    let topology = with_clusters(
        r#"
[clusters.west.topics.audit]
partitions = 2
config = { "retention.ms" = 1000 }
[links.copy]
source = "east"
destination = "west"
topics = ["orders", "pay-*", "absent"]
rename = { prefix = "m." }
state = "paused"
[links.back]
source = "west"
destination = "east"
topics = ["none-*"]
"#,
    );
    let model = Model::new(&["east", "west"]);
    model.add_topic("east", "orders", 1, 1, &[("min.insync.replicas", "2")]);
    model.add_topic("east", "pay-1", 4, 9, &[]);
    let first = plan(&topology, &model);
    apply(&topology, &model);
    model.set_config("west", "audit", "retention.ms", Some("7"));
    model.set_config("west", "m.orders", "segment.ms", Some("7"));
    let later = plan(&copy("topics = [\"*\"]"), &model);
    let renamed = plan(&copy("topics = [\"orders\"]"), &model);
    for plan in [first, plan(&topology, &model), later, renamed] {
        let document = document(&plan);
        let violations = violations(&document);
        assert!(violations.is_none(), "{violations:?}\n{document:#}");
    }
}

#[test]
fn the_schema_notices_what_is_no_plan() {
    let topology = copy("topics = [\"orders\"]");
    let model = Model::new(&["east", "west"]);
    let good = document(&plan(&topology, &model));
    assert_eq!(violations(&good), None);
    for (pointer, value) in [
        ("/version", Value::from(PLAN_VERSION + 1)),
        ("/entries/0/action", Value::from("explode")),
        ("/entries/0/address", Value::from(1)),
        ("/entries/2/blocked/0/blocker", Value::from("whim")),
        ("/counts", Value::Null),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).expect(pointer) = value;
        assert!(violations(&bad).is_some(), "{pointer}");
    }
}
