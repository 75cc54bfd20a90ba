//! The OpenAPI description is one, and says what the server does: no more and no less.

use std::collections::BTreeSet;
use std::path::Path;

use hyper::{Method, Request};
use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

use super::client::Answer;
use super::scene::Scene;
use crate::server::openapi::DESCRIPTION;
use crate::server::v3;

/// Where the description is while it is validated.
const URL: &str = "mem:///rest-api.json";

fn description() -> Value {
    let documents = YamlLoader::load_from_str(DESCRIPTION).unwrap();
    json(&documents[0])
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Boolean(is) => Value::from(*is),
        Yaml::Null => Value::Null,
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Hash(entries) => {
            let entry =
                |(key, value): (&Yaml, &Yaml)| (key.as_str().unwrap().to_owned(), json(value));
            Value::Object(entries.iter().map(entry).collect())
        }
        other => panic!("{other:?} is not used here"),
    }
}

/// Validates against parts of the description, and whatever else is added.
struct Judge {
    schemas: boon::Schemas,
    compiler: boon::Compiler,
}

impl Judge {
    fn of(url: &str, document: Value) -> Self {
        let mut compiler = boon::Compiler::new();
        compiler.enable_format_assertions();
        compiler.add_resource(url, document).unwrap();
        Self {
            schemas: boon::Schemas::new(),
            compiler,
        }
    }

    /// What a document breaks of the schema there.
    fn violations(&mut self, schema: &str, document: &Value) -> Option<String> {
        let index = self.compiler.compile(schema, &mut self.schemas);
        let index = index.unwrap_or_else(|error| panic!("{schema}: {error:#}"));
        let result = self.schemas.validate(document, index);
        result.err().map(|error| format!("{error:#}"))
    }
}

#[test]
fn the_description_is_openapi() {
    let ours =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openapi-3.1-as-written.schema.json");
    // Whoever has a copy of the specification's own schema can name it.
    let public = std::env::var_os("KMIRROR_OPENAPI_SCHEMA").map(Into::into);
    for schema in std::iter::once(ours).chain(public) {
        let text = std::fs::read_to_string(&schema).unwrap();
        let mut judge = Judge::of("mem:///openapi.json", serde_json::from_str(&text).unwrap());
        let violations = judge.violations("mem:///openapi.json", &description());
        assert_eq!(violations, None, "{}", schema.display());
    }
}

/// What stands behind references, if it is one.
fn resolved<'d>(description: &'d Value, value: &'d Value) -> &'d Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            let found = description.pointer(reference.strip_prefix('#').unwrap());
            found.unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => value,
    }
}

