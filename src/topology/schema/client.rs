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
    let tree = Tree::of_all();
    let mut properties: Map<String, Value> = carried_out()
        .map(|(key, how)| (key.name.to_owned(), described(key, how)))
        .collect();
    for (name, inner) in &tree.inner {
        properties.insert((*name).to_owned(), inner.schema());
    }
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": { "$ref": ANY },
    })
}

/// The keys whose names begin with this part, as tables in tables.
pub(super) fn below(first: &str) -> Value {
    let tree = Tree::of_all();
    let mut schema = tree.inner[first].schema();
    if let Some(table) = schema.as_object_mut() {
        table.remove("description");
    }
    schema
}

/// The value of a client property without more to say of it.
pub(super) fn any() -> Value {
    json!({ "$ref": ANY })
}

fn carried_out() -> impl Iterator<Item = (&'static Key, &'static str)> {
    keys::all().filter_map(|key| match key.effect {
        Effect::CarriedOut(how) => Some((key, how)),
        _ => None,
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
    fn of_all() -> Self {
        let mut tree = Self::default();
        for (key, how) in carried_out() {
            let mut place = &mut tree;
            for part in key.name.split('.') {
                place = place.inner.entry(part).or_default();
            }
            place.key = Some((key, how));
        }
        tree
    }

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
