//! Desired state as it stands in `_kmirror.links`, and the internal topics themselves.

use std::time::Duration;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ControlError;
use super::log::{Entry, Follower, Polled};
use super::records::{
    IncarnationId, LINKS_TOPIC, LinkConfigsRecord, LinkRecord, LinksKey, LockRecord, MirrorRecord,
    NEWEST_VERSION, OFFSETS_PARTITIONS, OFFSETS_TOPIC, SlotsRecord, SourceLinkRecord, WORK_SLOTS,
    WORK_TOPIC,
};
use crate::kafka::admin::NewTopic;
use crate::kafka::{Backoff, Client, Error, ErrorClass, ErrorCode, Operation, Topics};

pub use super::watch::Watch;

/// All that is desired on a destination, and who is changing it.
#[derive(Clone, Debug, Default)]
pub struct ControlState {
    pub links: IndexMap<Uuid, LinkRecord>,
    pub mirrors: IndexMap<IncarnationId, MirrorRecord>,
    pub lock: Option<LockRecord>,
    pub slots: SlotsRecord,
    /// Configs of links that were made over REST, by the link's id.
    pub configs: IndexMap<Uuid, LinkConfigsRecord>,
    /// Halves of links whose source this cluster is.
    pub source_links: IndexMap<Uuid, SourceLinkRecord>,
}

/// Reads all of `_kmirror.links`. `None`: there is no such topic, so nothing was ever applied.
///
/// # Errors
/// See [`ControlError`].
pub async fn read(client: &Client) -> Result<Option<ControlState>, ControlError> {
    let names = [LINKS_TOPIC.to_owned()];
    let metadata = client.admin().metadata(Topics::Named(&names)).await?;
    let topic = metadata.topic(LINKS_TOPIC);
    if topic.is_none_or(|topic| topic.error == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) {
        return Ok(None);
    }
    if let Some(topic) = topic
        && topic.error.is_authorization()
    {
        let error = Error::broker(
            topic.error,
            None,
            Operation::Read,
            format!("topic {LINKS_TOPIC}"),
        );
        return Err(error.asked_by(|| client.asked()).into());
    }
    let mut links = LinksLog::new(client);
    links.catch_up().await?;
    Ok(Some(links.into_state()))
}

/// Creates those of the internal topics that are missing.
///
/// # Errors
/// What the broker says, or that a topic of that name cannot be used.
pub async fn ensure_topics(client: &Client) -> Result<(), ControlError> {
    /// While another kmirror creates them, or while former ones are still being deleted.
    const PATIENCE: Duration = Duration::from_secs(30);
    let started = Instant::now();
    let mut backoff = Backoff::for_requests();
    loop {
        let missing = missing_topics(client).await?;
        if missing.is_empty() {
            return Ok(());
        }
        for (_, outcome) in client.admin().create_topics(missing, false).await {
            match outcome {
                Ok(_) => {}
                Err(error)
                    if error.code() == Some(ErrorCode::TOPIC_ALREADY_EXISTS)
                        && started.elapsed() < PATIENCE => {}
                Err(error) => return Err(error.into()),
            }
        }
        backoff.sleep().await;
    }
}

/// Those of the internal topics that are missing, as they would be created.
///
/// # Errors
/// See [`ControlError`].
pub async fn missing_topics(client: &Client) -> Result<Vec<NewTopic>, ControlError> {
    let wanted = [
        (LINKS_TOPIC, 1),
        (OFFSETS_TOPIC, OFFSETS_PARTITIONS),
        (WORK_TOPIC, WORK_SLOTS),
    ];
    let names = wanted.map(|(name, _)| name.to_owned());
    let metadata = client.admin().metadata(Topics::Named(&names)).await?;
    let replicas = i16::try_from(metadata.brokers.len().clamp(1, 3)).expect("at most three");
    let mut missing = Vec::new();
    for (name, partitions) in wanted {
        let found = metadata.topic(name);
        let code = found.map_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, |topic| topic.error);
        match found.map_or(0, |topic| topic.partitions.len()) {
            0 if code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                missing.push(internal_topic(name, partitions, replicas));
            }
            // Just created: it has no leaders yet.
            0 if code.class() == ErrorClass::Refresh => {}
            0 if !code.is_ok() => {
                let error = Error::broker(code, None, Operation::Describe, format!("topic {name}"));
                return Err(error.asked_by(|| client.asked()).into());
            }
            found if i32::try_from(found) == Ok(partitions) => {}
            found => {
                return Err(ControlError::Shape {
                    topic: name.to_owned(),
                    partitions: found,
                    wanted: partitions,
                });
            }
        }
    }
    Ok(missing)
}

