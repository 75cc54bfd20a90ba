//! Scripts of requests whose answers decide whether a copy is exact: sequence numbers, epochs, markers, expiry.
//!
//! `tests/kafka/traces.rs` plays them on real brokers and compares with the recordings in `tests/traces`; the sandbox and the
//! simulator's model of a replica replay the recordings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{ProducerId, TopicName, WriteTxnMarkersRequest};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use kmirror::kafka::admin::{NewTopic, OffsetSpec, ProducerIdentity};
use kmirror::kafka::produce::{ProduceBatch, produce};
use kmirror::kafka::{Client, Isolation, Target};
use uuid::Uuid;

use super::wire::{connect, new_topic, one};

#[path = "../traces/format.rs"]
pub mod format;

use format::{Answer, Known, Step, Taken, Trace};

/// How long brokers that play these scripts remember a producer after its last record's time.
pub const EXPIRY: Duration = Duration::from_secs(3600);
/// How often they look.
pub const EXPIRY_CHECK: Duration = Duration::from_millis(200);

fn produce_step(producer: char, epoch: i16, sequence: i32, records: i32) -> Step {
    Step::Produce {
        producer,
        epoch,
        sequence,
        records,
        hours: 0,
    }
}

fn mark(producer: char, epoch: i16, coordinator_epoch: i32, markers: usize) -> Step {
    Step::Mark {
        producer,
        epoch,
        coordinator_epoch,
        markers,
    }
}

/// The scripts, by name.
pub fn scripts() -> Vec<(&'static str, &'static str, Vec<Step>)> {
    let batches = |range: std::ops::Range<i32>| {
        range
            .map(|n| produce_step('a', 0, n * 3, 3))
            .collect::<Vec<_>>()
    };
    let old = |sequence| Step::Produce {
        producer: 'a',
        epoch: 0,
        sequence,
        records: 2,
        hours: 3 * 24,
    };
    vec![
        (
            "duplicates",
            "the last five batches are known again, older ones, gaps and overlaps are refused",
            [
                batches(0..7),
                vec![
                    Step::Look,
                    produce_step('a', 0, 18, 3),
                    produce_step('a', 0, 6, 3),
                    produce_step('a', 0, 3, 3),
                    produce_step('a', 0, 0, 3),
                    // Other boundaries over known records, and a gap.
                    produce_step('a', 0, 18, 2),
                    produce_step('a', 0, 15, 6),
                    produce_step('a', 0, 20, 4),
                    produce_step('a', 0, 24, 3),
                    produce_step('a', 0, 21, 3),
                    Step::Look,
                ],
            ]
            .concat(),
        ),
        (
            "wrap",
            "an unknown id begins anywhere, and sequences go on at 0 after the largest",
            vec![
                produce_step('a', 0, i32::MAX - 4, 3),
                produce_step('a', 0, i32::MAX - 1, 5),
                produce_step('a', 0, i32::MAX - 1, 5),
                produce_step('a', 0, 4, 2),
                produce_step('a', 0, 3, 2),
                Step::Look,
            ],
        ),
        (
            "epochs",
            "a higher epoch begins at 0, a lower one is refused",
            vec![
                produce_step('a', 0, 0, 3),
                produce_step('a', 1, 3, 3),
                produce_step('a', 1, 0, 2),
                produce_step('a', 0, 3, 3),
                produce_step('a', 0, 0, 3),
                produce_step('a', 1, 2, 2),
                Step::Look,
            ],
        ),
        (
            "markers",
            "markers take one offset each, leave sequences alone, and fence with a higher epoch",
            vec![
                produce_step('a', 0, 0, 3),
                mark('a', 0, 0, 1),
                mark('a', 0, 0, 5),
                Step::Look,
                produce_step('a', 0, 3, 3),
                produce_step('a', 0, 3, 3),
                mark('b', 0, 2, 2),
                mark('b', 0, 1, 1),
                mark('b', 0, 2, 1),
                Step::Look,
                mark('a', 1, 0, 1),
                produce_step('a', 0, 6, 3),
                mark('a', 0, 0, 1),
                Step::Look,
                produce_step('a', 1, 6, 1),
                produce_step('a', 1, 0, 1),
                Step::Look,
            ],
        ),
        (
            "marker-first",
            "after a marker of an id that is not known, data of it begins at 0",
            vec![
                mark('a', 0, 0, 1),
                Step::Look,
                produce_step('a', 0, 7, 2),
                produce_step('a', 0, 0, 2),
                produce_step('a', 0, 2, 2),
                Step::Look,
            ],
        ),
        (
            "expiry",
            "state goes by the records' time; then any sequence is taken",
            vec![
                old(0),
                Step::AwaitExpiry { producer: 'a' },
                Step::Look,
                old(50),
                Step::AwaitExpiry { producer: 'a' },
                old(0),
                Step::AwaitExpiry { producer: 'a' },
                produce_step('a', 0, 4, 2),
                produce_step('a', 0, 9, 2),
                Step::Look,
            ],
        ),
        (
            "expiry-then-marker",
            "a marker of an id that was forgotten refuses every sequence but 0",
            vec![
                old(0),
                Step::AwaitExpiry { producer: 'a' },
                mark('a', 0, 0, 1),
                Step::Look,
                produce_step('a', 0, 2, 2),
                mark('b', 0, 0, 1),
                produce_step('a', 0, 2, 2),
                produce_step('a', 0, 0, 2),
                Step::Look,
            ],
        ),
        (
            "delete-records",
            "the log's start moves, and what is known of producers stays",
            vec![
                produce_step('a', 0, 0, 3),
                produce_step('a', 0, 3, 3),
                Step::DeleteRecords { before: 7 },
                Step::DeleteRecords { before: 4 },
                Step::Look,
                Step::DeleteRecords { before: -1 },
                Step::Look,
                produce_step('a', 0, 9, 3),
                produce_step('a', 0, 3, 3),
                produce_step('a', 0, 6, 3),
                Step::Look,
            ],
        ),
        (
            "restart",
            "after a restart only the last batch is known again",
            [
                batches(0..4),
                vec![
                    mark('b', 0, 3, 1),
                    Step::Restart,
                    Step::Look,
                    produce_step('a', 0, 9, 3),
                    produce_step('a', 0, 6, 3),
                    produce_step('a', 0, 0, 3),
                    mark('b', 0, 2, 1),
                    produce_step('a', 0, 12, 3),
                    produce_step('a', 0, 9, 3),
                    Step::Look,
                ],
            ]
            .concat(),
        ),
    ]
}

