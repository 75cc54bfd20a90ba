//! A worker: its life, its lease, and the partition's task with what `io::task` does around the state machine.
//!
//! A worker may be killed, and frozen: then whatever would have happened to it happens when it wakes, all at
//! once, by the clock that went on meanwhile.

use super::content;
use super::group::ForGroup;
use super::markers::Pad;
use super::network::{Given, Job, Lane};
use super::plan::BEGINNING;
use super::store::{Keeper, Save, Write};
use super::tail::{Step, TailRead};
use super::world::{Asked, Happening, PRODUCER_ID, World};
use crate::control::records::{
    Acks, Anchor, FillWay, ForeignWrites, HolePolicy, OffsetsSpec, OnHole,
};
use crate::kafka::ErrorCode;
use crate::mirror::partition::{
    Action, Answer, Event, Failure, LogSpan, Merging, Notice, PartitionMirror, Settings, Stored,
};

const TICK: u64 = 1_000;
/// How often an idle mirror's end is looked at; more often than real workers do, so that more comes of it.
const CHECK_INTERVAL: u64 = 4_000;
/// How long a revoked slot stays open for what its task has to finish (`membership::STOPPING`).
const CLOSING: u64 = 8_000;
/// How long a stopping task is waited for (`destination::STOPPING`).
const STOPPING: u64 = 15_000;

/// Something that happens to a worker.
#[derive(Debug)]
pub enum ForWorker {
    /// Time to have its membership confirmed.
    Renew,
    Renewed {
        asked: u64,
    },
    /// Its commit was refused: it is no member any more.
    Expelled,
    /// It is a member, and the slot is somebody else's.
    NotOwner,
    Assigned,
    Revoked {
        handover: u64,
    },
    /// Stored progress is read, and the task starts.
    Load,
    Mirror {
        task: u64,
        event: Event,
    },
    FindStart {
        task: u64,
    },
    StartFound {
        task: u64,
        event: Event,
    },
    /// Whether the link is paused.
    Obey {
        task: u64,
    },
    Tick {
        task: u64,
    },
    LookForEnd {
        task: u64,
    },
    CheckEnd {
        task: u64,
    },
    /// A revoked slot is closed, whether or not its task has stopped.
    Close {
        task: u64,
    },
    /// A stopping task has had its time.
    CutOff {
        task: u64,
    },
    Tail {
        task: u64,
        operation: u64,
        step: Step,
    },
    Connected(usize),
    Answered(usize, Given),
    Lost(usize),
    RequestOverdue(usize),
    SendMarkers {
        task: u64,
    },
    AwaitMarkers {
        task: u64,
    },
    MarkersRefused {
        task: u64,
        code: ErrorCode,
    },
    DeleteBefore {
        task: u64,
        offset: i64,
    },
    AskWatermark {
        task: u64,
        attempt: u64,
    },
    ReadBack {
        task: u64,
        attempt: u64,
        from: i64,
    },
    Gathered,
    WriteRest(Write),
    Written,
}

#[derive(Debug)]
pub struct Task {
    pub id: u64,
    pub mirror: PartitionMirror,
    /// Attempts up to this one may not be sent any more.
    pub void: u64,
    /// The attempt that was sent last, and over which connection it began.
    began: (u64, usize),
    pub leader: Option<usize>,
    pub source_incarnation: u32,
    pub destination_incarnation: u32,
    pub tail: Option<TailRead>,
    pub failure: Option<Failure>,
    pub pad: Option<Pad>,
    confirmed: Anchor,
    /// The attempt and the offset at which it was told last that the source has nothing to read.
    pub ended_at: Option<(u64, i64)>,
    /// Whether it said so.
    pub caught_up: bool,
    handover: Option<u64>,
    /// The slot was revoked: nothing more comes of it.
    closed: bool,
    /// Where the source's view ended when it was told to copy that and stop.
    drains_to: Option<i64>,
}