fn internal_topic(name: &str, partitions: i32, replicas: i16) -> NewTopic {
    let mut configs = vec![];
    if name != WORK_TOPIC {
        configs.push(("cleanup.policy", "compact"));
        // Closed segments are what compaction shortens; the default of 1 GiB would never close.
        configs.push(("segment.bytes", "16777216"));
    }
    if replicas >= 3 {
        configs.push(("min.insync.replicas", "2"));
    }
    NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        replication_factor: Some(replicas),
        configs: configs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
    }
}

/// The lock as it stands in the log.
#[derive(Clone, Debug)]
pub(super) struct SeenLock {
    pub record: LockRecord,
    pub offset: i64,
    pub timestamp: i64,
}

/// `_kmirror.links`, folded as far as it was read.
#[derive(Debug)]
pub(super) struct LinksLog {
    follower: Follower,
    state: ControlState,
    pub lock: Option<SeenLock>,
}

impl LinksLog {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            follower: Follower::new(client, LINKS_TOPIC, 0),
            state: ControlState::default(),
            lock: None,
        }
    }

    /// Reads what was committed before the call. Says whether links or mirrors changed.
    pub(super) async fn catch_up(&mut self) -> Result<bool, ControlError> {
        let Self {
            follower,
            state,
            lock,
        } = self;
        let mut changed = false;
        follower
            .catch_up(|polled| {
                changed |= fold(state, lock, polled)?;
                Ok(())
            })
            .await?;
        Ok(changed)
    }

    /// Waits a while for something new. Says whether links or mirrors changed.
    pub(super) async fn poll(&mut self, max_wait_ms: i32) -> Result<bool, ControlError> {
        let polled = self.follower.poll(max_wait_ms).await?;
        fold(&mut self.state, &mut self.lock, polled)
    }

    pub(super) fn state(&self) -> &ControlState {
        &self.state
    }

    pub(super) fn into_state(self) -> ControlState {
        self.state
    }
}

/// Takes in records. Says whether links or mirrors changed.
fn fold(
    state: &mut ControlState,
    lock: &mut Option<SeenLock>,
    polled: Polled,
) -> Result<bool, ControlError> {
    let mut changed = polled.restarted;
    if polled.restarted {
        *state = ControlState::default();
        *lock = None;
    }
    for entry in polled.entries {
        let Some(key) = key_of::<LinksKey>(LINKS_TOPIC, &entry)? else {
            continue;
        };
        match key {
            LinksKey::Lock => {
                let record = value_of::<LockRecord>(LINKS_TOPIC, &entry)?;
                state.lock.clone_from(&record);
                *lock = record.map(|record| SeenLock {
                    record,
                    offset: entry.offset,
                    timestamp: entry.timestamp,
                });
                continue;
            }
            LinksKey::Link { id } => match value_of::<LinkRecord>(LINKS_TOPIC, &entry)? {
                Some(record) => drop(state.links.insert(id, record)),
                None => drop(state.links.shift_remove(&id)),
            },
            LinksKey::Mirror { id } => match value_of::<MirrorRecord>(LINKS_TOPIC, &entry)? {
                Some(record) => drop(state.mirrors.insert(id, record)),
                None => drop(state.mirrors.shift_remove(&id)),
            },
            LinksKey::Slots => {
                state.slots = value_of::<SlotsRecord>(LINKS_TOPIC, &entry)?.unwrap_or_default();
            }
            LinksKey::LinkConfigs { id } => {
                match value_of::<LinkConfigsRecord>(LINKS_TOPIC, &entry)? {
                    Some(record) => drop(state.configs.insert(id, record)),
                    None => drop(state.configs.shift_remove(&id)),
                }
            }
            LinksKey::SourceLink { id } => {
                match value_of::<SourceLinkRecord>(LINKS_TOPIC, &entry)? {
                    Some(record) => drop(state.source_links.insert(id, record)),
                    None => drop(state.source_links.shift_remove(&id)),
                }
            }
        }
        changed = true;
    }
    Ok(changed)
}

