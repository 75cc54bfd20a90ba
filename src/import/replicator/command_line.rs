//! The executable's flags.
//!
//! `--flag VALUE` and `--flag=VALUE` are one; some flags are switches without a value. A flag is
//! named as the setting that it stands for, but for the lists of topics.

use std::path::PathBuf;

use super::super::model::{Finding, Place};
use super::super::settings::Settings;

/// A command line that has been cut into its flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    pub consumer_config: Option<PathBuf>,
    pub producer_config: Option<PathBuf>,
    pub replication_config: Option<PathBuf>,
    cluster_id: Option<String>,
    /// Settings by key, harmless all of them.
    settings: Vec<(&'static str, String)>,
    findings: Vec<Finding>,
}

/// Flags that stand for a setting.
const SETTINGS: &[(&str, &str)] = &[
    ("whitelist", "topic.whitelist"),
    ("blacklist", "topic.blacklist"),
    ("topic.regex", "topic.regex"),
    ("topic.rename.format", "topic.rename.format"),
    (
        "topic.config.sync.interval.ms",
        "topic.config.sync.interval.ms",
    ),
    ("topic.create.backoff.ms", "topic.create.backoff.ms"),
    ("topic.poll.interval.ms", "topic.poll.interval.ms"),
    ("topic.timestamp.type", "topic.timestamp.type"),
    ("cluster.threads", "cluster.threads"),
];

/// Flags without a value.
const SWITCHES: &[&str] = &[
    "topic.auto.create",
    "topic.preserve.partitions",
    "topic.config.sync",
];

impl CommandLine {
    /// Reads what follows the name of the program, which is left out if it is there.
    pub fn read(arguments: &[String]) -> Self {
        let mut read = Self::default();
        let mut rest = arguments;
        if rest
            .first()
            .is_some_and(|program| !program.starts_with('-'))
        {
            rest = &rest[1..];
        }
        while let Some((flag, after)) = rest.split_first() {
            rest = after;
            let Some(flag) = flag.strip_prefix("--") else {
                // It may be the end of a value that lacks its quotes.
                read.note(Finding {
                    key: None,
                    ..Finding::lost("", Place::CommandLine, "an argument belongs to no flag")
                });
                continue;
            };
            let (flag, value) = match flag.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (flag, None),
            };
            if let Some(switch) = SWITCHES.iter().find(|switch| **switch == flag) {
                let mut value = value;
                if value.is_none()
                    && let Some(next) = rest.first().filter(|next| is_bool(next))
                {
                    value = Some(next.clone());
                    rest = &rest[1..];
                }
                let value = value.unwrap_or_else(|| "true".to_owned());
                read.settings.push((switch, value));
                continue;
            }
            let value = value.or_else(|| {
                let next = rest.first().filter(|next| !next.starts_with("--"))?;
                rest = &rest[1..];
                Some(next.clone())
            });
            read.flag(flag, value);
        }
        read
    }

    fn flag(&mut self, flag: &str, value: Option<String>) {
        let setting = SETTINGS.iter().find(|(name, _)| *name == flag);
        match (flag, value) {
            ("consumer.config", Some(value)) => self.consumer_config = Some(value.into()),
            ("producer.config", Some(value)) => self.producer_config = Some(value.into()),
            ("replication.config", Some(value)) => self.replication_config = Some(value.into()),
            ("cluster.id", Some(value)) => self.cluster_id = Some(value),
            ("consumer.monitoring.config" | "producer.monitoring.config", _) => {
                let why = "Control Center is not fed with what is copied";
                self.note(Finding::unneeded(&shown(flag), Place::CommandLine, why));
            }
            ("confluent.license", _) => {
                let why = "kmirror needs no licence";
                self.note(Finding::unneeded(&shown(flag), Place::CommandLine, why));
            }
            (_, value) => match (setting, value) {
                (Some((_, key)), Some(value)) => self.settings.push((key, value)),
                (Some(_), None) => {
                    let why = "the flag has no value";
                    self.note(Finding::lost(&shown(flag), Place::CommandLine, why));
                }
                (None, _) => self.unknown(flag),
            },
        }
    }

    fn unknown(&mut self, flag: &str) {
        let why =
            "Replicator's executable is not known to have such a flag, or its value is missing";
        let mut finding = Finding::lost(&shown(flag), Place::CommandLine, why);
        let is_name = |char: char| char.is_ascii_lowercase() || char == '.' || char == '-';
        if !flag.chars().all(is_name) || flag.len() > 60 {
            finding.key = None;
        }
        self.note(finding.instead("leave it out"));
    }

    fn note(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn cluster_id(&self) -> Option<&str> {
        self.cluster_id.as_deref()
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = Finding> {
        self.findings.iter().cloned()
    }

    /// The settings that flags stand for; the last of a repeated one counts.
    pub(super) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        for (key, value) in &self.settings {
            settings.set(key, value.clone(), Place::CommandLine);
        }
        settings
    }
}

fn shown(flag: &str) -> String {
    format!("--{flag}")
}

fn is_bool(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}
