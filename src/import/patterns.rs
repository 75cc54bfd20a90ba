//! Java's regexes as the topology file has them.
//!
//! Topic names are ASCII, so most differences between the two kinds cannot show. What one kind has
//! and the other has not, or means differently, is refused with the reason.

use super::model::Selector;
use crate::topology::names;
use crate::topology::selector::TopicSelector;

/// A regex of Java's, matched against whole names.
///
/// # Errors
/// Why the same cannot be said in the file.
pub(super) fn of_java(pattern: &str) -> Result<Selector, String> {
    if pattern == ".*" {
        return Ok(Selector::Glob("*".to_owned()));
    }
    if let Some(glob) = as_glob(pattern) {
        return Ok(Selector::Glob(glob));
    }
    regex(pattern).map(Selector::Regex)
}

/// An entry of a list in which names and regexes look alike: what brokers accept as a name is one.
///
/// # Errors
/// Why the same cannot be said in the file.
pub(super) fn of_java_list_entry(entry: &str) -> Result<Selector, String> {
    if names::validate_topic_name(entry).is_ok() {
        return Ok(Selector::Name(entry.to_owned()));
    }
    // `a\.b`
    let name = entry.replace("\\.", ".").replace("\\-", "-");
    if names::validate_topic_name(&name).is_ok() {
        return Ok(Selector::Name(name));
    }
    of_java(entry)
}

/// Checks that Rust's regexes have all that the pattern uses, with the same meaning.
///
/// # Errors
/// Why not.
pub(super) fn regex(pattern: &str) -> Result<String, String> {
    if is_possessive(pattern) {
        return Err(
            "a possessive quantifier (`*+`) means something else in the file's regexes".to_owned(),
        );
    }
    if pattern.contains("&&") {
        return Err(
            "an intersection of classes (`&&`) has another precedence in the file's regexes"
                .to_owned(),
        );
    }
    match TopicSelector::from_regex(pattern) {
        Ok(_) => Ok(pattern.to_owned()),
        Err(_)
            if ["(?=", "(?!", "(?<=", "(?<!"]
                .iter()
                .any(|look| pattern.contains(look)) =>
        {
            Err("the file's regexes have no look-around".to_owned())
        }
        Err(_) => Err("it is no regex of the file's kind".to_owned()),
    }
}

/// What `prefix-.*` is as a glob, if that is as plain as it looks.
fn as_glob(pattern: &str) -> Option<String> {
    let literal = pattern.strip_suffix(".*")?;
    let is_plain = literal
        .chars()
        .all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_'));
    (is_plain && !literal.is_empty()).then(|| format!("{literal}*"))
}

fn is_possessive(pattern: &str) -> bool {
    let mut escaped = false;
    let mut before = ' ';
    for char in pattern.chars() {
        if char == '+' && !escaped && matches!(before, '*' | '+' | '?' | '}') {
            return true;
        }
        // An escaped quantifier is none.
        before = if escaped { ' ' } else { char };
        escaped = char == '\\' && !escaped;
    }
    false
}

/// The replacement of Java's `Matcher.replaceFirst` as a rename rule spells it.
///
/// # Errors
/// Why it cannot be.
pub(super) fn replacement(text: &str) -> Result<String, String> {
    let mut to = String::new();
    let mut rest = text;
    while let Some(char) = rest.chars().next() {
        rest = &rest[char.len_utf8()..];
        match char {
            '\\' => {
                let Some(literal) = rest.chars().next() else {
                    return Err("the replacement ends in a backslash".to_owned());
                };
                rest = &rest[literal.len_utf8()..];
                to.push(literal);
            }
            '$' if rest.starts_with('{') => {
                let end = rest.find('}').ok_or("`${` is not closed")?;
                to.push('$');
                to.push_str(&rest[..=end]);
                rest = &rest[end + 1..];
            }
            '$' => {
                // Java takes further digits as long as there is such a group; ten of them are rare.
                let digits = rest.len()
                    - rest
                        .trim_start_matches(|char: char| char.is_ascii_digit())
                        .len();
                if digits != 1 {
                    return Err("`$` is not followed by the number of one group".to_owned());
                }
                to.push_str(&format!("${{{}}}", &rest[..1]));
                rest = &rest[1..];
            }
            char if names::is_legal(char) => to.push(char),
            _ => return Err("the replacement has characters that are in no topic name".to_owned()),
        }
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_patterns_take_the_same_names() {
        let glob = |text: &str| Ok(Selector::Glob(text.to_owned()));
        let regex = |text: &str| Ok(Selector::Regex(text.to_owned()));
        assert_eq!(of_java(".*"), glob("*"));
        assert_eq!(of_java("orders-.*"), glob("orders-*"));
        // `orders.*` as a glob would be read as a regex by people, and `.` is any character.
        assert_eq!(of_java("orders\\..*"), regex("orders\\..*"));
        assert_eq!(of_java("a|b.*"), regex("a|b.*"));
        assert_eq!(of_java("(?i)Orders"), regex("(?i)Orders"));
        assert_eq!(of_java("a\\++"), regex("a\\++"));
        for refused in [
            "(?!x).*",
            "a*+",
            "[a-z&&[^b]]",
            "(a)\\1",
            "\\Qa\\E",
            "(",
            "a{2}+",
        ] {
            assert!(of_java(refused).is_err(), "{refused}");
        }
        let name = |text: &str| Ok(Selector::Name(text.to_owned()));
        assert_eq!(of_java_list_entry("a.b-c"), name("a.b-c"));
        assert_eq!(of_java_list_entry("a\\.b"), name("a.b"));
        assert_eq!(of_java_list_entry("a.*"), glob("a*"));
    }

    #[test]
    fn java_replacements_name_the_same_groups() {
        assert_eq!(replacement("dr-$1").as_deref(), Ok("dr-${1}"));
        assert_eq!(replacement("${env}.$2.x").as_deref(), Ok("${env}.${2}.x"));
        assert_eq!(replacement("a\\-b").as_deref(), Ok("a-b"));
        for refused in ["$", "$12", "a b", "${x", "a\\"] {
            assert!(replacement(refused).is_err(), "{refused}");
        }
    }
}
