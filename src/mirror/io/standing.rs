//! Partitions that have nothing to read, asked for together.
//!
//! One fetch session a broker carries them all (KIP-227): a partition's wish stands until there is something to read, and
//! neither the broker nor the partition hears of it again before that. The broker holds such a request back for seconds, and
//! while it does nobody can join. So who has just become quiet is asked for on a lane of its own meanwhile, only as long
//! as the session's answer takes; then both are back at the same time, and one waits for the other if it is a matter of
//! milliseconds.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::reader::Wanted;
use crate::kafka::Connection;
use crate::kafka::fetch::FetchedPartition;
use crate::kafka::fetch::session::FetchSession;

/// How long a broker waits for records of partitions that had none the last time.
const POLL: Duration = Duration::from_secs(2);
/// As long, where an answer is overdue and says nothing about when the next is.
const UNSURE_POLL: Duration = Duration::from_millis(500);
/// What is due within this time is waited for.
const SOON: Duration = Duration::from_millis(20);
/// Bytes of one partition in one answer. Who has more is asked for apart from the others after that.
pub const PIECE: usize = 256 << 10;

/// What is kept at a broker, and the connection it belongs to.
#[derive(Debug, Default)]
pub struct Line {
    pub session: FetchSession,
    pub connection: Option<Connection>,
}

/// The wishes of all partitions of a broker that have nothing to read.
#[derive(Debug)]
pub struct Standing {
    wishes: HashMap<(String, i32), Wanted>,
    /// `None` while a request is on its way.
    line: Option<Line>,
    /// When the answer to the last request is due, or was.
    due: Instant,
    /// Wishes that were taken back during a request.
    left: Vec<Wanted>,
}

/// Whether to ask now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Ask, and let the broker wait for so long.
    Ask(Duration),
    /// Others are back by then, and had better come along.
    Wait(Instant),
}

/// When to ask, where the answer that others wait for is due at `others`.
fn turn(now: Instant, others: Option<Instant>) -> Turn {
    match others {
        None => Turn::Ask(POLL),
        Some(due) if now > due + SOON => Turn::Ask(UNSURE_POLL),
        Some(due) if now + SOON > due => Turn::Wait(due + SOON),
        Some(due) => Turn::Ask((due - now).min(POLL)),
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            wishes: HashMap::new(),
            line: Some(Line::default()),
            due: Instant::now(),
            left: Vec::new(),
        }
    }
}

impl Standing {
    pub fn is_free(&self) -> bool {
        self.line.is_some()
    }

    /// How many stand.
    pub fn count(&self) -> usize {
        self.wishes.len()
    }

    /// How those are asked for that cannot join now.
    pub fn turn_of_others(&self, now: Instant) -> Turn {
        turn(now, (!self.is_free()).then_some(self.due))
    }

    /// When to ask for those that stand, if any do; the first answer to others of their kind is due at `others`.
    pub fn turn(&mut self, now: Instant, others: Option<Instant>) -> Option<Turn> {
        let line = self.line.as_mut()?;
        self.wishes.retain(|_, wanted| {
            let gone = wanted.events.is_closed();
            if gone {
                forget(line, wanted);
            }
            !gone
        });
        (!self.wishes.is_empty()).then(|| turn(now, others))
    }

    /// Takes a wish in, unless another mirror of the same partition stands already: a session has one offset for each.
    /// Only between two requests.
    pub fn join(&mut self, wanted: Wanted) -> Option<Wanted> {
        let Some(line) = &mut self.line else {
            return Some(wanted);
        };
        let key = (wanted.source.topic.clone(), wanted.source.partition);
        match self.wishes.entry(key) {
            Entry::Occupied(other) if !other.get().events.same_channel(&wanted.events) => {
                return Some(wanted);
            }
            // An old wish that came back late.
            Entry::Occupied(other) if other.get().attempt > wanted.attempt => {}
            Entry::Occupied(mut other) => {
                if other.get().source != wanted.source {
                    forget(line, other.get());
                }
                line.session.set(wanted.asks(PIECE));
                other.insert(wanted);
            }
            Entry::Vacant(place) => {
                line.session.set(wanted.asks(PIECE));
                place.insert(wanted);
            }
        }
        None
    }

    /// A partition asks anew: what it asked for before does not stand any more.
    pub fn withdraw(&mut self, by: &Wanted) {
        if self.wishes.is_empty() {
            return;
        }
        let key = (by.source.topic.clone(), by.source.partition);
        if let Entry::Occupied(other) = self.wishes.entry(key)
            && other.get().events.same_channel(&by.events)
        {
            let former = other.remove();
            match &mut self.line {
                Some(line) => forget(line, &former),
                None => self.left.push(former),
            }
        }
    }

    /// The wish of a partition that was answered, where that is what it stood for; it stands no longer.
    pub fn take_if(
        &mut self,
        topic: &str,
        partition: i32,
        is_answered: impl FnOnce(&Wanted) -> bool,
    ) -> Option<Wanted> {
        match self.wishes.entry((topic.to_owned(), partition)) {
            Entry::Occupied(wish) if is_answered(wish.get()) => {
                let wanted = wish.remove();
                if let Some(line) = &mut self.line {
                    forget(line, &wanted);
                }
                Some(wanted)
            }
            _ => None,
        }
    }

