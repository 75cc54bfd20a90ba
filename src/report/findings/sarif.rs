//! SARIF 2.1.0: a rule for each kind of finding that occurs, a result for each finding.
//!
//! The address is the fingerprint, so that an alert stays the same one when lines move.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use super::{Finding, FoundAt, Level, Rule};
use crate::plan::model::Place;
use crate::report::sarif::{self, artifact, message};

pub(super) fn document(findings: &[Finding]) -> String {
    let rules: BTreeSet<&Rule> = findings.iter().map(|finding| finding.rule).collect();
    let rules: Vec<&Rule> = rules.into_iter().collect();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| result(finding, &rules))
        .collect();
    let rules: Vec<Value> = rules.into_iter().map(rule).collect();
    sarif::document(&rules, &results)
}

fn rule(rule: &Rule) -> Value {
    json!({
        "id": rule.id,
        "shortDescription": { "text": rule.title },
        "fullDescription": { "text": rule.meaning },
        "help": { "text": rule.meaning, "markdown": rule.meaning },
    })
}

fn result(finding: &Finding, rules: &[&Rule]) -> Value {
    let place = match &finding.place {
        FoundAt::Line(place) => physical_location(place),
        FoundAt::File(file) => json!({ "artifactLocation": artifact(Path::new(file)) }),
    };
    let mut location = json!({ "physicalLocation": place });
    let mut result = json!({
        "ruleId": finding.rule.id,
        "ruleIndex": rules.iter().position(|rule| *rule == finding.rule),
        "level": match finding.level {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Notice => "note",
        },
        "message": message(&finding.message()),
    });
    if let Some(address) = &finding.address {
        location["logicalLocations"] = json!([{ "fullyQualifiedName": address }]);
        result["partialFingerprints"] = json!({ "kmirrorAddress/v1": address });
    }
    result["locations"] = json!([location]);
    let mut related: Vec<Value> = Vec::new();
    for (place, text) in &finding.also {
        let location = json!({
            "physicalLocation": physical_location(place),
            "message": message(text),
        });
        if !related.contains(&location) {
            related.push(location);
        }
    }
    if !related.is_empty() {
        result["relatedLocations"] = Value::Array(related);
    }
    result
}

fn physical_location(place: &Place) -> Value {
    json!({
        "artifactLocation": artifact(Path::new(&place.file)),
        "region": { "startLine": place.line, "startColumn": place.column },
    })
}
