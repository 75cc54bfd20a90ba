//! Client properties in the schema: those that are carried out, with what they mean.
//!
//! A key with dots may be written in quotes or not; without quotes it is a table in a table. Both
//! ways are described. Other keys are taken as well: an editor shall not forbid what
//! `kmirror validate` has more to say about.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::client::keys::{self, Effect, Key};

const ANY: &str = "#/definitions/client_value";

/// The value of a cluster's `client`.
pub(super) fn client() -> Value {
    let mut tree = Tree::default();
    let mut properties = Map::new();
    for key in keys::all() {
        let Effect::CarriedOut(how) = key.effect else {
            continue;
        };
        let mut place = &mut tree;
        for part in key.name.split('.') {
            place = place.inner.entry(part).or_default();
        }
        place.key = Some((key, how));
        properties.insert(key.name.to_owned(), described(key, how));
    }
    for (name, inner) in &tree.inner {
        properties.insert((*name).to_owned(), inner.schema());
    }
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": { "$ref": ANY },
    })
}

/// What every client property takes.
pub(super) fn value(reference: &Value) -> Value {
    json!({
        "anyOf": [
            { "type": ["string", "number", "boolean"] },
            reference,
            { "type": "object", "additionalProperties": { "$ref": ANY } },
        ],
    })
}

fn described(key: &Key, how: &str) -> Value {
    let mut meaning = key.meaning.to_owned();
    if let Some(first) = meaning.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    json!({ "description": format!("{meaning}: {how}."), "anyOf": [{ "$ref": ANY }] })
}

/// Keys by the parts of their names.
#[derive(Default)]
struct Tree {
    key: Option<(&'static Key, &'static str)>,
    inner: BTreeMap<&'static str, Tree>,
}

impl Tree {
    fn schema(&self) -> Value {
        let inner: Map<String, Value> = self
            .inner
            .iter()
            .map(|(name, tree)| ((*name).to_owned(), tree.schema()))
            .collect();
        match self.key {
            // `sasl.oauthbearer.token` is a key and the beginning of another.
            Some((key, how)) => {
                let mut schema = described(key, how);
                if !inner.is_empty() {
                    schema["properties"] = Value::Object(inner);
                }
                schema
            }
            None => json!({
                "description": "The beginning of names of client properties.",
                "type": "object",
                "properties": inner,
                "additionalProperties": { "$ref": ANY },
            }),
        }
    }
}
