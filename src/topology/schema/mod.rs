//! The JSON schema of topology files, for editors: made of the reader's own table of keys.
//!
//! Draft 7, because that is what taplo and Even Better TOML read by default; they take a key's
//! description from the place where the key is, not from beside a `$ref`, so only whole tables are
//! definitions. A schema cannot know what takes more than one value to see: `kmirror validate` can.

use serde_json::{Map, Value, json};

use super::read::FORMAT_VERSION;
use super::read::key_table::{Key, Takes, Without, refusal};
use super::read::keys::Kind;

mod client;
#[cfg(test)]
mod tests;

/// The schema as a document, indented, with a final newline.
pub fn document() -> String {
    let mut text =
        serde_json::to_string_pretty(&schema()).expect("a schema has only serialisable parts");
    text.push('\n');
    text
}

fn schema() -> Value {
    let mut schema = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "kmirror topology",
        "description": "Kafka clusters, the links between them, and the topics that are mirrored.",
    });
    merge(&mut schema, table(Kind::Root));
    let definitions: Map<String, Value> = Kind::ALL
        .into_iter()
        .filter_map(|kind| Some((definition(kind)?.to_owned(), table(kind))))
        .chain([
            ("config".to_owned(), config()),
            ("link_config".to_owned(), link_config()),
            (
                "client_value".to_owned(),
                client::value(&reference(Kind::Reference)),
            ),
        ])
        .collect();
    schema["definitions"] = Value::Object(definitions);
    schema
}

/// The name of a kind of table among the definitions, for those that stand in several places or
/// have names of their own.
fn definition(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Cluster => Some("cluster"),
        Kind::OwnedTopic => Some("owned_topic"),
        Kind::Link => Some("link"),
        Kind::Mirror => Some("mirror"),
        Kind::Selector => Some("pattern"),
        Kind::Rename => Some("rename_by_prefix"),
        Kind::RenameRule => Some("rename_by_regex"),
        Kind::Reference => Some("reference"),
        Kind::Endpoint => Some("endpoint"),
        Kind::Root
        | Kind::Groups
        | Kind::Acls
        | Kind::Limit
        | Kind::OnHole
        | Kind::EngineConfig
        | Kind::AtSource => None,
    }
}

/// The place of a table: among the definitions, if it has one there.
fn reference(kind: Kind) -> Value {
    match definition(kind) {
        Some(name) => json!({ "$ref": format!("#/definitions/{name}") }),
        None => table(kind),
    }
}

/// A table with its keys.
fn table(kind: Kind) -> Value {
    let properties: Map<String, Value> = kind
        .table()
        .iter()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<_> = kind
        .table()
        .iter()
        .filter(|key| key.without == Without::Required)
        .map(|key| key.name)
        .collect();
    let mut table = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        table["required"] = json!(required);
    }
    match kind {
        // The properties file may have them.
        Kind::Cluster => {
            table["anyOf"] = json!([
                { "required": ["bootstrap_servers"] },
                { "required": ["properties_file"] },
            ]);
        }
        // The same keys in quotes, dots and all.
        Kind::Endpoint => {
            table["patternProperties"] = json!({ "^ssl\\.": client::any() });
        }
        // Another engine takes link configs here.
        Kind::EngineConfig => {
            table["additionalProperties"] = json!({ "$ref": "#/definitions/link_config" });
        }
        Kind::Reference => {
            table["minProperties"] = json!(1);
            table["maxProperties"] = json!(1);
        }
        _ => {}
    }
    table
}

/// A key: what it is for first, since editors show that.
fn property(key: &Key) -> Value {
    let about = match key.without {
        Without::Required => key.about.to_owned(),
        Without::Value(value) => format!("{} Default: `{value}`.", key.about),
        Without::Words(words) => format!("{} Default: {words}.", key.about),
    };
    if let Some(why) = key.refusal() {
        let about = format!("{} Not carried out by any engine: {why}.", key.about);
        // A switch can still be off; anything else has to be left out.
        return match key.takes {
            Takes::Bool => json!({ "description": about, "const": false }),
            _ => json!({ "description": about, "not": {}, "x-taplo": { "hidden": true } }),
        };
    }
    let mut property = json!({ "description": about });
    merge(&mut property, value_of(key.takes));
    if let Without::Value(value) = key.without {
        property["default"] = default(value);
    }
    property
}

