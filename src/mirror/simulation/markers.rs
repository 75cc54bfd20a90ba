//! What keeps offsets equal, as `io::pad` and `io::task` do it: control markers, the deletion of filler, and the high watermark.
//!
//! Markers have no sequence. A request for them is sent by the owner alone and answered once its markers are below the
//! high watermark; then the end is looked up. When the answer is lost, or the worker dies, they may still arrive,
//! while whoever comes next watches the end.

use rand::Rng;

use super::content::{self, Frame};
use super::destination::ForBroker;
use super::log::Writer;
use super::worker::ForWorker;
use super::world::{Happening, World};
use crate::kafka::ErrorCode;
use crate::mirror::batch::BatchHeader;
use crate::mirror::partition::{Event, Failure, PadAnswer};

/// The producer id of markers.
pub const MARKER_ID: i64 = 4712;
const POLL: u64 = 20;
const REQUEST_TIMEOUT: u64 = 30_000;

/// Markers on their way.
#[derive(Clone, Copy, Debug)]
pub struct Pad {
    number: u64,
    attempt: u64,
    markers: i64,
    broker: usize,
    life: u32,
    asked: u64,
    /// Where they end in the leader's log, once it took them.
    end: Option<i64>,
}

/// A request for markers.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    worker: usize,
    life: u32,
    /// Of the broker that it was sent to.
    broker_life: u32,
    number: u64,
    markers: i64,
}

impl World {
    pub fn pad(&mut self, worker: usize, attempt: u64, markers: i64) {
        let delay = self.delay();
        let now = self.now;
        let number = self.next_task + 1;
        self.next_task = number;
        let Some(task) = &mut self.workers[worker].task else {
            return;
        };
        let Some(broker) = task.leader else { return };
        task.pad = Some(Pad {
            number,
            attempt,
            markers,
            broker,
            life: self.destination.brokers[broker].life,
            asked: now,
            end: None,
        });
        let task = task.id;
        self.worker_later(worker, delay, ForWorker::SendMarkers { task });
    }

    /// The connection is there: the lease is looked at, and the request leaves.
    pub fn send_markers(&mut self, worker: usize, task: u64) {
        let Some(pad) = self.current_pad(worker, task) else {
            return;
        };
        if !self.holds_lease(worker) || self.is_closed(worker) {
            return self.padded(worker, lost("membership is unconfirmed"));
        }
        // Also what is late arrives while the end is being watched.
        let delay = self.delay().min(100);
        let life = self.workers[worker].life;
        let mark = Mark {
            worker,
            life,
            broker_life: pad.life,
            number: pad.number,
            markers: pad.markers,
        };
        self.later(delay, Happening::Broker(pad.broker, ForBroker::Mark(mark)));
        self.worker_later(worker, POLL, ForWorker::AwaitMarkers { task });
    }

    fn current_pad(&self, worker: usize, task: u64) -> Option<Pad> {
        let running = self.workers[worker].task.as_ref()?;
        running.pad.filter(|_| running.id == task)
    }

    /// The leader appends markers, whoever asked and whether or not he still lives.
    pub fn mark(&mut self, broker: usize, mark: Mark) {
        let Mark {
            worker,
            life,
            broker_life,
            number,
            markers,
        } = mark;
        if self.destination.brokers[broker].life != broker_life {
            return;
        }
        let code = self.take_markers(broker, markers);
        let end = self.destination.brokers[broker].replica.end();
        if self.workers[worker].life != life {
            return;
        }
        let Some(task) = &mut self.workers[worker].task else {
            return;
        };
        let id = task.id;
        let Some(pad) = task.pad.as_mut().filter(|pad| pad.number == number) else {
            return;
        };
        if code.is_ok() {
            pad.end = Some(end);
            return;
        }
        let delay = self.delay();
        self.worker_later(worker, delay, ForWorker::MarkersRefused { task: id, code });
    }

    fn take_markers(&mut self, broker: usize, markers: i64) -> ErrorCode {
        if let Some(code) = self.refuses_writes(broker) {
            return code;
        }
        for _ in 0..markers {
            let producers = &self.destination.brokers[broker].replica.producers;
            if let Err(code) = producers.check_marker(MARKER_ID, 0, 0) {
                return code;
            }
            let now = self.wall_clock();
            let frame = Frame {
                producer_id: MARKER_ID,
                producer_epoch: 0,
                max_time: now,
                ..Frame::at(0, -1, now)
            };
            let bytes = content::marker(false, frame);
            let header = BatchHeader::parse(&bytes).expect("a batch");
            let (offset, _) = self.append(broker, header, bytes, Writer::Marker);
            self.judge.marked(offset, &self.source);
        }
        self.advance(broker);
        ErrorCode::NONE
    }