impl Task {
    /// Whether a batch of `attempt` may go over this connection: an attempt stays on the one that it began on.
    pub fn goes_over(&mut self, attempt: u64, connection: usize) -> bool {
        if self.began.0 != attempt {
            self.began = (attempt, connection);
        }
        self.began.1 == connection
    }
}

#[derive(Debug, Default)]
pub struct Worker {
    /// Counts its lives: what was meant for a former one is void.
    pub life: u32,
    pub frozen_until: u64,
    lease: Option<u64>,
    pub owns: bool,
    loading: bool,
    pub task: Option<Task>,
    pub lanes: [Lane; 3],
    pub keeper: Keeper,
}

impl World {
    pub fn holds_lease(&self, worker: usize) -> bool {
        let lease = self.workers[worker].lease;
        lease.is_some_and(|asked| self.now - asked < self.plan.session / 3)
    }

    /// Whether what runs at a worker may do nothing more.
    pub fn is_closed(&self, worker: usize) -> bool {
        let running = self.workers[worker].task.as_ref();
        running.is_some_and(|running| running.closed)
    }

    /// Whether a worker knows that it owns the partition, and its task is not one that is ending.
    pub fn runs_as_owner(&self, worker: usize) -> bool {
        self.workers[worker].owns && !self.is_closed(worker)
    }

    fn has_task(&self, worker: usize, task: u64) -> bool {
        let running = self.workers[worker].task.as_ref();
        running.is_some_and(|running| running.id == task)
    }

    pub fn at_worker(&mut self, worker: usize, life: u32, what: ForWorker) {
        let it = &mut self.workers[worker];
        if it.life != life {
            return;
        }
        if it.frozen_until > self.now {
            let until = it.frozen_until;
            return self.put_off(until, Happening::Worker(worker, life, what));
        }
        match what {
            ForWorker::Renew => self.renew(worker),
            ForWorker::Renewed { asked } => {
                let lease = &mut it.lease;
                *lease = Some(lease.map_or(asked, |before| before.max(asked)));
            }
            // Told before it joined again: that answer is an old one.
            ForWorker::Expelled if self.group.is_member(worker, life) => {}
            ForWorker::Expelled => {
                self.lose_partition(worker, None);
                let delay = self.delay();
                self.later(
                    delay + 100,
                    Happening::Group(ForGroup::Join { worker, life }),
                );
            }
            ForWorker::NotOwner => {
                if it.owns && self.group.owner() != Some(worker) {
                    self.lose_partition(worker, None);
                }
            }
            ForWorker::Assigned => {
                it.owns = true;
                self.start_if_owner(worker);
            }
            ForWorker::Revoked { handover } => self.lose_partition(worker, Some(handover)),
            ForWorker::Load => self.start_task(worker),
            ForWorker::Mirror { task, event } => {
                if it.task.as_ref().is_some_and(|running| running.id == task) {
                    self.tell(worker, event);
                }
            }
            ForWorker::FindStart { task } => self.find_start(worker, task),
            ForWorker::StartFound { task, event } => {
                if !self.holds_lease(worker) {
                    // Somebody else may have copied meanwhile.
                    return self.worker_later(worker, 100, ForWorker::FindStart { task });
                }
                if self.has_task(worker, task) {
                    self.tell(worker, event);
                }
            }
            ForWorker::Obey { task } => {
                if self.has_task(worker, task) {
                    // Every other mirror is promoted where the others only go on; who owns it then begins anew.
                    let event = match self.paused {
                        true => Event::Pause,
                        false if self.plan.seed % 2 == 1 => self.drain(worker),
                        false => Event::Run,
                    };
                    self.tell(worker, event);
                }
            }
            ForWorker::Tick { task } => {
                if it.task.as_ref().is_some_and(|running| running.id == task) {
                    // As in a worker, where partitions at rest hear nothing of time.
                    let awaited = it.task.as_ref().is_some_and(|it| it.mirror.awaits_tick());
                    self.worker_later(worker, TICK, ForWorker::Tick { task });
                    if awaited {
                        self.tell(worker, Event::Tick);
                    }
                }
            }
            ForWorker::LookForEnd { task } => self.tell_source_end(worker, task),
            ForWorker::CheckEnd { task } => self.check_ends(worker, task),
            ForWorker::Close { task } => {
                if let Some(running) = &mut it.task
                    && running.id == task
                {
                    running.closed = true;
                    running.void = u64::MAX;
                }
            }
            ForWorker::CutOff { task } => {
                if it.task.as_ref().is_some_and(|running| running.id == task) {
                    self.end_task(worker);
                }
            }
            ForWorker::Tail {
                task,
                operation,
                step,
            } => {
                self.read_tail_on(worker, task, operation, step);
            }
            ForWorker::Connected(broker) => self.connected(worker, broker),
            ForWorker::Answered(connection, given) => self.take_answer(worker, connection, given),
            ForWorker::Lost(connection) => self.take_loss(worker, connection),
            ForWorker::RequestOverdue(connection) => self.overdue(worker, connection),
            ForWorker::SendMarkers { task } => self.send_markers(worker, task),
            ForWorker::AwaitMarkers { task } => self.await_markers(worker, task),
            ForWorker::MarkersRefused { task, code } => self.markers_refused(worker, task, code),
            ForWorker::DeleteBefore { task, offset } => self.delete_before(worker, task, offset),
            ForWorker::AskWatermark { task, attempt } => self.ask_watermark(worker, task, attempt),
            ForWorker::ReadBack {
                task,
                attempt,
                from,
            } => self.read_back(worker, task, attempt, from),
            ForWorker::Gathered => self.gathered(worker),
            ForWorker::WriteRest(rest) => self.write_rest(worker, rest),
            ForWorker::Written => self.written(worker),
        }
    }