    /// The wishes that an answer says nothing about.
    pub fn take_all_but(&mut self, answered: &[FetchedPartition]) -> Vec<Wanted> {
        let answered: HashSet<(&str, i32)> = answered
            .iter()
            .map(|found| (found.topic.as_str(), found.partition))
            .collect();
        let is_missing =
            |key: &(String, i32), _: &mut Wanted| !answered.contains(&(key.0.as_str(), key.1));
        let missing: Vec<Wanted> = self
            .wishes
            .extract_if(is_missing)
            .map(|(_, wanted)| wanted)
            .collect();
        if let Some(line) = &mut self.line {
            for wanted in &missing {
                forget(line, wanted);
            }
        }
        missing
    }

    /// A request leaves, whose answer is due after `wait`.
    pub fn depart(&mut self, now: Instant, wait: Duration) -> Option<Line> {
        self.due = now + wait;
        self.line.take()
    }

    /// The request was answered.
    pub fn is_back(&mut self, mut line: Line) {
        for wanted in self.left.drain(..) {
            forget(&mut line, &wanted);
        }
        self.line = Some(line);
    }

    /// The request failed: nobody stands any more.
    pub fn is_lost(&mut self) -> Vec<Wanted> {
        self.left.clear();
        self.line = Some(Line::default());
        self.wishes.drain().map(|(_, wanted)| wanted).collect()
    }
}

fn forget(line: &mut Line, wanted: &Wanted) {
    let source = &wanted.source;
    line.session
        .forget(&source.topic, source.topic_id, source.partition);
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::kafka::Buffers;
    use crate::mirror::io::share::Share;
    use crate::mirror::io::{Events, TopicPartition};
    use crate::mirror::partition::KnownEpoch;

    fn wanted(topic: &str, offset: i64, attempt: u64, events: &Events) -> Wanted {
        Wanted::new(
            TopicPartition {
                topic: topic.to_owned(),
                topic_id: Uuid::nil(),
                partition: 0,
            },
            attempt,
            offset,
            KnownEpoch::NONE,
            events.clone(),
            Share::new(Buffers::new(1 << 20), std::sync::Arc::default()),
        )
    }

    fn offset_of(standing: &Standing, topic: &str) -> Option<i64> {
        let wish = standing.wishes.get(&(topic.to_owned(), 0));
        wish.map(|wanted| wanted.offset)
    }

    /// Without this, who has just become quiet would wait for seconds without being asked for, or never join.
    #[test]
    fn those_that_join_come_back_together_with_those_that_stand() {
        let now = Instant::now();
        let ms = Duration::from_millis;
        assert_eq!(turn(now, None), Turn::Ask(POLL));
        assert_eq!(turn(now, Some(now + ms(700))), Turn::Ask(ms(700)));
        assert_eq!(turn(now, Some(now + ms(9_000))), Turn::Ask(POLL));
        assert_eq!(turn(now, Some(now + ms(5))), Turn::Wait(now + ms(5) + SOON));
        // A little late is waited for, but not for ever.
        assert_eq!(turn(now + ms(10), Some(now)), Turn::Wait(now + SOON));
        assert_eq!(turn(now + ms(21), Some(now)), Turn::Ask(UNSURE_POLL));
    }

    /// Without this, a partition would get records from where it read before, or those of another mirror of the same
    /// topic.
    #[test]
    fn the_newest_wish_of_one_mirror_stands() {
        let (first, _keep) = Events::channel();
        let (second, _keep) = Events::channel();
        let mut standing = Standing::default();
        assert!(standing.join(wanted("a", 10, 2, &first)).is_none());
        let other = standing.join(wanted("a", 500, 7, &second));
        assert_eq!(other.map(|it| it.offset), Some(500));
        // One that came back late, and a newer one.
        assert!(standing.join(wanted("a", 4, 1, &first)).is_none());
        assert_eq!(offset_of(&standing, "a"), Some(10));
        assert!(standing.join(wanted("a", 40, 3, &first)).is_none());
        assert_eq!(offset_of(&standing, "a"), Some(40));
        standing.withdraw(&wanted("a", 0, 0, &second));
        assert_eq!(offset_of(&standing, "a"), Some(40));
        standing.withdraw(&wanted("a", 0, 0, &first));
        assert_eq!(standing.count(), 0);
    }

    /// Without this, what was taken back while the broker held the request would be asked for without end.
    #[test]
    fn what_changes_during_a_request_is_said_with_the_next() {
        let now = Instant::now();
        let (events, keep) = Events::channel();
        let mut standing = Standing::default();
        assert_eq!(standing.turn(now, None), None);
        standing.join(wanted("a", 1, 1, &events));
        standing.join(wanted("b", 1, 1, &events));
        assert_eq!(standing.turn(now, None), Some(Turn::Ask(POLL)));
        let line = standing.depart(now, POLL).expect("it is free");
        assert!(!standing.is_free());
        assert_eq!(standing.turn_of_others(now), Turn::Ask(POLL));
        assert!(standing.join(wanted("c", 1, 1, &events)).is_some());
        standing.withdraw(&wanted("a", 1, 1, &events));
        standing.is_back(line);
        let line = standing.depart(now, POLL).expect("it is free");
        assert_eq!(line.session.count(), 1);
        standing.is_back(line);
        // The partition ended.
        drop(keep);
        assert_eq!(standing.turn(now, None), None);
        let line = standing.depart(now, POLL).expect("it is free");
        assert_eq!(line.session.count(), 0);
    }
}
