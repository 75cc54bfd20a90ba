//! What an apply did, line by line, for whoever has to know it later: also after a run that died.
//!
//! A journal is a report and nothing is read back from it to decide anything: what is done is on the clusters, and the next
//! apply finds it there. Every line is one JSON document, written before the next thing happens. A line that says `asked`
//! comes before the request, so what was asked for and has no end in the journal may or may not have been done. Journals
//! hold addresses, actions and brokers' words, no values and no secrets.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Asked, Event, Outcome, Progress};
use crate::plan::model::{Action, Address, Plan, PlannedCluster};

/// Version of the lines.
pub const JOURNAL_VERSION: u32 = 1;

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub at: Timestamp,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// The first line.
    Begun {
        journal: u32,
        kmirror: String,
        /// `user@host (pid)`.
        holder: String,
        /// The topology file.
        file: String,
        clusters: Vec<PlannedCluster>,
    },
    /// What is going to be asked for; one line for each action, before the first request.
    Planned {
        address: Address,
        action: Action,
        cluster: String,
    },
    Asked {
        address: Address,
        what: Asked,
    },
    Done {
        address: Address,
    },
    Failed {
        address: Address,
        error: String,
        message: String,
    },
    Skipped {
        address: Address,
        because: Address,
    },
    /// The last line of a run that did not die.
    Ended {
        /// Why nothing was done at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nothing_done: Option<String>,
        done: usize,
        failed: usize,
        skipped: usize,
        /// Not finished when somebody interrupted it.
        left: usize,
    },
}

/// A journal that is being written.
///
/// Its trouble does not stop an apply: changing clusters half-way for want of disk space would be worse. The first failure
/// is told once.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<Option<File>>,
}

impl Journal {
    /// Begins a file of its own.
    ///
    /// # Errors
    /// There is such a file already, or none can be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;
            options.mode(0o600);
        }
        let file = Mutex::new(Some(options.open(path)?));
        Ok(Self { file })
    }

    /// Says what is about to be done.
    pub fn begin(&self, plan: &Plan, holder: &str) {
        self.write(What::Begun {
            journal: JOURNAL_VERSION,
            kmirror: env!("CARGO_PKG_VERSION").to_owned(),
            holder: holder.to_owned(),
            file: plan.file.clone(),
            clusters: plan.clusters.clone(),
        });
        for entry in plan.entries.iter().filter(|entry| entry.action.changes()) {
            self.write(What::Planned {
                address: entry.address.clone(),
                action: entry.action,
                cluster: entry.cluster.clone(),
            });
        }
    }

    /// Says how it ended.
    pub fn end(&self, outcome: Result<&Outcome, String>) {
        let (outcome, nothing_done) = match outcome {
            Ok(outcome) => (outcome.clone(), None),
            Err(reason) => (Outcome::default(), Some(reason)),
        };
        self.write(What::Ended {
            nothing_done,
            done: outcome.done.len(),
            failed: outcome.failed.len(),
            skipped: outcome.skipped.len(),
            left: outcome.stopped.len(),
        });
    }

    fn write(&self, what: What) {
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Some(open) = file.as_mut() else {
            return;
        };
        let line = Line {
            at: Timestamp::now(),
            what,
        };
        let mut text = serde_json::to_string(&line).expect("a line has only serialisable parts");
        text.push('\n');
        // In one call and without a buffer: what was said is in the file when the process dies.
        if let Err(error) = open.write_all(text.as_bytes()) {
            tracing::warn!(%error, "the journal can't be written any more; the apply goes on without it");
            *file = None;
        }
    }
}

impl Progress for Journal {
    fn event(&self, event: Event<'_>) {
        self.write(match event {
            Event::Asked(address, what) => What::Asked {
                address: address.clone(),
                what,
            },
            Event::Done(address) => What::Done {
                address: address.clone(),
            },
            Event::Failed(address, failure) => What::Failed {
                address: address.clone(),
                error: failure.error.clone(),
                message: failure.message.clone(),
            },
            Event::Skipped(address, because) => What::Skipped {
                address: address.clone(),
                because: because.clone(),
            },
        });
    }
}

/// What a journal says.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    pub begun: Timestamp,
    pub last: Timestamp,
    pub kmirror: String,
    pub holder: String,
    pub file: String,
    pub clusters: Vec<PlannedCluster>,
    /// In the order of the plan.
    pub entries: Vec<(Address, Action, Fate)>,
    pub end: End,
}

/// What became of an action, as far as the journal knows.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    Done,
    Failed {
        error: String,
        message: String,
    },
    Skipped(Address),
    /// Asked for, and no answer was written down: it may have been done.
    Unknown(Asked),
    NotAsked,
}

#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// The journal has no end: the run died, or it is still going on.
    None,
    NothingDone(String),
    Ended,
}

/// Why a text is no journal.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("it is no journal of an apply")]
    NotAJournal,
    #[error("it is a journal of version {0}; this kmirror reads version {JOURNAL_VERSION}")]
    OtherVersion(u32),
    #[error("line {line} is none of a journal: {problem}")]
    BadLine { line: usize, problem: String },
}