    fn renew(&mut self, worker: usize) {
        let every = self.plan.session / 12;
        self.worker_later(worker, every, ForWorker::Renew);
        let life = self.workers[worker].life;
        let asked = self.now;
        let delay = self.delay();
        self.later(
            delay,
            Happening::Group(ForGroup::Commit {
                worker,
                life,
                asked,
            }),
        );
    }

    /// The slot is somebody else's: stop, and say so where that is asked for.
    fn lose_partition(&mut self, worker: usize, handover: Option<u64>) {
        let it = &mut self.workers[worker];
        it.owns = false;
        if handover.is_none() {
            it.lease = None;
        }
        match &mut it.task {
            Some(task) => {
                task.handover = handover.or(task.handover);
                let id = task.id;
                self.worker_later(worker, STOPPING, ForWorker::CutOff { task: id });
                // Who was taken out of the group joins it again after that.
                let closes = if handover.is_some() { CLOSING } else { 50 };
                self.worker_later(worker, closes, ForWorker::Close { task: id });
                self.tell(worker, Event::Stop);
            }
            None => {
                if let Some(handover) = handover {
                    self.later(1, Happening::Group(ForGroup::Stopped { handover }));
                }
            }
        }
    }

    fn start_if_owner(&mut self, worker: usize) {
        let delay = self.delay();
        let it = &mut self.workers[worker];
        if it.owns && it.task.is_none() && !it.loading {
            it.loading = true;
            self.worker_later(worker, delay, ForWorker::Load);
        }
    }

