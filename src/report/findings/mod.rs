//! Plans and drift as lists of findings, each with a place in the file: for services that show them there.
//!
//! A [`Finding`] is made once and written as a workflow command of GitHub or as a
//! SARIF result. The most careful ones come first, because GitHub shows only the first ten of a kind.

mod drift;
mod github;
mod sarif;

pub use drift::{drift, junit};

use super::words::{self, Obstacle};
use super::{clean, text};
use crate::plan::model::{Entry, Place, Plan, Rehearsal, Severity};

/// The forms there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Workflow commands, which GitHub turns into annotations of a pull request.
    Github,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
}

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Notice,
}

/// A kind of finding.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rule {
    id: &'static str,
    title: &'static str,
    meaning: &'static str,
}

/// Something to be shown at a line of the file.
#[derive(Debug)]
struct Finding {
    rule: &'static Rule,
    level: Level,
    /// What it is about, in the words of plans and messages.
    address: Option<String>,
    /// One line.
    title: String,
    details: Vec<String>,
    place: FoundAt,
    /// Further places, each with what is said there.
    also: Vec<(Place, String)>,
}

/// Where a finding is shown.
#[derive(Debug)]
enum FoundAt {
    Line(Place),
    /// No line asks for it.
    File(String),
}

impl Finding {
    /// Everything that is said.
    fn message(&self) -> String {
        let mut message = self.title.clone();
        for detail in &self.details {
            message.push('\n');
            message.push_str(detail);
        }
        message
    }
}

const ADDITIVE: Rule = Rule {
    id: "plan-additive",
    title: "Something is added",
    meaning: "An apply would add this and change nothing that exists.",
};
const CHANGING: Rule = Rule {
    id: "plan-changing",
    title: "Something is changed",
    meaning: "An apply would give another value to something that exists. The message says the old and the new one.",
};
const IRREVERSIBLE: Rule = Rule {
    id: "plan-irreversible",
    title: "A mirror ends",
    meaning: "An apply would hand the mirror topic over to whoever writes to it. Nothing is deleted, and there is no way back.",
};
const DESTRUCTIVE: Rule = Rule {
    id: "plan-destructive",
    title: "Something is deleted",
    meaning: "An apply with --allow-delete would delete this for good. The message says what goes.",
};
const BLOCKED: Rule = Rule {
    id: "plan-blocked",
    title: "Something is blocked",
    meaning: "This cannot be done as the file asks for it, and an apply does nothing while it stands. The message says what can be done.",
};
const NOTE: Rule = Rule {
    id: "plan-note",
    title: "Something to know",
    meaning: "Seen while planning; an apply leaves it as it is.",
};

/// The plan in one of the forms, with a final newline unless it is empty.
pub fn plan(plan: &Plan, form: Form, now_ms: i64) -> String {
    document(&of_plan(plan, now_ms), form)
}

fn document(findings: &[Finding], form: Form) -> String {
    match form {
        Form::Github => github::document(findings),
        Form::Sarif => sarif::document(findings),
    }
}

/// The place of a severity where not everything can be shown: the smallest first.
pub(super) fn rank(severity: Severity) -> u8 {
    match severity {
        Severity::Destructive => 0,
        Severity::Blocked => 1,
        Severity::Irreversible => 2,
        Severity::Changing => 3,
        Severity::Additive => 4,
        Severity::None => 5,
    }
}

fn rule(severity: Severity) -> Option<(&'static Rule, Level)> {
    match severity {
        Severity::None => None,
        Severity::Additive => Some((&ADDITIVE, Level::Notice)),
        Severity::Changing => Some((&CHANGING, Level::Warning)),
        Severity::Irreversible => Some((&IRREVERSIBLE, Level::Warning)),
        Severity::Destructive => Some((&DESTRUCTIVE, Level::Warning)),
        Severity::Blocked => Some((&BLOCKED, Level::Error)),
    }
}

fn of_plan(plan: &Plan, now_ms: i64) -> Vec<Finding> {
    let mut entries: Vec<&Entry> = plan.entries.iter().collect();
    entries.sort_by_key(|entry| rank(entry.severity));
    let entries = entries
        .into_iter()
        .filter_map(|entry| of_entry(entry, plan));
    let notes = plan.notes.iter().map(|note| Finding {
        rule: &NOTE,
        level: Level::Notice,
        address: None,
        title: words::note(note, now_ms),
        details: Vec::new(),
        place: FoundAt::File(plan.file.clone()),
        also: Vec::new(),
    });
    entries.chain(notes).collect()
}

fn of_entry(entry: &Entry, plan: &Plan) -> Option<Finding> {
    let (rule, level) = rule(entry.severity)?;
    let address = clean(&entry.address.to_string());
    let title = format!("{address} {}", words::outcome(entry.action));
    let mut details = Vec::new();
    if let Some(route) = &entry.route {
        details.push(words::route(route));
    }
    let mut also: Vec<(Place, String)> = Vec::new();
    for change in &entry.changes {
        let attribute = clean(&change.attribute);
        let values = text::old_to_new(change);
        details.push(format!("{attribute}: {values} ({})", text::origins(change)));
        if let Some(place) = &change.asked_by
            && Some(place) != entry.asked_by.as_ref()
        {
            also.push((place.clone(), format!("{attribute}: {values}")));
        }
    }
    details.extend(entry.reasons.iter().map(words::reason));
    for blocker in &entry.blocked {
        let Obstacle { cause, remedy } = words::blocker(blocker);
        details.extend([cause, remedy]);
    }
    if let Rehearsal::NotRehearsed { needs } = &entry.rehearsal {
        details.push(format!("not rehearsed: needs {}", clean(needs)));
    }
    Some(Finding {
        rule,
        level,
        address: Some(address),
        title,
        details,
        place: match &entry.asked_by {
            Some(place) => FoundAt::Line(place.clone()),
            None => FoundAt::File(plan.file.clone()),
        },
        also,
    })
}
