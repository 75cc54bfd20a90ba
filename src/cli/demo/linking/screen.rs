//! How calls and their answers look: as somebody would type them for curl, without secrets, and laid out for people.

use serde_json::{Map, Value};

use crate::linking::keys;

/// Columns that a document on one line may take.
const WIDTH: usize = 96;
const INDENT: usize = 2;
/// Stands for a secret.
const HIDDEN: &str = "***";

/// A call, as curl makes it. `at` is the variable that the cluster's address is in.
pub fn call(method: &str, at: &str, path: &str, body: Option<&Value>) -> String {
    let verb = match (method, body) {
        ("GET", None) | ("POST", Some(_)) => String::new(),
        _ => format!(" -X {method}"),
    };
    let address = format!("\"${at}{path}\"");
    match body {
        None => format!("  $ curl -s{verb} {address}"),
        Some(body) => {
            let body = layout(&masked(body), 4);
            format!("  $ curl -s{verb} {address} -H \"$json\" -d '{body}'")
        }
    }
}

/// What came back: the status, and the document where there is one.
pub fn answer(status: hyper::StatusCode, document: Option<&Value>) -> String {
    let mut text = format!("  {status}");
    if let Some(document) = document {
        let laid_out = layout(&tidy(document), INDENT);
        text.push_str(&format!("\n  {laid_out}"));
    }
    text
}

/// The document without the values of sensitive configs.
fn masked(document: &Value) -> Value {
    match document {
        Value::Array(items) => items.iter().map(masked).collect(),
        Value::Object(fields) => {
            let name = fields.get("name").and_then(Value::as_str);
            let is_secret =
                name.is_some_and(|name| keys::find(name).is_ok_and(|key| key.is_sensitive()));
            let fields = fields.iter().map(|(key, value)| {
                let value = match (key.as_str(), is_secret) {
                    ("value", true) => Value::from(HIDDEN),
                    _ => masked(value),
                };
                (key.clone(), value)
            });
            Value::Object(fields.collect())
        }
        plain => plain.clone(),
    }
}

/// The document without what says where other documents are, and of what kind they are.
fn tidy(document: &Value) -> Value {
    match document {
        Value::Array(items) => items.iter().map(tidy).collect(),
        Value::Object(fields) => {
            let is_told = |key: &str, value: &Value| {
                key != "kind" && key != "metadata" && !is_reference(value)
            };
            let told = fields.iter().filter(|(key, value)| is_told(key, value));
            Value::Object(
                told.map(|(key, value)| (key.clone(), tidy(value)))
                    .collect(),
            )
        }
        plain => plain.clone(),
    }
}

fn is_reference(value: &Value) -> bool {
    let is_one = |fields: &Map<String, Value>| fields.len() == 1 && fields.contains_key("related");
    value.as_object().is_some_and(is_one)
}

/// JSON with as few lines as fit, for a document that begins at this column; further lines are indented as far.
fn layout(document: &Value, column: usize) -> String {
    let line = one_line(document);
    if column + line.chars().count() <= WIDTH {
        return line;
    }
    let inner = column + INDENT;
    let (open, close, parts): (_, _, Vec<String>) = match document {
        Value::Array(items) => {
            let parts = items.iter().map(|item| layout(item, inner));
            ('[', ']', parts.collect())
        }
        Value::Object(fields) => {
            let parts = fields.iter().map(|(key, value)| {
                format!("{}: {}", Value::from(key.as_str()), layout(value, inner))
            });
            ('{', '}', parts.collect())
        }
        _ => return line,
    };
    let (margin, end) = (" ".repeat(inner), " ".repeat(column));
    let parts = parts.join(&format!(",\n{margin}"));
    format!("{open}\n{margin}{parts}\n{end}{close}")
}

fn one_line(document: &Value) -> String {
    match document {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(one_line).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                format!("{}: {}", Value::from(key.as_str()), one_line(value))
            };
            let fields: Vec<String> = fields.iter().map(field).collect();
            format!("{{{}}}", fields.join(", "))
        }
        plain => plain.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_can_be_typed_and_shows_no_secret() {
        let body = json!({
            "source_cluster_id": "MkU3OEVBNTcwNTJENDM2Qg",
            "configs": [
                {"name": "bootstrap.servers", "value": "127.0.0.1:9092"},
                {"name": "sasl.jaas.config", "value": "x required password=\"hunter2\";"},
                {"name": "ssl.truststore.certificates", "value": "-----BEGIN hunter2"},
            ],
        });
        let shown = call(
            "POST",
            "destination",
            "/links?link_name=demo-link",
            Some(&body),
        );
        assert_eq!(
            shown,
            r#"  $ curl -s "$destination/links?link_name=demo-link" -H "$json" -d '{
      "source_cluster_id": "MkU3OEVBNTcwNTJENDM2Qg",
      "configs": [
        {"name": "bootstrap.servers", "value": "127.0.0.1:9092"},
        {"name": "sasl.jaas.config", "value": "***"},
        {"name": "ssl.truststore.certificates", "value": "***"}
      ]
    }'"#
        );
        assert_eq!(
            call("GET", "source", "/topics", None),
            "  $ curl -s \"$source/topics\""
        );
        assert_eq!(
            call("DELETE", "source", "/topics/t", None),
            "  $ curl -s -X DELETE \"$source/topics/t\""
        );
    }

    #[test]
    fn an_answer_shows_what_people_read() {
        let document = json!({
            "kind": "List", "metadata": {"self": "http://a", "next": null},
            "data": [{"kind": "K", "metadata": {"self": "http://b"}, "name": "a", "of": {"related": "http://c"}, "empty": []}],
        });
        assert_eq!(
            answer(StatusCode::OK, Some(&document)),
            "  200 OK\n  {\"data\": [{\"name\": \"a\", \"empty\": []}]}"
        );
        assert_eq!(answer(StatusCode::NO_CONTENT, None), "  204 No Content");
    }
}
