//! Whether brokers behave as the mirror engine relies on: what `kmirror doctor` finds.
//!
//! [`probe`] tries each behaviour against a scratch topic that it creates and removes; [`settings`] judges the settings of
//! topics and brokers. Both only say what they saw, as [`Check`]s; what follows from it, such as whether acknowledgement
//! by the leader alone is as safe as by all replicas, is decided here.

pub mod probe;
pub mod settings;

use serde::Serialize;

pub use probe::examine;

/// Scratch topics begin with this; patterns never match what begins with `_kmirror.`.
pub const SCRATCH_PREFIX: &str = "_kmirror.doctor-";

/// One behaviour or setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// All requests that the engine sends are known.
    Requests,
    /// A batch is taken once, whoever repeats it.
    TakenOnce,
    /// A batch that leaves a gap in the sequence is refused.
    GapRefused,
    /// Batches with a rewritten header keep their records.
    HeaderRewritten,
    /// Leaders tell which sequence they expect.
    ProducerState,
    /// The high watermark tells what is safe, also of what the leader alone acknowledged.
    AcksOne,
    /// A transaction marker takes one offset that no consumer sees.
    ControlMarkers,
    /// The start of a log can be moved.
    DeleteRecords,
    /// Clocks agree.
    Clock,
    /// Settings of topics that hurt mirrors.
    TopicSettings,
}

impl Subject {
    /// In the order in which they are tried and shown.
    pub const ALL: [Self; 10] = [
        Self::Requests,
        Self::TakenOnce,
        Self::GapRefused,
        Self::HeaderRewritten,
        Self::ProducerState,
        Self::AcksOne,
        Self::ControlMarkers,
        Self::DeleteRecords,
        Self::Clock,
        Self::TopicSettings,
    ];

    /// A word or two for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::TakenOnce => "taken once",
            Self::GapRefused => "gap refused",
            Self::HeaderRewritten => "header rewritten",
            Self::ProducerState => "producer state",
            Self::AcksOne => "acks=1",
            Self::ControlMarkers => "control markers",
            Self::DeleteRecords => "delete records",
            Self::Clock => "clock",
            Self::TopicSettings => "topic settings",
        }
    }
}

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Passed,
    /// Mirrors work; something is slower or less safe than it could be.
    Warning,
    /// Could not be tried.
    Untried,
    /// Mirrors would not be exact, or would stop.
    Failed,
}

/// A subject, what became of it, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    pub subject: Subject,
    pub outcome: Outcome,
    /// One sentence without a full stop.
    pub detail: String,
}

impl Check {
    pub fn new(subject: Subject, outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            subject,
            outcome,
            detail: detail.into(),
        }
    }

    pub fn passed(subject: Subject, detail: impl Into<String>) -> Self {
        Self::new(subject, Outcome::Passed, detail)
    }

    pub fn failed(subject: Subject, detail: impl Into<String>) -> Self {
        Self::new(subject, Outcome::Failed, detail)
    }
}

/// What was found of one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Examined {
    pub cluster: String,
    pub cluster_id: String,
    pub brokers: usize,
    /// In the order of [`Subject::ALL`]; a subject may stand there several times.
    pub checks: Vec<Check>,
    /// The topic that was created, and why it is still there.
    pub left_behind: Option<String>,
}

impl Examined {
    /// Whether a mirror may let leaders acknowledge alone and count as copied what is below the high watermark: only
    /// where everything that this rests on was seen.
    pub fn allows_acks_one(&self) -> bool {
        [
            Subject::Requests,
            Subject::TakenOnce,
            Subject::GapRefused,
            Subject::ProducerState,
            Subject::AcksOne,
        ]
        .into_iter()
        .all(|subject| self.worst(subject) == Some(Outcome::Passed))
    }

    /// Whether `offsets = "preserve"` can fill holes with markers.
    pub fn allows_markers(&self) -> bool {
        self.worst(Subject::ControlMarkers) == Some(Outcome::Passed)
    }

    pub fn has_failed(&self) -> bool {
        self.left_behind.is_some() || self.checks.iter().any(|it| it.outcome == Outcome::Failed)
    }

    /// `None` where a subject was not looked at.
    pub fn worst(&self, subject: Subject) -> Option<Outcome> {
        let checks = self.checks.iter().filter(|check| check.subject == subject);
        checks.map(|check| check.outcome).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(outcomes: &[(Subject, Outcome)]) -> Examined {
        Examined {
            cluster: "west".to_owned(),
            cluster_id: "id".to_owned(),
            brokers: 1,
            checks: outcomes
                .iter()
                .map(|(subject, outcome)| Check::new(*subject, *outcome, "seen"))
                .collect(),
            left_behind: None,
        }
    }

    /// With less, a worker would count records as safe that one broker alone holds.
    #[test]
    fn leaders_acknowledge_alone_only_where_all_that_it_rests_on_was_seen() {
        let all: Vec<_> = Subject::ALL
            .into_iter()
            .map(|subject| (subject, Outcome::Passed))
            .collect();
        assert!(examined(&all).allows_acks_one());
        assert!(!examined(&[]).allows_acks_one());
        let needed = [
            Subject::Requests,
            Subject::TakenOnce,
            Subject::GapRefused,
            Subject::ProducerState,
            Subject::AcksOne,
        ];
        for subject in Subject::ALL {
            for outcome in [Outcome::Warning, Outcome::Untried, Outcome::Failed] {
                let mut some = all.clone();
                some.push((subject, outcome));
                let allowed = examined(&some).allows_acks_one();
                assert_eq!(
                    allowed,
                    !needed.contains(&subject),
                    "{subject:?} {outcome:?}"
                );
            }
        }
    }
}