    fn start_task(&mut self, worker: usize) {
        self.workers[worker].loading = false;
        if !self.workers[worker].owns || self.workers[worker].task.is_some() {
            return;
        }
        let stored: Stored = self.store.load();
        let settings = Settings {
            producer_id: PRODUCER_ID,
            producer_epoch: 0,
            append_time: true,
            offsets: if self.plan.preserve {
                let on_hole = match self.plan.translate_over {
                    Some(larger_than) => HolePolicy {
                        larger_than,
                        then: OnHole::Translate,
                    },
                    None => HolePolicy::default(),
                };
                OffsetsSpec::Preserve { on_hole }
            } else {
                OffsetsSpec::Translate
            },
            foreign_writes: ForeignWrites::Stop,
            provenance: self.plan.provenance.then(content::provenance),
            filler_timestamp: BEGINNING,
            acks: if self.plan.acks_leader {
                Acks::Leader
            } else {
                Acks::All
            },
            merge_compressed: Merging {
                below: self.plan.merge_below,
                to: 8 * self.plan.merge_below,
            },
            merge_plain: Merging {
                below: 2 * self.plan.merge_below,
                to: 8 * self.plan.merge_below,
            },
            window_bytes: self.plan.window_bytes,
            window_batches: self.plan.window_batches,
            queue_bytes: self.plan.queue_bytes,
        };
        self.trace.note(self.now, || {
            format!("worker {worker} starts from {:?}", stored.anchors.last())
        });
        let (mirror, actions) = PartitionMirror::start(settings, stored);
        self.next_task += 1;
        let id = self.next_task;
        self.workers[worker].task = Some(Task {
            id,
            confirmed: *mirror.confirmed(),
            mirror,
            void: 0,
            began: (0, 0),
            leader: None,
            // As it was applied: the topics that the run began with.
            source_incarnation: 0,
            destination_incarnation: 0,
            tail: None,
            failure: None,
            pad: None,
            ended_at: None,
            caught_up: false,
            handover: None,
            closed: false,
            drains_to: None,
        });
        self.worker_later(worker, TICK, ForWorker::Tick { task: id });
        self.worker_later(worker, CHECK_INTERVAL, ForWorker::CheckEnd { task: id });
        self.carry_out(worker, actions);
        if self.paused {
            self.tell(worker, Event::Pause);
        }
    }

    /// The link wants the mirror paused, or to go on.
    pub fn set_paused(&mut self, paused: bool) {
        if self.paused == paused {
            return;
        }
        self.paused = paused;
        for worker in 0..self.workers.len() {
            if let Some(task) = self.workers[worker].task.as_ref().map(|task| task.id) {
                let delay = self.delay();
                self.worker_later(worker, delay, ForWorker::Obey { task });
            }
        }
    }

    fn drain(&mut self, worker: usize) -> Event {
        let end = self.source.last_stable_offset();
        if let Some(task) = &mut self.workers[worker].task {
            task.drains_to = task.drains_to.or(Some(end));
        }
        Event::Drain
    }

    fn tell_source_end(&mut self, worker: usize, task: u64) {
        let delay = self.delay();
        let end = self.source.last_stable_offset();
        let event = Event::SourceEnd { end };
        self.worker_later(worker, delay, ForWorker::Mirror { task, event });
    }

    /// The state machine takes an event in; what it wants is done.
    pub fn tell(&mut self, worker: usize, event: Event) {
        let Some(task) = &mut self.workers[worker].task else {
            return;
        };
        let often = matches!(
            event,
            Event::Tick | Event::EndSeen { .. } | Event::Watermark { .. } | Event::ReadBack { .. }
        );
        if !often {
            self.trace
                .note(self.now, || format!("worker {worker} <- {}", words(&event)));
        }
        let actions = task.mirror.handle(event);
        let translates =
            |action: &Action| matches!(action, Action::Notify(Notice::Translating { .. }));
        self.judge.translated |= actions.iter().any(translates);
        let catches_up =
            |action: &Action| matches!(action, Action::Notify(Notice::CaughtUp { .. }));
        task.caught_up |= actions.iter().any(catches_up);
        let confirmed = *task.mirror.confirmed();
        if confirmed != task.confirmed {
            task.confirmed = confirmed;
            self.judge.confirmed(&confirmed, &self.source);
        }
        self.carry_out(worker, actions);
        let ended = self.workers[worker]
            .task
            .as_ref()
            .is_some_and(|task| task.mirror.is_stopped());
        if ended {
            self.end_task(worker);
        }
    }

