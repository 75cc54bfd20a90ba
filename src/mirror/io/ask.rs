//! What the next fetch asks for: a decision, apart from any socket.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::reader::Wanted;
use super::share::Pace;
use crate::kafka::{Buffers, Reservation};

/// Bytes of one answer; of one for partitions that had nothing the last time; and what an answer has besides records.
const ANSWER_BYTES: usize = 32 << 20;
const QUIET_ANSWER_BYTES: usize = 1 << 20;
const ANSWER_FRAME_BYTES: usize = 64 << 10;
/// Bytes of one partition without records in an answer, and some more.
const PARTITION_BYTES: usize = 128;

/// What one request asks for, with the bytes of each partition, and the memory for the answer.
#[derive(Debug)]
pub struct Asked {
    pub wanted: Vec<(Wanted, usize)>,
    /// Whether none of them had anything the last time.
    pub quiet: bool,
    pub memory: Reservation,
}

/// Why partitions that ask are not asked for, although a lane is free.
#[derive(Clone, Copy, Debug)]
pub enum Rest {
    Nothing,
    WaitsForMemory,
    /// By the limits of their links, until then; others may wait for memory.
    HeldUp(Instant),
}

impl Rest {
    /// Both reasons.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Nothing, other) => other,
            (this, Self::Nothing) => this,
            (Self::HeldUp(this), Self::HeldUp(other)) => Self::HeldUp(this.min(other)),
            (Self::HeldUp(until), _) | (_, Self::HeldUp(until)) => Self::HeldUp(until),
            (Self::WaitsForMemory, Self::WaitsForMemory) => Self::WaitsForMemory,
        }
    }
}

/// The wishes of one request, which may name a partition only once: a broker answers the last of several, and
/// nothing in its answer tells which. Mirrors of one topic are at different offsets, so one of them would
/// step over records. A wish that the same partition replaced by a newer one is void.
fn take_distinct(waiting: &mut Vec<Wanted>) -> Vec<Wanted> {
    let mut places: HashMap<(String, i32), usize> = HashMap::new();
    let mut taken: Vec<Wanted> = Vec::new();
    for wanted in std::mem::take(waiting) {
        let key = (wanted.source.topic.clone(), wanted.source.partition);
        let place = *places.entry(key).or_insert(taken.len());
        match taken.get_mut(place) {
            None => taken.push(wanted),
            Some(other) if !other.events.same_channel(&wanted.events) => waiting.push(wanted),
            Some(other) if other.attempt < wanted.attempt => *other = wanted,
            Some(_) => {}
        }
    }
    taken
}

/// What the next request asks for: all that have something to read, or all that had nothing the last time, or on the
/// last free lane both. Those that hold least come first, as an answer is filled in that order. What has to wait for
/// memory, for its link's limit, or for another lane, stays in `waiting`.
pub fn choose(
    waiting: &mut Vec<Wanted>,
    buffers: &Arc<Buffers>,
    last_lane: bool,
) -> Result<Asked, Rest> {
    let now = Instant::now();
    let mut able: Vec<(Wanted, usize)> = Vec::new();
    let mut held_up: Option<Duration> = None;
    for wanted in take_distinct(waiting) {
        let share = &wanted.share;
        let asks = share.pace(Pace::asks);
        match share.throttle().admit(asks, now) {
            Ok(bytes) => match share.allowance(bytes) {
                Some(bytes) => able.push((wanted, bytes)),
                None => waiting.push(wanted),
            },
            Err(wait) => {
                held_up = Some(held_up.map_or(wait, |other| other.min(wait)));
                waiting.push(wanted);
            }
        }
    }
    let rest = held_up.map_or(Rest::WaitsForMemory, |wait| Rest::HeldUp(now + wait));
    let is_quiet = |wanted: &Wanted| wanted.share.pace(|pace| pace.is_quiet());
    let quiet = able.iter().all(|(wanted, _)| is_quiet(wanted));
    if !quiet && !last_lane {
        let (others, busy) = able.into_iter().partition(|(wanted, _)| is_quiet(wanted));
        able = busy;
        waiting.extend(others.into_iter().map(|(wanted, _)| wanted));
    }
    able.sort_by_cached_key(|(wanted, _)| wanted.share.held());
    let most = if quiet {
        QUIET_ANSWER_BYTES
    } else {
        ANSWER_BYTES.min(buffers.limit() / 8)
    };
    if !quiet && !last_lane {
        // What would not fit comes with another request, at the same time.
        let mut asked = 0;
        let fitting = able.iter().take_while(|(_, bytes)| {
            asked += bytes;
            asked <= most
        });
        let others = able.split_off(fitting.count().max(1).min(able.len()));
        waiting.extend(others.into_iter().map(|(wanted, _)| wanted));
    }
    let bytes: usize = able.iter().map(|(_, bytes)| bytes).sum();
    let wish = bytes.min(most) + ANSWER_FRAME_BYTES;
    // Others may take something in between; then it is tried again when they give it back.
    let memory = match able.first() {
        Some(_) => buffers.reserve(wish).or_else(|| {
            let left = buffers.free().min(wish);
            (left > ANSWER_FRAME_BYTES)
                .then(|| buffers.reserve(left))
                .flatten()
        }),
        None => None,
    };
    let Some(memory) = memory else {
        waiting.extend(able.into_iter().map(|(wanted, _)| wanted));
        return Err(rest);
    };
    Ok(Asked {
        wanted: able,
        quiet,
        memory,
    })
}