/// A record's key; `None` for a kind that a later kmirror may have added.
pub(super) fn key_of<K: DeserializeOwned>(
    topic: &str,
    entry: &Entry,
) -> Result<Option<K>, ControlError> {
    let malformed = |problem: String| ControlError::Malformed {
        topic: topic.to_owned(),
        offset: entry.offset,
        problem,
    };
    let key = entry
        .key
        .as_ref()
        .ok_or_else(|| malformed("a record without key".to_owned()))?;
    let json: Value = serde_json::from_slice(key)
        .map_err(|error| malformed(format!("its key is no JSON: {error}")))?;
    let kind = json.get("kind").and_then(Value::as_str);
    let kind = kind.ok_or_else(|| malformed("its key names no kind".to_owned()))?;
    let known = [
        "lock",
        "link",
        "mirror",
        "slots",
        "link_configs",
        "source_link",
        "progress",
        "map",
        "failure",
        "end",
    ];
    if !known.contains(&kind) {
        return Ok(None);
    }
    serde_json::from_value(json)
        .map(Some)
        .map_err(|error| malformed(format!("its key cannot be read: {error}")))
}

/// A record's value; `None` for a tombstone.
pub(super) fn value_of<V: DeserializeOwned>(
    topic: &str,
    entry: &Entry,
) -> Result<Option<V>, ControlError> {
    let Some(value) = &entry.value else {
        return Ok(None);
    };
    let malformed = |problem: String| ControlError::Malformed {
        topic: topic.to_owned(),
        offset: entry.offset,
        problem,
    };
    let json: Value = serde_json::from_slice(value)
        .map_err(|error| malformed(format!("its value is no JSON: {error}")))?;
    let version = json.get("version").and_then(Value::as_u64);
    let version = version.ok_or_else(|| malformed("its value has no version".to_owned()))?;
    if version > u64::from(NEWEST_VERSION) {
        let key = entry.key.as_deref().unwrap_or_default();
        return Err(ControlError::Newer {
            topic: topic.to_owned(),
            record: String::from_utf8_lossy(key).into_owned(),
            version,
        });
    }
    serde_json::from_value(json)
        .map(Some)
        .map_err(|error| malformed(format!("its value cannot be read: {error}")))
}

/// The bytes of a key or a value.
pub(super) fn json<T: serde::Serialize>(value: &T) -> Bytes {
    Bytes::from(serde_json::to_vec(value).expect("records have string keys and no odd numbers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: &str, value: Option<&str>) -> Entry {
        Entry {
            offset: 7,
            timestamp: 0,
            key: Some(Bytes::from(key.to_owned())),
            value: value.map(|text| Bytes::from(text.to_owned())),
        }
    }

    #[test]
    fn a_kind_of_record_from_the_future_is_passed_over() {
        let entry = entry(r#"{"kind":"schedule","id":1}"#, Some(r#"{"version":9}"#));
        assert_eq!(key_of::<LinksKey>(LINKS_TOPIC, &entry).unwrap(), None);
    }

    #[test]
    fn a_newer_version_stops_the_reader_and_names_the_record() {
        let entry = entry(r#"{"kind":"lock"}"#, Some(r#"{"version":4,"holder":"x"}"#));
        let error = value_of::<LockRecord>(LINKS_TOPIC, &entry).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the record {\"kind\":\"lock\"} in topic _kmirror.links has version 4; \
             this kmirror reads up to 3: use the newer kmirror that wrote it"
        );
    }

    #[test]
    fn foreign_records_are_named_by_offset() {
        for (key, value) in [
            ("hello", None),
            (r#"{"a":1}"#, None),
            (r#"{"kind":"link"}"#, None),
        ] {
            let error = key_of::<LinksKey>(LINKS_TOPIC, &entry(key, value)).unwrap_err();
            assert!(error.to_string().contains("offset 7"), "{error}");
        }
        let entry = entry(r#"{"kind":"lock"}"#, Some("[]"));
        assert!(value_of::<LockRecord>(LINKS_TOPIC, &entry).is_err());
    }

    #[test]
    fn keys_are_stable_bytes() {
        assert_eq!(json(&LinksKey::Lock), r#"{"kind":"lock"}"#);
        let id = IncarnationId {
            link: Uuid::from_u128(1),
            source_topic: Uuid::from_u128(2),
            destination_topic: Uuid::from_u128(3),
        };
        assert_eq!(
            json(&LinksKey::Mirror { id }),
            "{\"kind\":\"mirror\",\"id\":{\"link\":\"00000000-0000-0000-0000-000000000001\",\
             \"source_topic\":\"00000000-0000-0000-0000-000000000002\",\
             \"destination_topic\":\"00000000-0000-0000-0000-000000000003\"}}"
        );
    }
}