    fn end_task(&mut self, worker: usize) {
        let Some(task) = self.workers[worker].task.take() else {
            return;
        };
        self.trace
            .note(self.now, || format!("worker {worker}'s task has ended"));
        let (copied, drains_to) = (task.confirmed.source_offset, task.drains_to);
        assert!(
            !task.mirror.is_drained()
                || self.judge.source_changed()
                || drains_to.is_some_and(|end| copied >= end),
            "promoted at source offset {copied}, and the source ended at {drains_to:?} when that was asked for"
        );
        if let Some(handover) = task.handover {
            self.later(1, Happening::Group(ForGroup::Stopped { handover }));
        }
        self.start_if_owner(worker);
    }

    fn carry_out(&mut self, worker: usize, actions: Vec<Action>) {
        for action in actions {
            let Some(task) = &mut self.workers[worker].task else {
                return;
            };
            let id = task.id;
            match action {
                Action::ResolveStart => {
                    let delay = self.delay();
                    self.worker_later(worker, delay, ForWorker::FindStart { task: id });
                }
                Action::ReadTail { from, .. } => self.read_tail(worker, from),
                Action::ReadSharedTail { .. } => {
                    unreachable!("nobody else is allowed to write in the simulated world")
                }
                Action::Pad {
                    attempt, from, to, ..
                } => {
                    self.trace.note(self.now, || {
                        format!("worker {worker} -> markers {from}..{to}")
                    });
                    self.pad(worker, attempt, to - from);
                }
                Action::DeleteBefore { offset } => self.delete_before(worker, id, offset),
                Action::AskWatermark { attempt } => {
                    let delay = self.delay();
                    self.worker_later(worker, delay, ForWorker::AskWatermark { task: id, attempt });
                }
                Action::ReadBack { attempt, from } => {
                    let delay = self.delay();
                    let task = id;
                    let what = ForWorker::ReadBack {
                        task,
                        attempt,
                        from,
                    };
                    self.worker_later(worker, delay, what);
                }
                Action::Fetch {
                    attempt,
                    offset,
                    known,
                } => {
                    let asked = Asked {
                        worker,
                        life: self.workers[worker].life,
                        task: id,
                        attempt,
                        offset,
                        known,
                        incarnation: self.workers[worker]
                            .task
                            .as_ref()
                            .map_or(0, |task| task.source_incarnation),
                        polls: 0,
                    };
                    let delay = self.delay();
                    self.later(delay, Happening::FetchSource(asked));
                }
                Action::Send { attempt, batch } => {
                    let job = Job {
                        task: id,
                        attempt,
                        batch: [&batch.header[..], &batch.records[..]].concat().into(),
                        incarnation: task.destination_incarnation,
                    };
                    let leader = task.leader;
                    self.trace.note(self.now, || {
                        format!(
                            "worker {worker} -> send, attempt {attempt}, {} bytes",
                            job.batch.len()
                        )
                    });
                    self.queue_job(worker, leader, job);
                }
                Action::Abandon { attempt } => task.void = task.void.max(attempt - 1),
                Action::Save {
                    anchors,
                    map_chunk,
                    map,
                    alignment,
                    pads_by_transactions,
                } => {
                    self.trace.note(self.now, || {
                        format!("worker {worker} -> save {:?}", anchors.last())
                    });
                    let save = Save {
                        task: id,
                        anchors,
                        map_chunk,
                        map,
                        alignment,
                        pads_by_transactions,
                    };
                    self.save(worker, save);
                }
                Action::AskSourceEnd => {
                    let delay = self.delay();
                    self.worker_later(worker, delay, ForWorker::LookForEnd { task: id });
                }
                Action::Notify(Notice::Failed(failure)) => {
                    self.trace
                        .note(self.now, || format!("worker {worker} FAILED: {failure}"));
                    if failure.is_retried() && matches!(failure, Failure::Call { .. }) {
                        // It is tried again, and settles or fails otherwise.
                        continue;
                    }
                    self.judge.failed(&failure, &self.source);
                    if let Some(task) = &mut self.workers[worker].task {
                        task.failure = Some(failure);
                    }
                }
                Action::Notify(notice) => {
                    self.trace
                        .note(self.now, || format!("worker {worker} -> {notice:?}"));
                }
                Action::Copied { .. } => {}
            }
        }
    }