/// The memory for an answer about so many partitions that most likely have nothing to read.
pub fn quiet_answer(buffers: &Arc<Buffers>, partitions: usize) -> Option<Reservation> {
    // Each broker's is held all the time.
    let records = QUIET_ANSWER_BYTES.min(buffers.limit() / 64);
    buffers.reserve(records + partitions * PARTITION_BYTES + ANSWER_FRAME_BYTES)
}

/// The bytes of records that an answer under this reservation may have.
pub fn records_in(memory: &Reservation) -> usize {
    memory.bytes() - ANSWER_FRAME_BYTES
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::mirror::io::share::{MOST, Piece, Share};
    use crate::mirror::io::throttle::Throttle;
    use crate::mirror::io::{Events, TopicPartition};
    use crate::mirror::partition::KnownEpoch;

    fn wanted(topic: &str, offset: i64, attempt: u64, events: &Events) -> Wanted {
        let source = TopicPartition {
            topic: topic.to_owned(),
            topic_id: Uuid::nil(),
            partition: 0,
        };
        let share = Share::new(Buffers::new(1 << 20), Arc::default());
        Wanted::new(
            source,
            attempt,
            offset,
            KnownEpoch::NONE,
            events.clone(),
            share,
        )
    }

    /// Without this, of two mirrors of one topic one would get the records that the other asked for.
    #[test]
    fn a_request_names_a_partition_once() {
        let (first, _keep) = Events::channel();
        let (second, _keep) = Events::channel();
        let mut waiting = vec![
            wanted("a", 0, 5, &first),
            wanted("a", 1000, 2, &second),
            wanted("b", 7, 1, &second),
            // In any order: the newer attempt of the same partition counts.
            wanted("a", 40, 6, &first),
            wanted("a", 900, 1, &second),
        ];
        let offsets =
            |wishes: &[Wanted]| -> Vec<i64> { wishes.iter().map(|wanted| wanted.offset).collect() };
        assert_eq!(offsets(&take_distinct(&mut waiting)), [40, 7]);
        assert_eq!(offsets(&take_distinct(&mut waiting)), [1000]);
        assert!(waiting.is_empty());
    }

    fn names(asked: &Asked) -> Vec<&str> {
        asked
            .wanted
            .iter()
            .map(|(wanted, _)| wanted.source.topic.as_str())
            .collect()
    }

    fn of(
        topic: &str,
        events: &Events,
        buffers: &Arc<Buffers>,
        throttle: &Arc<Throttle>,
    ) -> Wanted {
        let mut wanted = wanted(topic, 0, 1, events);
        wanted.share = Share::new(Arc::clone(buffers), Arc::clone(throttle));
        wanted
    }

    /// Without this, a busy partition would be asked for together with thousands of idle ones, or come after one that
    /// catches up.
    #[test]
    fn who_has_records_is_asked_for_apart_and_who_holds_least_first() {
        let (events, _keep) = Events::channel();
        let buffers = Buffers::new(256 << 20);
        let make = |topic| of(topic, &events, &buffers, &Arc::default());
        let (idle, behind, live) = (make("idle"), make("behind"), make("live"));
        idle.share.pace(|pace| {
            pace.answered(Piece {
                asked: 1 << 20,
                bytes: 0,
                more: false,
                held: 0,
                round_trip: Duration::ZERO,
            });
        });
        let _held = behind.share.hold(Bytes::from(vec![0; 1 << 20]), 1 << 20);
        let mut waiting = vec![idle, behind, live];
        let asked = choose(&mut waiting, &buffers, false).expect("something to ask for");
        assert_eq!(
            (names(&asked), asked.quiet),
            (vec!["live", "behind"], false)
        );
        let rest = choose(&mut waiting, &buffers, false).expect("something to ask for");
        assert_eq!((names(&rest), rest.quiet), (vec!["idle"], true));
        assert!(rest.memory.bytes() < asked.memory.bytes());
        // On the last lane nobody waits for another one.
        waiting.extend(
            asked
                .wanted
                .into_iter()
                .chain(rest.wanted)
                .map(|(wanted, _)| wanted),
        );
        let all = choose(&mut waiting, &buffers, true).expect("something to ask for");
        assert_eq!(all.wanted.len(), 3);
    }

    /// Without this, waiting for records at many brokers would take the memory of those that have some.
    #[test]
    fn to_wait_takes_little_memory() {
        let buffers = Buffers::new(16 << 20);
        let waiting = || quiet_answer(&buffers, 100).expect("there is room");
        let _all: Vec<Reservation> = (0..20).map(|_| waiting()).collect();
        assert!(buffers.free() > 8 << 20, "{}", buffers.free());
    }

    /// Without this, of several partitions that catch up from far away some would get nothing from each answer.
    #[test]
    fn a_request_asks_for_no_more_than_its_answer_may_have() {
        let (events, _keep) = Events::channel();
        let buffers = Buffers::new(256 << 20);
        let make = |topic| of(topic, &events, &buffers, &Arc::default());
        let mut waiting: Vec<Wanted> = ["a", "b", "c"].map(make).into();
        for wanted in &waiting {
            let far = |held| Piece {
                asked: MOST,
                bytes: MOST,
                more: true,
                held,
                round_trip: Duration::from_millis(100),
            };
            wanted.share.pace(|pace| {
                while pace.asks() < MOST {
                    pace.answered(far(0));
                }
            });
        }
        let asked = choose(&mut waiting, &buffers, false).expect("something to ask for");
        assert_eq!(asked.wanted.len(), 2);
        let rest = choose(&mut waiting, &buffers, false).expect("something to ask for");
        assert_eq!(rest.wanted.len(), 1);
        assert!(waiting.is_empty());
        // Nobody is left out on the last lane, and one that asks for more than that is asked for alone.
        waiting.extend(asked.wanted.into_iter().chain(rest.wanted).map(|it| it.0));
        drop((asked.memory, rest.memory));
        let all = choose(&mut waiting, &buffers, true).expect("something to ask for");
        assert_eq!(all.wanted.len(), 3);
    }

    /// Without this, a link at its limit, or a partition whose destination is away, would hold up all others.
    #[test]
    fn who_has_to_wait_does_not_hold_up_others() {
        let (events, _keep) = Events::channel();
        let buffers = Buffers::new(256 << 20);
        let slow = Arc::new(Throttle::default());
        slow.set(Some(1e6), Instant::now());
        slow.spend(1_000_000, Instant::now());
        let limited = of("limited", &events, &buffers, &slow);
        let stuck = of("stuck", &events, &buffers, &Arc::default());
        let _held = stuck.share.hold(Bytes::from(vec![0; 200 << 20]), 0);
        let free = of("free", &events, &buffers, &Arc::default());
        let mut waiting = vec![limited, stuck, free];
        let asked = choose(&mut waiting, &buffers, false).expect("something to ask for");
        assert_eq!(names(&asked), ["free"]);
        assert_eq!(waiting.len(), 2);
        assert!(matches!(
            choose(&mut waiting, &buffers, false),
            Err(Rest::HeldUp(_))
        ));
        waiting.retain(|wanted| wanted.source.topic == "stuck");
        assert!(matches!(
            choose(&mut waiting, &buffers, false),
            Err(Rest::WaitsForMemory)
        ));
    }
}
