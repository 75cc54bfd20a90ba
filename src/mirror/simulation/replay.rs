//! Recordings of real brokers, replayed against the model of a replica: a difference is a mistake of the model.

use super::content::{self, Frame, Shape};
use super::log::{Entry, Reached, Replica, Verdict, Writer};
use crate::mirror::batch::BatchHeader;

#[path = "../../../tests/traces/format.rs"]
mod format;

use format::{Answer, Known, Step, Trace};

const HOUR: i64 = 3_600_000;
/// As the recording brokers were set.
const EXPIRY: i64 = HOUR;

struct Model {
    replica: Replica,
    now: i64,
}

fn id(producer: char) -> i64 {
    i64::from(u32::from(producer))
}

impl Model {
    fn answer(&mut self, step: &Step) -> Answer {
        match *step {
            Step::Produce {
                producer,
                epoch,
                sequence,
                records,
                hours,
            } => {
                let shape = Shape {
                    codec: 0,
                    count: records as u32,
                    gaps: 0,
                    returns: 0,
                };
                let time = self.now - hours * HOUR;
                let frame = Frame {
                    producer_id: id(producer),
                    producer_epoch: epoch,
                    base_sequence: sequence,
                    max_time: time,
                    ..Frame::at(0, -1, time)
                };
                self.produce(shape, frame)
            }
            Step::Mark {
                producer,
                epoch,
                coordinator_epoch,
                markers,
            } => self.mark(id(producer), epoch, coordinator_epoch, markers),
            Step::DeleteRecords { before } => {
                let end = self.replica.end();
                let to = if before < 0 { end } else { before };
                if to > end {
                    return Answer::Deleted { code: 1, start: -1 };
                }
                self.replica.start = self.replica.start.max(to);
                Answer::Deleted {
                    code: 0,
                    start: self.replica.start,
                }
            }
            Step::AwaitExpiry { producer } => {
                self.replica.producers.expire(self.now, EXPIRY);
                assert!(
                    self.replica.producers.get(id(producer)).is_none(),
                    "the model forgets what the broker forgot"
                );
                Answer::Done
            }
            Step::Restart => {
                self.replica.rebuild(1);
                Answer::Done
            }
            Step::Look => Answer::Seen {
                start: self.replica.start,
                end: self.replica.end(),
                producers: ['a', 'b']
                    .into_iter()
                    .filter_map(|producer| {
                        let known = self.replica.producers.get(id(producer))?;
                        Some(Known {
                            producer,
                            epoch: known.epoch,
                            last_sequence: known.last_sequence(),
                            coordinator_epoch: known.coordinator_epoch,
                        })
                    })
                    .collect(),
            },
        }
    }

    fn produce(&mut self, shape: Shape, frame: Frame) -> Answer {
        let bytes = content::data(shape, frame);
        let mut header = BatchHeader::parse(&bytes).expect("a batch");
        match self.replica.producers.check(&header) {
            Err(code) => Answer::Produced {
                code: code.0,
                base: -1,
            },
            Ok(Verdict::Duplicate { base }) => Answer::Produced { code: 0, base },
            Ok(Verdict::Append) => {
                header.base_offset = self.replica.end();
                let base = header.base_offset;
                self.push(header, bytes, Writer::Mirror, -1);
                Answer::Produced { code: 0, base }
            }
        }
    }

    fn mark(&mut self, producer: i64, epoch: i16, coordinator: i32, markers: usize) -> Answer {
        let mut answered = 0;
        for _ in 0..markers {
            let checked = self
                .replica
                .producers
                .check_marker(producer, epoch, coordinator);
            if let Err(code) = checked {
                answered = code.0;
                continue;
            }
            let frame = Frame {
                producer_id: producer,
                producer_epoch: epoch,
                max_time: self.now,
                ..Frame::at(0, -1, self.now)
            };
            let bytes = content::marker(false, frame);
            let mut header = BatchHeader::parse(&bytes).expect("a batch");
            header.base_offset = self.replica.end();
            self.push(header, bytes, Writer::Marker, coordinator);
        }
        Answer::Marked { code: answered }
    }

    fn push(&mut self, header: BatchHeader, bytes: bytes::Bytes, writer: Writer, coordinator: i32) {
        self.replica.push(std::rc::Rc::new(Entry {
            base: header.base_offset,
            next: header.next_offset(),
            header,
            bytes,
            writer,
            coordinator,
            after: Reached::NOTHING,
            sources: std::rc::Rc::from([]),
        }));
    }
}

/// Without this, the simulator would show that copies are exact on brokers that do not exist.
#[test]
fn the_model_of_a_replica_answers_as_real_brokers_did() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut replayed = 0;
    for file in std::fs::read_dir(folder).expect("the recordings are checked in") {
        let path = file.expect("a directory can be listed").path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a recording can be read");
        let trace: Trace = serde_json::from_str(&text).expect("a recording is as its format says");
        let mut model = Model {
            replica: Replica::new(0, Reached::NOTHING),
            now: 1_800_000_000_000,
        };
        for (index, taken) in trace.steps.iter().enumerate() {
            // Time goes on between requests.
            model.now += 10;
            assert_eq!(
                model.answer(&taken.step),
                taken.answer,
                "{} ({}), step {index}: {:?}",
                path.display(),
                trace.about,
                taken.step
            );
        }
        replayed += 1;
    }
    assert!(replayed > 0, "there are recordings");
}
