//! What `kmirror doctor` found, as text for people and as one document for programs.

use serde::Serialize;

use super::text::{Emphasis, TextOptions, wrap};
use super::{clean, json};
use crate::doctor::{Check, Examined, Outcome};

/// The document, indented, with a final newline.
pub fn json(found: &[Examined]) -> String {
    #[derive(Serialize)]
    struct Destination<'a> {
        #[serde(flatten)]
        examined: &'a Examined,
        /// Whether mirrors may let leaders acknowledge alone.
        acks_one: bool,
        markers: bool,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        version: u16,
        failed: bool,
        destinations: Vec<Destination<'a>>,
    }
    let destinations = found.iter().map(|examined| Destination {
        examined,
        acks_one: examined.allows_acks_one(),
        markers: examined.allows_markers(),
    });
    json::document(&Document {
        version: 1,
        failed: found.iter().any(Examined::has_failed),
        destinations: destinations.collect(),
    })
}

/// Everything that was found, a line for each check.
pub fn text(found: &[Examined], options: TextOptions<'_>) -> String {
    let paint = options.paint;
    let mut out = String::new();
    for examined in found {
        let brokers = match examined.brokers {
            1 => "1 broker".to_owned(),
            count => format!("{count} brokers"),
        };
        let title = format!(
            "Destination {} ({}, {brokers})",
            clean(&examined.cluster),
            clean(&examined.cluster_id)
        );
        out.push_str(&format!("{}\n", paint(Emphasis::Strong, &title)));
        for check in &examined.checks {
            out.push_str(&line(check, options));
        }
        if let Some(left) = &examined.left_behind {
            let text = format!("the scratch topic could not be removed: {}", clean(left));
            out.push_str(&paragraph("FAILED", Emphasis::Blocked, "", &text, options));
        }
        let acks = if examined.allows_acks_one() {
            "Mirrors may let leaders acknowledge alone (acks=1)."
        } else {
            "Mirrors wait for all replicas (acks=all)."
        };
        for line in wrap(acks, options.width) {
            out.push_str(&format!("{}\n", paint(Emphasis::Dim, &line)));
        }
        out.push('\n');
    }
    let (headline, rest) = closing(found);
    out.push_str(&format!("{}{rest}\n", paint(Emphasis::Strong, headline)));
    out
}

fn closing(found: &[Examined]) -> (&'static str, String) {
    let count = |outcome| {
        let checks = found.iter().flat_map(|examined| &examined.checks);
        checks.filter(|check| check.outcome == outcome).count()
    };
    let parts: Vec<String> = [
        (count(Outcome::Failed), "failed"),
        (count(Outcome::Untried), "not tried"),
        (count(Outcome::Warning), "to look at"),
        (count(Outcome::Passed), "as it should be"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    let counts = format!(" {}.", parts.join(", "));
    if found.iter().any(Examined::has_failed) {
        ("Mirrors would not be safe here.", counts)
    } else {
        ("Mirrors can rely on what was seen.", counts)
    }
}

fn line(check: &Check, options: TextOptions<'_>) -> String {
    let (word, emphasis) = match check.outcome {
        Outcome::Passed => ("ok", Emphasis::Create),
        Outcome::Warning => ("warning", Emphasis::Change),
        Outcome::Untried => ("untried", Emphasis::Change),
        Outcome::Failed => ("FAILED", Emphasis::Blocked),
    };
    let detail = clean(&check.detail);
    paragraph(word, emphasis, check.subject.title(), &detail, options)
}

/// A word, a title, and text beside them that is wrapped within its column.
fn paragraph(
    word: &str,
    emphasis: Emphasis,
    title: &str,
    text: &str,
    options: TextOptions<'_>,
) -> String {
    const INDENT: usize = 29;
    let width = options.width.map(|width| width.saturating_sub(INDENT));
    let mut out = String::new();
    for (index, line) in wrap(text, width).iter().enumerate() {
        if index == 0 {
            let word = (options.paint)(emphasis, &format!("{word:<8}"));
            out.push_str(&format!("  {word} {title:<18}{line}\n"));
        } else {
            out.push_str(&format!("{:INDENT$}{line}\n", ""));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Subject;

    fn plain(_: Emphasis, text: &str) -> String {
        text.to_owned()
    }

    #[test]
    fn a_broker_that_takes_batches_twice_is_told_in_words() {
        let examined = Examined {
            cluster: "west".to_owned(),
            cluster_id: "id-1".to_owned(),
            brokers: 3,
            checks: vec![
                Check::passed(
                    Subject::Requests,
                    "all 3 brokers know all that mirrors send",
                ),
                Check::failed(
                    Subject::TakenOnce,
                    "broker 2: a batch that is sent twice: taken at offset 3; the log ends at 6, not at 3",
                ),
                Check::new(Subject::AcksOne, Outcome::Untried, "not tried"),
                Check::new(Subject::Clock, Outcome::Warning, "60 s ahead\u{1b}[2J"),
            ],
            left_behind: Some("_kmirror.doctor-1: no right".to_owned()),
        };
        let options = TextOptions {
            width: Some(80),
            paint: &plain,
            now_ms: 0,
        };
        let expected = r"Destination west (id-1, 3 brokers)
  ok       requests          all 3 brokers know all that mirrors send
  FAILED   taken once        broker 2: a batch that is sent twice: taken at
                             offset 3; the log ends at 6, not at 3
  untried  acks=1            not tried
  warning  clock             60 s ahead\u{1b}[2J
  FAILED                     the scratch topic could not be removed:
                             _kmirror.doctor-1: no right
Mirrors wait for all replicas (acks=all).

Mirrors would not be safe here. 1 failed, 1 not tried, 1 to look at, 1 as it should be.
";
        assert_eq!(text(&[examined], options), expected);
    }
}
