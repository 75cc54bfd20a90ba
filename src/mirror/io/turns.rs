//! Whose batches go into the next request.
//!
//! A request carries one batch a partition, and a broker works off the requests of a connection one after the other. If every
//! partition took part in every request, one that catches up with large batches would set the pace for one that is live:
//! a few hundred requests a second are few for a partition with a thousand small batches a second. So turns go by
//! bytes: who has sent more than another one that waits lets that one send first.

use std::collections::{BTreeSet, HashMap, VecDeque};

/// Who is no further ahead than this takes part all the same: partitions that are alike share their requests.
const QUANTUM: u64 = 64 << 10;

/// What waits to be sent, by whom it belongs to.
#[derive(Debug)]
pub struct Turns<T> {
    queues: HashMap<u64, Queue<T>>,
    /// All that have something waiting, by bytes sent.
    by_sent: BTreeSet<(u64, u64)>,
}

#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<(T, usize)>,
    /// Bytes, counted from where the others were when it began to wait.
    sent: u64,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self {
            queues: HashMap::new(),
            by_sent: BTreeSet::new(),
        }
    }
}

impl<T> Turns<T> {
    pub fn is_empty(&self) -> bool {
        self.by_sent.is_empty()
    }

    /// Puts an item behind the others of the same owner.
    pub fn push(&mut self, owner: u64, item: T, bytes: usize) {
        let least = self.by_sent.first().map_or(0, |(sent, _)| *sent);
        let queue = self.queues.entry(owner).or_insert_with(|| {
            self.by_sent.insert((least, owner));
            Queue {
                waiting: VecDeque::new(),
                sent: least,
            }
        });
        queue.waiting.push_back((item, bytes));
    }

    /// Whose turn it is, those first that have sent least.
    pub fn next_round(&self) -> Vec<u64> {
        let Some((least, _)) = self.by_sent.first() else {
            return Vec::new();
        };
        let in_turn = ..=(least + QUANTUM, u64::MAX);
        self.by_sent
            .range(in_turn)
            .map(|(_, owner)| *owner)
            .collect()
    }

    /// The owner's next item, which counts as sent.
    pub fn pop(&mut self, owner: u64) -> Option<T> {
        let queue = self.queues.get_mut(&owner)?;
        let (item, bytes) = queue.waiting.pop_front()?;
        self.by_sent.remove(&(queue.sent, owner));
        queue.sent += bytes as u64;
        if queue.waiting.is_empty() {
            self.queues.remove(&owner);
        } else {
            self.by_sent.insert((queue.sent, owner));
        }
        Some(item)
    }

    /// Everything that waits, each owner's in order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.by_sent.clear();
        let queues = self.queues.drain();
        queues
            .flat_map(|(_, queue)| queue.waiting)
            .map(|(item, _)| item)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LARGE: usize = 256 << 10;

    /// Pops one item of each whose turn it is.
    fn round(turns: &mut Turns<u32>) -> Vec<u64> {
        let owners = turns.next_round();
        for owner in &owners {
            turns.pop(*owner).expect("it waits");
        }
        owners
    }

    /// Without this, a live topic with small batches would fall behind for as long as another one catches up.
    #[test]
    fn small_batches_do_not_go_at_the_pace_of_large_ones() {
        let mut turns = Turns::default();
        for n in 0..100 {
            turns.push(1, n, LARGE);
            turns.push(2, n, LARGE);
        }
        for _ in 0..10 {
            assert_eq!(round(&mut turns), [1, 2]);
        }
        for n in 0..150 {
            turns.push(3, n, 1_000);
        }
        let mut large = 0;
        let mut rounds = 0;
        while turns.queues.contains_key(&3) {
            large += round(&mut turns)
                .iter()
                .filter(|owner| **owner != 3)
                .count();
            rounds += 1;
        }
        assert_eq!(rounds, 150);
        assert!(large <= 2, "{large}");
        // And they hold up nobody once they are sent.
        assert_eq!(round(&mut turns), [1, 2]);
    }

    /// Without this, a partition that was idle would keep all others waiting when it wakes up.
    #[test]
    fn idleness_is_no_credit() {
        let mut turns = Turns::default();
        for n in 0..100 {
            turns.push(1, n, LARGE);
        }
        for _ in 0..50 {
            round(&mut turns);
        }
        for n in 0..100 {
            turns.push(2, n, LARGE);
        }
        for _ in 0..10 {
            assert_eq!(round(&mut turns).len(), 2);
        }
    }

    proptest! {
        #[test]
        fn everything_is_sent_once_and_in_order(
            pushed in proptest::collection::vec((0_u64..5, 1_usize..500_000), 0..200),
            every in 1_usize..10,
        ) {
            let mut turns = Turns::default();
            let mut got: HashMap<u64, Vec<usize>> = HashMap::new();
            let mut pop_round = |turns: &mut Turns<usize>| {
                for owner in turns.next_round() {
                    got.entry(owner).or_default().push(turns.pop(owner).expect("it waits"));
                }
            };
            for (n, (owner, bytes)) in pushed.iter().enumerate() {
                turns.push(*owner, n, *bytes);
                if n % every == 0 {
                    pop_round(&mut turns);
                }
            }
            while !turns.is_empty() {
                pop_round(&mut turns);
            }
            for owner in 0..5 {
                let of_owner = pushed.iter().enumerate().filter(|(_, (of, _))| *of == owner);
                let expected: Vec<usize> = of_owner.map(|(n, _)| n).collect();
                prop_assert_eq!(got.remove(&owner).unwrap_or_default(), expected);
            }
        }
    }
}