    pub fn markers_refused(&mut self, worker: usize, task: u64, code: ErrorCode) {
        if self.current_pad(worker, task).is_some() {
            self.padded(
                worker,
                PadAnswer::Refused {
                    code,
                    message: None,
                },
            );
        }
    }

    /// Until they are below the high watermark.
    pub fn await_markers(&mut self, worker: usize, task: u64) {
        let Some(pad) = self.current_pad(worker, task) else {
            return;
        };
        let it = &self.destination.brokers[pad.broker];
        if !it.up || it.life != pad.life {
            return self.padded(worker, lost("the connection was lost"));
        }
        if self.now - pad.asked > REQUEST_TIMEOUT {
            return self.padded(worker, lost("no answer"));
        }
        let bounds = it.bounds(pad.broker);
        if let (Some(end), Ok((_, at))) = (pad.end, bounds)
            && at >= end
        {
            return self.padded(worker, PadAnswer::Ends { at });
        }
        if pad.end.is_some() && bounds.is_err() {
            return self.padded(worker, lost("the leader has changed"));
        }
        self.worker_later(worker, POLL, ForWorker::AwaitMarkers { task });
    }

    /// The answer to a request for markers does not come.
    pub fn lose_markers(&mut self, worker: usize) {
        self.padded(worker, lost("the connection was lost"));
    }

    fn padded(&mut self, worker: usize, answer: PadAnswer) {
        let delay = self.delay();
        let Some(task) = &mut self.workers[worker].task else {
            return;
        };
        let Some(pad) = task.pad.take() else { return };
        let task = task.id;
        let attempt = pad.attempt;
        let event = Event::Padded { attempt, answer };
        self.worker_later(worker, delay, ForWorker::Mirror { task, event });
    }

    /// `DeleteRecords`, tried until it is done.
    pub fn delete_before(&mut self, worker: usize, task: u64, offset: i64) {
        let running = self.workers[worker].task.as_ref();
        if running.is_none_or(|running| running.id != task) {
            return;
        }
        let delay = self.delay() + 1;
        let leader = self.destination.settled_leader();
        let reaches = leader.is_some_and(|leader| {
            self.destination.brokers[leader].replica.high_watermark >= offset
        });
        let fits =
            leader.is_none_or(|leader| self.destination.brokers[leader].replica.end() >= offset);
        if !fits {
            // OFFSET_OUT_OF_RANGE, which is tried again after a while, from the tail on.
            let failure = Failure::Call {
                operation: "delete what took up the offsets before the first record",
                cause: "OFFSET_OUT_OF_RANGE".to_owned(),
                retried: true,
            };
            let event = Event::Failed(failure);
            return self.worker_later(worker, delay, ForWorker::Mirror { task, event });
        }
        if !reaches {
            return self.worker_later(worker, 100, ForWorker::DeleteBefore { task, offset });
        }
        for broker in &mut self.destination.brokers {
            broker.replica.start = broker.replica.start.max(offset);
        }
        let event = Event::Deleted;
        self.worker_later(worker, delay, ForWorker::Mirror { task, event });
    }

    /// The high watermark is asked for until it is told.
    pub fn ask_watermark(&mut self, worker: usize, task: u64, attempt: u64) {
        let delay = self.delay() + 1;
        let running = self.workers[worker].task.as_ref();
        if running.is_none_or(|running| running.id != task) {
            return;
        }
        // Whoever leads by what some broker knows.
        let asked = self.rng.random_range(0..self.destination.brokers.len());
        let leader = self.destination.brokers[asked].knows.leader;
        let told = leader.and_then(|leader| {
            let it = &self.destination.brokers[leader];
            let answers = it.up && it.frozen_until <= self.now;
            let bounds = it.bounds(leader).ok().filter(|_| answers);
            bounds.map(|(_, end)| (end, it.knows.epoch))
        });
        match told {
            Some((end, leader_epoch)) => {
                let event = Event::Watermark {
                    attempt,
                    end,
                    leader_epoch,
                };
                self.worker_later(worker, delay, ForWorker::Mirror { task, event });
            }
            None => self.worker_later(worker, 50, ForWorker::AskWatermark { task, attempt }),
        }
    }
}

fn lost(cause: &str) -> PadAnswer {
    PadAnswer::Lost {
        cause: cause.to_owned(),
    }
}