fn value_of(takes: Takes) -> Value {
    match takes {
        Takes::Version => json!({ "const": FORMAT_VERSION }),
        Takes::Text => json!({ "type": "string", "minLength": 1 }),
        Takes::Regex => json!({ "type": "string" }),
        Takes::Bool => json!({ "type": "boolean" }),
        Takes::Count { most } => json!({ "type": "integer", "minimum": 1, "maximum": most }),
        Takes::Words(words) => {
            let carried_out: Vec<_> = words
                .iter()
                .filter(|word| word.asks.and_then(refusal).is_none())
                .map(|word| word.text)
                .collect();
            json!({ "enum": carried_out })
        }
        Takes::Duration => json!({ "type": "string", "pattern": "^[0-9]+ *[a-zµ]+" }),
        Takes::Size => json!({
            "anyOf": [
                { "type": "integer", "minimum": 1 },
                { "type": "string", "pattern": "^[0-9.]+ *[A-Za-z]*$" },
            ],
        }),
        Takes::Table(kind) => match definition(kind) {
            // A description beside a bare `$ref` would not be read.
            Some(_) => json!({ "anyOf": [reference(kind)] }),
            None => table(kind),
        },
        Takes::Servers => {
            let server = json!({ "type": "string", "pattern": ":[0-9]+" });
            let any = json!({ "anyOf": [server, reference(Kind::Reference)] });
            let several = json!({ "type": "array", "items": any, "minItems": 1 });
            json!({ "anyOf": [server, reference(Kind::Reference), several] })
        }
        Takes::Client => client::client(),
        Takes::Tls => client::below("ssl"),
        Takes::TextOrReference => json!({
            "anyOf": [{ "type": "string" }, reference(Kind::Reference)],
        }),
        Takes::Selectors => json!({
            "type": "array",
            "items": {
                "anyOf": [
                    { "type": "string", "minLength": 1, "description": "A name or a glob." },
                    reference(Kind::Selector),
                ],
            },
        }),
        Takes::Rename => json!({
            "anyOf": [
                {
                    "type": "string",
                    "pattern": "\\$\\{topic\\}",
                    "description": "A template with `${topic}` in it.",
                },
                reference(Kind::Rename),
                { "type": "array", "items": reference(Kind::RenameRule) },
            ],
        }),
        Takes::Start => json!({
            "anyOf": [
                { "enum": ["earliest", "latest"] },
                {
                    "type": "string",
                    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})$",
                    "description": "An RFC 3339 time.",
                },
            ],
        }),
        Takes::Config => json!({
            "type": "object",
            "additionalProperties": { "$ref": "#/definitions/config" },
        }),
        Takes::LinkConfig => json!({
            "type": "object",
            "additionalProperties": { "$ref": "#/definitions/link_config" },
        }),
        Takes::Named(kind) => json!({
            "type": "object",
            "propertyNames": { "pattern": name_pattern(kind) },
            "additionalProperties": reference(kind),
        }),
    }
}

/// What the names of such tables look like.
fn name_pattern(kind: Kind) -> &'static str {
    match kind {
        Kind::OwnedTopic | Kind::Mirror => "^[A-Za-z0-9._-]{1,249}$",
        _ => "^[A-Za-z0-9_-]{1,100}$",
    }
}

/// One value of a `config`. A key with dots that is not in quotes is a table in a table.
fn config() -> Value {
    json!({
        "anyOf": [
            { "type": ["string", "number", "boolean"] },
            {
                "type": "object",
                "additionalProperties": { "$ref": "#/definitions/config" },
                "minProperties": 1,
            },
        ],
    })
}

/// One value of a link's `config`: also a reference, a list, and a filter as brokers have it in JSON.
fn link_config() -> Value {
    json!({
        "anyOf": [
            { "type": ["string", "number", "boolean"] },
            { "type": "array" },
            { "type": "object", "minProperties": 1 },
        ],
    })
}

/// The default, which the table has in TOML.
fn default(toml: &str) -> Value {
    let document: toml::Table = format!("value = {toml}")
        .parse()
        .expect("a test reads the defaults of the whole table");
    match &document["value"] {
        toml::Value::Boolean(value) => json!(value),
        toml::Value::Integer(value) => json!(value),
        toml::Value::String(value) => json!(value),
        other => json!(other.to_string()),
    }
}

fn merge(into: &mut Value, from: Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else {
        unreachable!("both are objects that are made here");
    };
    into.extend(from);
}