    /// The source's start and the destination's end, looked for until both are found.
    fn find_start(&mut self, worker: usize, task: u64) {
        let running = self.workers[worker].task.as_ref();
        if running.is_none_or(|running| running.id != task) {
            return;
        }
        let delay = self.delay() + 1;
        let leader = self.destination.settled_leader();
        let end = leader.and_then(|leader| self.destination.brokers[leader].bounds(leader).ok());
        let Some((start, end)) = end else {
            return self.worker_later(worker, 100, ForWorker::FindStart { task });
        };
        let source = self.source.start;
        let destination = LogSpan { start, end };
        let fill = FillWay::Records;
        let event = Event::StartResolved {
            source,
            destination,
            fill,
        };
        self.worker_later(worker, delay, ForWorker::StartFound { task, event });
    }

    fn check_ends(&mut self, worker: usize, task: u64) {
        let running = self.workers[worker].task.as_ref();
        if running.is_none_or(|running| running.id != task) {
            return;
        }
        self.worker_later(worker, CHECK_INTERVAL, ForWorker::CheckEnd { task });
        let Some(leader) = self.destination.settled_leader() else {
            return;
        };
        if let Ok((_, end)) = self.destination.brokers[leader].bounds(leader) {
            let delay = self.delay();
            let event = Event::EndSeen { end };
            self.worker_later(worker, delay, ForWorker::Mirror { task, event });
        }
    }

    pub fn kill_worker(&mut self, worker: usize, stall: u64, away: u64) {
        self.trace
            .note(self.now, || format!("worker {worker} is killed"));
        self.abandon_connections(worker, stall);
        let life = self.workers[worker].life + 1;
        self.workers[worker] = Worker {
            life,
            // Its next life begins when somebody starts it again.
            frozen_until: self.now + away,
            ..Worker::default()
        };
        self.worker_later(worker, away, ForWorker::Renew);
    }

    pub fn freeze_worker(&mut self, worker: usize, until: u64) {
        self.trace.note(self.now, || {
            format!("worker {worker} freezes until {until} ms")
        });
        let frozen = &mut self.workers[worker].frozen_until;
        *frozen = (*frozen).max(until);
    }

    /// Who is frozen wakes when it was to.
    pub fn heal_workers(&mut self) {
        self.group.mistaken = None;
    }

    /// The last task stops in good order.
    pub fn stop_task(&mut self, worker: usize) {
        self.workers[worker].owns = false;
        self.tell(worker, Event::Stop);
    }
}

fn words(event: &Event) -> String {
    match event {
        Event::Fetched(fetched) => format!(
            "fetched {} bytes, attempt {}, stable {}",
            fetched.records.len(),
            fetched.attempt,
            fetched.last_stable_offset
        ),
        Event::Tail(tail) => format!(
            "tail: end {}, next sequence {:?}, last {:?}",
            tail.end,
            tail.producer_next_sequence,
            tail.last.as_ref().map(|last| (
                last.header.base_offset,
                last.header.producer_id,
                last.header.base_sequence,
                last.header.count
            ))
        ),
        Event::Answer {
            attempt,
            answer: Answer::Acknowledged { base_offset },
        } => {
            format!("acknowledged at {base_offset}, attempt {attempt}")
        }
        other => format!("{other:?}"),
    }
}
