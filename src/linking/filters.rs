//! Filters: JSON in a config's value, which says what a link does by itself.
//!
//! `{"topicFilters": [{"name": "orders", "patternType": "PREFIXED", "filterType": "INCLUDE"}]}`; groups have the same
//! under `groupFilters`, ACLs have `aclFilters`. The name `*` with `LITERAL` means everything.

use serde::Deserialize;
use serde_json::Value;

use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// More are a mistake, and each of them is tried on every topic.
const MOST: usize = 1_000;

/// Which topics get mirrors by themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFilters {
    pub include: Vec<TopicSelector>,
    pub exclude: Vec<TopicSelector>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    name: String,
    pattern_type: String,
    filter_type: String,
}

/// Reads the filters of `auto.create.mirror.topics.filters`; an empty text has none.
///
/// # Errors
/// What is wrong with them.
pub fn topics(text: &str) -> Result<TopicFilters, String> {
    let mut filters = TopicFilters::default();
    for (place, filter) in entries(text, "topicFilters")?.into_iter().enumerate() {
        let filter = read(filter).map_err(|problem| at(place, "topicFilters", &problem))?;
        let selector = selector(&filter).map_err(|problem| at(place, "topicFilters", &problem))?;
        let list = if filter.filter_type.eq_ignore_ascii_case("EXCLUDE") {
            &mut filters.exclude
        } else {
            &mut filters.include
        };
        if !list.contains(&selector) {
            list.push(selector);
        }
    }
    Ok(filters)
}

/// Looks at filters that select nothing here, so that what is kept of them is what was meant.
///
/// # Errors
/// What is wrong with them.
pub fn check(text: &str, list: &str) -> Result<(), String> {
    for (place, filter) in entries(text, list)?.into_iter().enumerate() {
        let looked_at = match list {
            "aclFilters" => ["resourceFilter", "accessFilter"]
                .iter()
                .find(|part| !filter.get(**part).is_some_and(Value::is_object))
                .map_or(Ok(()), |part| Err(format!("`{part}` is missing"))),
            "topicFilters" => read(filter).and_then(|filter| selector(&filter).map(drop)),
            _ => read(filter).map(drop),
        };
        looked_at.map_err(|problem| at(place, list, &problem))?;
    }
    Ok(())
}

fn at(place: usize, list: &str, problem: &str) -> String {
    format!("{list}[{place}]: {problem}")
}

fn entries(text: &str, list: &str) -> Result<Vec<Value>, String> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let json: Value =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let Value::Object(mut object) = json else {
        return Err(format!("it has to be an object with `{list}`"));
    };
    let entries = match object.remove(list) {
        Some(Value::Array(entries)) if object.is_empty() => entries,
        _ => {
            return Err(format!(
                "it has to be an object with the list `{list}` and nothing else"
            ));
        }
    };
    match entries.len() {
        0..=MOST => Ok(entries),
        n => Err(format!("it has {n} filters; {MOST} are allowed")),
    }
}

fn read(filter: Value) -> Result<Filter, String> {
    let filter: Filter = serde_json::from_value(filter).map_err(|error| error.to_string())?;
    one_of(
        "patternType",
        &filter.pattern_type,
        &["LITERAL", "PREFIXED"],
    )?;
    one_of("filterType", &filter.filter_type, &["INCLUDE", "EXCLUDE"])?;
    Ok(filter)
}

fn one_of(what: &str, written: &str, words: &[&str]) -> Result<(), String> {
    if words.iter().any(|word| word.eq_ignore_ascii_case(written)) {
        return Ok(());
    }
    Err(format!("{what} has to be {}", words.join(" or ")))
}

fn selector(filter: &Filter) -> Result<TopicSelector, String> {
    let text = if filter.name == "*" {
        filter.name.clone()
    } else {
        names::validate_topic_name(&filter.name)
            .map_err(|problem| format!("its name is no legal topic name: {problem}"))?;
        if filter.pattern_type.eq_ignore_ascii_case("PREFIXED") {
            format!("{}*", filter.name)
        } else {
            filter.name.clone()
        }
    };
    TopicSelector::from_text(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(name: &str, pattern: &str, kind: &str) -> String {
        format!(r#"{{"name":"{name}","patternType":"{pattern}","filterType":"{kind}"}}"#)
    }

    fn of(filters: &[String]) -> String {
        format!(r#"{{"topicFilters":[{}]}}"#, filters.join(","))
    }

    #[test]
    fn filters_take_the_topics_that_they_name() {
        let text = of(&[
            filter("*", "LITERAL", "INCLUDE"),
            filter("tmp.", "PREFIXED", "EXCLUDE"),
            filter("audit", "literal", "exclude"),
        ]);
        let filters = topics(&text).expect("they can be read");
        let takes = |topic: &str| {
            filters.include.iter().any(|one| one.matches(topic))
                && !filters.exclude.iter().any(|one| one.matches(topic))
        };
        assert!(takes("orders") && takes("tmp") && takes("audit.x"));
        assert!(!takes("tmp.x") && !takes("audit") && !takes("__consumer_offsets"));
        assert_eq!(topics(" "), Ok(TopicFilters::default()));
        assert_eq!(
            topics(r#"{"topicFilters":[]}"#),
            Ok(TopicFilters::default())
        );
    }

    #[test]
    fn filters_that_would_select_something_else_are_refused_with_their_place() {
        for (text, problem) in [
            ("nonsense", "it is no JSON"),
            ("[]", "it has to be an object with `topicFilters`"),
            (r#"{"groupFilters":[]}"#, "the list `topicFilters`"),
            (
                &of(&[filter("a", "GLOB", "INCLUDE")]),
                "patternType has to be LITERAL or PREFIXED",
            ),
            (
                &of(&[filter("a", "LITERAL", "TAKE")]),
                "filterType has to be INCLUDE or EXCLUDE",
            ),
            (
                &of(&[
                    filter("a", "LITERAL", "INCLUDE"),
                    filter("a*", "LITERAL", "INCLUDE"),
                ]),
                "topicFilters[1]: ",
            ),
            (
                &of(&[r#"{"name":"a"}"#.to_owned()]),
                "topicFilters[0]: missing field",
            ),
        ] {
            let refused = topics(text).expect_err(text);
            assert!(refused.contains(problem), "{text}: {refused}");
            assert!(check(text, "topicFilters").is_err());
        }
        let acls = r#"{"aclFilters":[{"resourceFilter":{"resourceType":"any"},"accessFilter":{"operation":"any"}}]}"#;
        assert_eq!(check(acls, "aclFilters"), Ok(()));
        assert!(check(r#"{"aclFilters":[{"resourceFilter":{}}]}"#, "aclFilters").is_err());
    }
}