#[test]
fn each_part_of_a_path_is_a_parameter_that_is_described() {
    let description = description();
    let mut operations = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        let names: BTreeSet<&str> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .collect();
        let parameters = item["parameters"].as_array().cloned().unwrap_or_default();
        let described: BTreeSet<String> = parameters
            .iter()
            .map(|parameter| {
                resolved(&description, parameter)["name"]
                    .as_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
        assert_eq!(described, names, "{path}");
        for (method, operation) in item.as_object().unwrap() {
            if method != "parameters" {
                let id = operation["operationId"].as_str().unwrap().to_owned();
                assert!(operations.insert(id), "{method} {path}");
            }
        }
    }
}

/// The paths of all routes; a router shows them where it is debugged.
fn routed() -> BTreeSet<String> {
    let shown = format!("{:?}", v3::routes());
    let quoted = regex::Regex::new(r#""(/clusters[^"]*)""#).unwrap();
    let paths = quoted.captures_iter(&shown);
    paths.map(|captures| captures[1].to_owned()).collect()
}

#[test]
fn every_route_is_described_and_everything_described_is_a_route() {
    let description = description();
    let described: BTreeSet<String> = description["paths"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(routed(), described);
}

/// An operation of the description.
struct Operation {
    method: Method,
    path: String,
    id: String,
    /// The examples of its parameters.
    query: String,
    body: Option<Value>,
    /// Schemas of answers by their status; `None` for one without a body.
    successes: Map<String, Value>,
}

/// In an order in which each finds what it is about: first those that read, last those that delete.
fn operations(description: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method == "parameters" {
                continue;
            }
            let responses = operation["responses"].as_object().unwrap();
            // Those by their statuses: what is always refused has one of its own, too.
            let successes = responses.iter().filter(|(status, _)| *status != "default");
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let query = parameters.filter_map(|parameter| {
                let parameter = resolved(description, parameter);
                let example = parameter.get("example")?;
                let value = example.as_str().map_or(example.to_string(), str::to_owned);
                Some(format!("{}={value}", parameter["name"].as_str()?))
            });
            operations.push(Operation {
                query: query.collect::<Vec<_>>().join("&"),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
                id: operation["operationId"].as_str().unwrap().to_owned(),
                body: operation
                    .pointer("/requestBody/content/application~1json/example")
                    .cloned(),
                successes: successes
                    .map(|(status, response)| (status.clone(), response.clone()))
                    .collect(),
            });
        }
    }
    let rank = |method: &Method| match method.as_str() {
        "GET" => 0,
        "DELETE" => 2,
        _ => 1,
    };
    // The deeper first: a topic is deleted after its configs.
    operations.sort_by_key(|operation| {
        let depth = operation.path.split('/').count();
        (rank(&operation.method), usize::MAX - depth)
    });
    operations
}

async fn carried_out(scene: &Scene, operation: &Operation, cluster_id: &str) -> Answer {
    let mut path = operation.path.replace("{cluster_id}", cluster_id);
    for (name, value) in scene.names() {
        path = path.replace(&format!("{{{name}}}"), &value);
    }
    assert!(
        !path.contains('{'),
        "{path}: the scene has nothing of that name"
    );
    let request = Request::builder()
        .method(operation.method.clone())
        .uri(format!("/kafka/v3{path}?{}", operation.query))
        .header("content-type", "application/json");
    let body = operation.body.as_ref().map(Value::to_string);
    scene
        .client()
        .send(request, &body.unwrap_or_default())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_answers_as_it_is_described() {
    let description = description();
    let mut judge = Judge::of(URL, description.clone());
    let scene = Scene::linked().await;
    for operation in operations(&description) {
        let Operation {
            id,
            successes,
            body,
            ..
        } = &operation;
        if let Some(body) = body {
            let at = format!(
                "{URL}#/paths/{}/{}/requestBody/content/application~1json/schema",
                escaped(&operation.path),
                operation.method.as_str().to_lowercase()
            );
            assert_eq!(judge.violations(&at, body), None, "{id}: its own example");
        }
        let answer = carried_out(&scene, &operation, super::CLUSTER_ID).await;
        let status = answer.status.as_str();
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(successes.contains_key(status), "{id}: {status} {told}");
        if successes[status].get("content").is_some() {
            let at = format!(
                "{URL}#/paths/{}/{}/responses/{status}/content/application~1json/schema",
                escaped(&operation.path),
                operation.method.as_str().to_lowercase()
            );
            assert_eq!(judge.violations(&at, &answer.json()), None, "{id}: {told}");
        } else {
            assert_eq!(told, "", "{id}");
        }
        // And for a cluster that is none of this listener's, as all refusals are.
        if operation.path.contains("{cluster_id}") {
            let answer = carried_out(&scene, &operation, "other").await;
            assert_eq!(answer.refusal(), (404, 404), "{id}");
            let at = format!("{URL}#/components/schemas/Error");
            assert_eq!(judge.violations(&at, &answer.json()), None, "{id}");
        }
    }
}

/// A path as a part of a JSON pointer in a URL.
fn escaped(path: &str) -> String {
    let path = path.replace('~', "~0").replace('/', "~1");
    path.replace('{', "%7B").replace('}', "%7D")
}

#[tokio::test(flavor = "multi_thread")]
async fn no_verb_is_left_undescribed() {
    let description = description();
    let scene = Scene::new().await;
    for (path, item) in description["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys();
        let mut described: BTreeSet<String> = methods
            .filter(|method| *method != "parameters")
            .map(|method| method.to_uppercase())
            .collect();
        if described.contains("GET") {
            described.insert("HEAD".to_owned());
        }
        let path = format!("/v3{}", path.replace(['{', '}'], ""));
        let request = Request::builder().method(Method::TRACE).uri(path.as_str());
        let answer = scene.client().send(request, "").await;
        assert_eq!(answer.refusal(), (405, 405), "{path}");
        let allowed = answer.header("allow").unwrap().split(',');
        let allowed: BTreeSet<String> = allowed.map(str::to_owned).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_is_served() {
    let stand = super::Stand::new().await;
    let answer = stand.client().get("/openapi.yaml").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/yaml"));
    assert_eq!(answer.body, DESCRIPTION.as_bytes());
}