/// Where the recording of a script lies, for a version of Kafka.
pub fn path(name: &str, kafka: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/traces/{name}-{kafka}.json"))
}

/// A recording that is checked in.
pub fn recorded(name: &str, kafka: &str) -> Result<Trace> {
    let path = path(name, kafka);
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// Plays steps on a partition of their own; `restart` restarts the broker.
pub async fn perform(
    bootstrap: &str,
    steps: &[Step],
    restart: &mut (dyn FnMut() -> Result<()> + Send),
) -> Result<Vec<Taken>> {
    let client = connect(bootstrap).await?;
    let topic = format!("trace-{}", Uuid::new_v4());
    let wanted = NewTopic {
        configs: vec![("retention.ms".into(), "-1".into())],
        ..new_topic(&topic, 1)
    };
    one(client.admin().create_topics(vec![wanted], false).await)?;
    // A broker answers for a partition a little later than the controller; the first step is played once.
    let end = (topic.clone(), 0, OffsetSpec::Latest);
    let admin = client.admin();
    one(admin
        .list_offsets(vec![end], Isolation::ReadUncommitted)
        .await)?;
    let mut ids = BTreeMap::new();
    for letter in ['a', 'b'] {
        ids.insert(letter, client.admin().init_producer_id(None, 0).await?);
    }
    let player = Player { client, topic, ids };
    let mut taken = Vec::new();
    for step in steps {
        let answer = match step {
            Step::Restart => {
                restart()?;
                Answer::Done
            }
            _ => player
                .play(step)
                .await
                .with_context(|| format!("at {step:?}"))?,
        };
        taken.push(Taken {
            step: step.clone(),
            answer,
        });
    }
    Ok(taken)
}

struct Player {
    client: Client,
    topic: String,
    ids: BTreeMap<char, ProducerIdentity>,
}

impl Player {
    async fn play(&self, step: &Step) -> Result<Answer> {
        let admin = self.client.admin();
        let leader = Target::Leader {
            topic: self.topic.clone(),
            partition: 0,
        };
        match step {
            Step::Produce {
                producer,
                epoch,
                sequence,
                records,
                hours,
            } => {
                let batch = ProduceBatch {
                    head: Bytes::new(),
                    topic: &self.topic,
                    partition: 0,
                    batch: batch(self.id(*producer), *epoch, *sequence, *records, *hours)?,
                };
                let connection = self.client.route(&leader).await?;
                let answers = produce(&connection, -1, 10_000, &[batch]).await?;
                let answer = answers.first().context("one partition is answered")?;
                Ok(Answer::Produced {
                    code: answer.error.0,
                    base: answer.base_offset,
                })
            }
            Step::Mark {
                producer,
                epoch,
                coordinator_epoch,
                markers,
            } => {
                let name = TopicName(StrBytes::from_string(self.topic.clone()));
                let marker = WritableTxnMarker::default()
                    .with_producer_id(ProducerId(self.id(*producer)))
                    .with_producer_epoch(*epoch)
                    .with_coordinator_epoch(*coordinator_epoch)
                    .with_topics(vec![
                        WritableTxnMarkerTopic::default()
                            .with_name(name)
                            .with_partition_indexes(vec![0]),
                    ]);
                let request =
                    WriteTxnMarkersRequest::default().with_markers(vec![marker; *markers]);
                let connection = self.client.route(&leader).await?;
                let response = connection.send(&request).await?;
                let code = response
                    .markers
                    .first()
                    .and_then(|marker| marker.topics.first())
                    .and_then(|topic| topic.partitions.first())
                    .context("the partition is answered")?
                    .error_code;
                Ok(Answer::Marked { code })
            }
            Step::DeleteRecords { before } => {
                let wanted = vec![(self.topic.clone(), 0, *before)];
                let outcome = one(admin.delete_records(wanted).await);
                Ok(match outcome {
                    Ok(start) => Answer::Deleted { code: 0, start },
                    Err(error) => {
                        let code = error
                            .downcast_ref::<kmirror::kafka::Error>()
                            .and_then(kmirror::kafka::Error::code);
                        let code = code.context(error)?.0;
                        Answer::Deleted { code, start: -1 }
                    }
                })
            }
            Step::AwaitExpiry { producer } => {
                let began = Instant::now();
                while self
                    .known()
                    .await?
                    .iter()
                    .any(|known| known.producer == *producer)
                {
                    ensure!(
                        began.elapsed() < Duration::from_secs(30),
                        "it is never forgotten"
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Ok(Answer::Done)
            }
            Step::Look => {
                let mut offsets = Vec::new();
                for spec in [OffsetSpec::Earliest, OffsetSpec::Latest] {
                    let wanted = vec![(self.topic.clone(), 0, spec)];
                    let found = admin.list_offsets(wanted, Isolation::ReadUncommitted).await;
                    offsets.push(one(found)?.offset);
                }
                Ok(Answer::Seen {
                    start: offsets[0],
                    end: offsets[1],
                    producers: self.known().await?,
                })
            }
            Step::Restart => unreachable!("done by the caller"),
        }
    }

    fn id(&self, letter: char) -> i64 {
        self.ids[&letter].id
    }

    async fn known(&self) -> Result<Vec<Known>> {
        let admin = self.client.admin();
        let states = one(admin
            .describe_producers(vec![(self.topic.clone(), 0)])
            .await)?;
        let letters = self.ids.iter();
        Ok(letters
            .filter_map(|(letter, identity)| {
                let state = states
                    .iter()
                    .find(|state| state.producer_id == identity.id)?;
                Some(Known {
                    producer: *letter,
                    epoch: i16::try_from(state.producer_epoch).expect("epochs are small"),
                    last_sequence: state.last_sequence,
                    coordinator_epoch: state.coordinator_epoch,
                })
            })
            .collect())
    }
}

/// A batch whose sequence may wrap inside, which the library's encoder does not make.
pub fn batch(producer: i64, epoch: i16, sequence: i32, records: i32, hours: i64) -> Result<Bytes> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let time = i64::try_from(now)? - hours * 3_600_000;
    let plain: Vec<Record> = (0..records)
        .map(|index| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(index),
            sequence: index,
            timestamp: time,
            key: None,
            value: Some(Bytes::from(format!("{sequence}+{index}"))),
            headers: indexmap::IndexMap::default(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut buffer, &plain, &options)?;
    buffer[43..51].copy_from_slice(&producer.to_be_bytes());
    buffer[51..53].copy_from_slice(&epoch.to_be_bytes());
    buffer[53..57].copy_from_slice(&sequence.to_be_bytes());
    let checksum = crc32c::crc32c(&buffer[21..]);
    buffer[17..21].copy_from_slice(&checksum.to_be_bytes());
    Ok(buffer.freeze())
}

/// The first step that was answered otherwise.
pub fn compare(recorded: &Trace, answered: &[Taken]) -> Result<()> {
    ensure!(
        recorded.steps.len() == answered.len(),
        "{} steps are recorded, {} were taken",
        recorded.steps.len(),
        answered.len()
    );
    for (index, (recorded, answered)) in recorded.steps.iter().zip(answered).enumerate() {
        ensure!(
            recorded == answered,
            "step {index}: Kafka answered {recorded:?}, here it is {answered:?}"
        );
    }
    Ok(())
}