/// Reads a journal. The last line may be cut off: a process that dies may leave half of it.
///
/// # Errors
/// It is none, or of another version.
pub fn read(text: &str) -> Result<Account, ReadError> {
    let mut lines = text.split_inclusive('\n').enumerate();
    let (_, first) = lines.next().ok_or(ReadError::NotAJournal)?;
    let first: Line = serde_json::from_str(first).map_err(|_| ReadError::NotAJournal)?;
    let What::Begun {
        journal,
        kmirror,
        holder,
        file,
        clusters,
    } = first.what
    else {
        return Err(ReadError::NotAJournal);
    };
    if journal != JOURNAL_VERSION {
        return Err(ReadError::OtherVersion(journal));
    }
    let mut account = Account {
        begun: first.at,
        last: first.at,
        kmirror,
        holder,
        file,
        clusters,
        entries: Vec::new(),
        end: End::None,
    };
    let mut places: BTreeMap<Address, usize> = BTreeMap::new();
    for (number, text) in lines {
        let line: Line = match serde_json::from_str(text) {
            Ok(line) => line,
            Err(_) if !text.ends_with('\n') => break,
            Err(error) => {
                return Err(ReadError::BadLine {
                    line: number + 1,
                    problem: error.to_string(),
                });
            }
        };
        account.last = line.at;
        account.take(line.what, &mut places);
    }
    Ok(account)
}

impl Account {
    fn take(&mut self, what: What, places: &mut BTreeMap<Address, usize>) {
        let mut set = |address: &Address, fate: Fate| {
            if let Some(place) = places.get(address) {
                self.entries[*place].2 = fate;
            }
        };
        match what {
            What::Begun { .. } => {}
            What::Planned {
                address, action, ..
            } => {
                places.insert(address.clone(), self.entries.len());
                self.entries.push((address, action, Fate::NotAsked));
            }
            What::Asked { address, what } => set(&address, Fate::Unknown(what)),
            What::Done { address } => set(&address, Fate::Done),
            What::Failed {
                address,
                error,
                message,
            } => set(&address, Fate::Failed { error, message }),
            What::Skipped { address, because } => set(&address, Fate::Skipped(because)),
            What::Ended { nothing_done, .. } => {
                self.end = nothing_done.map_or(End::Ended, End::NothingDone);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::effects::Failure;
    use crate::apply::model::Model;
    use crate::plan::plan;

    const TEXT: &str = "kmirror = 1\n[clusters.east]\nbootstrap_servers = \"a:1\"\n[clusters.west]\nbootstrap_servers = \"b:1\"\n\
                        [links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n";

    fn journal(events: impl Fn(&Journal, &[Address])) -> String {
        let topology = crate::topology::parse(Path::new("t.toml"), TEXT)
            .expect("valid")
            .topology;
        let model = Model::new(&["east", "west"]);
        for topic in ["a", "b", "c"] {
            model.add_topic("east", topic, 1, 1, &[]);
        }
        let plan = plan(&topology, &model.observed());
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal");
        let journal = Journal::create(&path).expect("writable");
        assert!(Journal::create(&path).is_err(), "no journal is overwritten");
        journal.begin(&plan, "me@here (1)");
        let entries = plan.entries.iter().map(|entry| entry.address.clone());
        events(&journal, &entries.collect::<Vec<_>>());
        std::fs::read_to_string(path).expect("readable")
    }

    fn fates(account: &Account) -> Vec<&Fate> {
        account.entries.iter().map(|(_, _, fate)| fate).collect()
    }

    #[test]
    fn a_run_that_died_leaves_what_was_done_and_what_nobody_knows() {
        let text = journal(|journal, addresses| {
            for address in &addresses[..3] {
                journal.event(Event::Asked(address, Asked::Topic));
            }
            journal.event(Event::Done(&addresses[0]));
            let failure = Failure {
                error: "POLICY_VIOLATION".to_owned(),
                message: "no".to_owned(),
            };
            journal.event(Event::Failed(&addresses[1], &failure));
            journal.event(Event::Skipped(&addresses[3], &addresses[1]));
        });
        let account = read(&text).expect("a journal");
        assert_eq!(account.end, End::None);
        assert!(matches!(
            fates(&account).as_slice(),
            [
                Fate::Done,
                Fate::Failed { .. },
                Fate::Unknown(Asked::Topic),
                Fate::Skipped(_),
                Fate::NotAsked,
            ]
        ));
        // However much of the end is missing, the rest can be read.
        let begun = text.find('\n').expect("lines") + 1;
        for end in begun..text.len() {
            assert!(read(&text[..end]).is_ok(), "{}", &text[..end]);
        }
        for end in 0..begun - 1 {
            assert!(matches!(read(&text[..end]), Err(ReadError::NotAJournal)));
        }
    }

    #[test]
    fn the_end_says_how_it_ended() {
        let text = journal(|journal, _| journal.end(Err("locked".to_owned())));
        let account = read(&text).expect("a journal");
        assert_eq!(account.end, End::NothingDone("locked".to_owned()));
        let text = journal(|journal, _| journal.end(Ok(&Outcome::default())));
        assert_eq!(read(&text).expect("a journal").end, End::Ended);
        let newer = text.replace("\"journal\":1", "\"journal\":2");
        assert!(matches!(read(&newer), Err(ReadError::OtherVersion(2))));
        let broken = text.replacen("\"event\":\"planned\"", "\"event\":\"plotted\"", 1);
        assert!(matches!(
            read(&broken),
            Err(ReadError::BadLine { line: 2, .. })
        ));
    }
}
