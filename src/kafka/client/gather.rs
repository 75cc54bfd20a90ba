//! Questions about topics or partitions that are asked at the same time, as one request.
//!
//! When a worker starts, or a broker goes, thousands of partitions look for their leader at once, and an answer names all
//! partitions of a topic: asked one by one, that would be millions of entries. Whoever asks first waits a moment for others; all get
//! what was asked for after they came.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::sleep;

/// How long questions are gathered.
const GATHER: Duration = Duration::from_millis(3);
/// Where questions meet.
#[derive(Debug)]
pub(super) struct Gather<K, T> {
    open: Mutex<Option<Shared<K, T>>>,
    /// What is asked for in one request.
    most: usize,
}

type Shared<K, T> = Arc<Mutex<Round<K, T>>>;

/// What goes into one request.
#[derive(Debug)]
struct Round<K, T> {
    asked: BTreeSet<K>,
    waiting: Vec<oneshot::Sender<T>>,
    is_closed: bool,
}

enum Turn<K, T> {
    Asks(Shared<K, T>),
    Waits(oneshot::Receiver<T>),
}

impl<K: Ord + Clone, T: Clone> Gather<K, T> {
    pub fn of(most: usize) -> Self {
        Self {
            open: Mutex::new(None),
            most,
        }
    }

    /// The answer to a question that is asked after this call, perhaps by somebody else.
    pub async fn ask<F>(&self, key: K, ask: impl Fn(Vec<K>) -> F) -> T
    where
        F: Future<Output = T>,
    {
        loop {
            match self.join(&key) {
                Turn::Asks(round) => {
                    let closes = Closes(&round);
                    sleep(GATHER).await;
                    // Apart: whoever waits for somebody else's answer needs no room for it.
                    let answer = Box::pin(ask(closes.asked())).await;
                    for waiting in closes.waiting() {
                        // Who has gone needs no answer.
                        let _gone = waiting.send(answer.clone());
                    }
                    return answer;
                }
                // Whoever was to ask may be gone before.
                Turn::Waits(answer) => {
                    if let Ok(answer) = answer.await {
                        return answer;
                    }
                }
            }
        }
    }

    fn join(&self, key: &K) -> Turn<K, T> {
        let mut open = self.open.lock().expect("held for bookkeeping only");
        if let Some(round) = &*open {
            let mut round = round.lock().expect("held for bookkeeping only");
            let fits = round.asked.contains(key) || round.asked.len() < self.most;
            if !round.is_closed && fits {
                let (sender, receiver) = oneshot::channel();
                round.asked.insert(key.clone());
                round.waiting.push(sender);
                return Turn::Waits(receiver);
            }
        }
        let round = Arc::new(Mutex::new(Round {
            asked: BTreeSet::from([key.clone()]),
            waiting: Vec::new(),
            is_closed: false,
        }));
        *open = Some(Arc::clone(&round));
        Turn::Asks(round)
    }
}

/// Closes a round, also where whoever was to ask is given up.
struct Closes<'a, K, T>(&'a Mutex<Round<K, T>>);

impl<K: Clone, T> Closes<'_, K, T> {
    /// Nobody joins any more.
    fn asked(&self) -> Vec<K> {
        let mut round = self.0.lock().expect("held for bookkeeping only");
        round.is_closed = true;
        round.asked.iter().cloned().collect()
    }

    fn waiting(&self) -> Vec<oneshot::Sender<T>> {
        let mut round = self.0.lock().expect("held for bookkeeping only");
        std::mem::take(&mut round.waiting)
    }
}

impl<K, T> Drop for Closes<'_, K, T> {
    fn drop(&mut self) {
        if let Ok(mut round) = self.0.lock() {
            round.is_closed = true;
            round.waiting.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without this, ten thousand partitions that start would ask for the leaders of all of them ten thousand times.
    #[tokio::test(start_paused = true)]
    async fn what_is_asked_at_once_is_asked_once() {
        let (gather, asked) = (Gather::of(100), Mutex::new(Vec::new()));
        let ask = |topic: String| {
            let (gather, asked) = (&gather, &asked);
            async move {
                let ask = |topics: Vec<String>| async move {
                    asked.lock().expect("a test").push(topics.len());
                    sleep(Duration::from_millis(20)).await;
                    Arc::new(topics)
                };
                let answer = gather.ask(topic.clone(), ask).await;
                assert!(answer.contains(&topic));
            }
        };
        let all = (0..1_500).map(|n| ask(format!("topic-{}", n / 10)));
        futures::future::join_all(all).await;
        assert_eq!(*asked.lock().expect("a test"), [100, 50]);
        // What was answered before is old.
        ask("topic-0".to_owned()).await;
        assert_eq!(asked.lock().expect("a test").len(), 3);
    }

    /// Without this, a partition whose neighbour is stopped in this moment would wait for ever.
    #[tokio::test(start_paused = true)]
    async fn somebody_else_asks_where_the_first_one_is_given_up() {
        for given_up_after in [1, 10] {
            let gather = Gather::of(100);
            let ask = |_| async {
                sleep(Duration::from_millis(20)).await;
            };
            let given_up = Duration::from_millis(given_up_after);
            let first = tokio::time::timeout(given_up, gather.ask("a", ask));
            let second = async {
                tokio::task::yield_now().await;
                gather.ask("a", ask).await;
            };
            let (first, ()) = tokio::join!(first, second);
            assert!(first.is_err());
        }
    }
}
