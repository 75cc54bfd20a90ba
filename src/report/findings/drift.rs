//! Drift as findings and as JUnit's test cases.

use super::{BLOCKED, Finding, Form, FoundAt, Level, Rule, document};
use crate::plan::drift::{Direction, Drift, Drifted};
use crate::plan::model::Address;
use crate::report::junit::{self, Case, Fault, Outcome, Suite};
use crate::report::{clean, drift, words};

const MISSING: Rule = Rule {
    id: "drift-declared-but-missing",
    title: "Declared but missing",
    meaning: "The file asks for this, and it is not there. An apply would bring it back.",
};
const CHANGED: Rule = Rule {
    id: "drift-changed-live",
    title: "Changed live",
    meaning: "This has another value than the one that is declared. An apply would set the declared one.",
};
const UNDECLARED: Rule = Rule {
    id: "drift-live-but-undeclared",
    title: "Live but undeclared",
    meaning: "This is there, in the reach of a link, and the file does not ask for it.",
};
const NOT_APPLIED: Rule = Rule {
    id: "drift-declared-but-not-applied",
    title: "Declared but not applied",
    meaning: "The file says something else than what was last applied: it was edited since, or another file was applied.",
};
const NOTE: Rule = Rule {
    id: "drift-note",
    title: "Something to know",
    meaning: "Seen while looking for drift, and no drift.",
};

/// The drift in one of the forms, with a final newline unless it is empty.
pub fn drift(found: &Drift, form: Form, now_ms: i64) -> String {
    let mut entries: Vec<&Drifted> = found.entries.iter().collect();
    // GitHub shows only the first ten of a kind.
    entries.sort_by_key(|drifted| (drifted.blocked.is_empty(), drifted.direction));
    let entries = entries
        .into_iter()
        .map(|drifted| finding(drifted, found, now_ms));
    let notes = found.notes.iter().map(|note| Finding {
        rule: &NOTE,
        level: Level::Notice,
        address: None,
        title: words::note(note, now_ms),
        details: Vec::new(),
        place: FoundAt::File(found.file.clone()),
        also: Vec::new(),
    });
    let findings: Vec<Finding> = entries.chain(notes).collect();
    document(&findings, form)
}

fn finding(drifted: &Drifted, found: &Drift, now_ms: i64) -> Finding {
    let (rule, level) = match drifted.direction {
        _ if !drifted.blocked.is_empty() => (&BLOCKED, Level::Error),
        Some(Direction::DeclaredButMissing) => (&MISSING, Level::Warning),
        Some(Direction::ChangedLive) | None => (&CHANGED, Level::Warning),
        Some(Direction::LiveButUndeclared) => (&UNDECLARED, Level::Warning),
        Some(Direction::DeclaredButNotApplied) => (&NOT_APPLIED, Level::Warning),
    };
    let address = clean(&drifted.address.to_string());
    let also = drifted.differences.iter().filter_map(|difference| {
        let place = difference.asked_by.clone()?;
        let is_other = Some(&place) != drifted.asked_by.as_ref();
        is_other.then(|| (place, clean(&difference.attribute)))
    });
    Finding {
        rule,
        level,
        title: format!("{address}: {}", drift::verdict(drifted)),
        address: Some(address),
        details: drift::details(drifted, found, now_ms),
        place: match &drifted.asked_by {
            Some(place) => FoundAt::Line(place.clone()),
            None => FoundAt::File(found.file.clone()),
        },
        also: also.collect(),
    }
}

/// JUnit's XML: a case for everything that was looked at, a failure for what drifted, an error for
/// what an apply could not bring back.
pub fn junit(found: &Drift, now_ms: i64) -> String {
    let case = |address: &Address, outcome| Case {
        class: drift::group(address),
        name: address.to_string(),
        outcome,
    };
    let mut cases: Vec<(&Address, Case)> = found
        .as_declared
        .iter()
        .map(|address| (address, case(address, Outcome::Passed)))
        .collect();
    cases.extend(found.entries.iter().map(|drifted| {
        let lines = drift::lines(drifted, found, None, now_ms);
        let fault = Fault {
            kind: drift::verdict(drifted).to_owned(),
            message: drift::details(drifted, found, now_ms).join(" "),
            text: lines.join("\n"),
        };
        let outcome = if drifted.blocked.is_empty() {
            Outcome::Failure(fault)
        } else {
            Outcome::Error(fault)
        };
        (&drifted.address, case(&drifted.address, outcome))
    }));
    cases.sort_by_key(|(address, _)| address.order());
    let suite = Suite {
        name: found.file.clone(),
        cases: cases.into_iter().map(|(_, case)| case).collect(),
    };
    junit::document("kmirror drift", &[suite])
}
