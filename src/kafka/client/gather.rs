//! Questions about topics that are asked at the same time, as one request.
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
/// Topics of one request.
const MOST: usize = 100;

/// Where questions meet.
#[derive(Debug)]
pub(super) struct Gather<T> {
    open: Mutex<Option<Arc<Mutex<Round<T>>>>>,
}

/// What goes into one request.
#[derive(Debug)]
struct Round<T> {
    topics: BTreeSet<String>,
    waiting: Vec<oneshot::Sender<T>>,
    is_closed: bool,
}

impl<T> Default for Gather<T> {
    fn default() -> Self {
        Self {
            open: Mutex::new(None),
        }
    }
}

enum Turn<T> {
    Asks(Arc<Mutex<Round<T>>>),
    Waits(oneshot::Receiver<T>),
}

impl<T: Clone> Gather<T> {
    /// The answer to a question that is asked after this call, perhaps by somebody else.
    pub async fn ask<F>(&self, topic: &str, ask: impl Fn(Vec<String>) -> F) -> T
    where
        F: Future<Output = T>,
    {
        loop {
            match self.join(topic) {
                Turn::Asks(round) => {
                    let closes = Closes(&round);
                    sleep(GATHER).await;
                    let topics = closes.topics();
                    let answer = ask(topics).await;
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

    fn join(&self, topic: &str) -> Turn<T> {
        let mut open = self.open.lock().expect("held for bookkeeping only");
        if let Some(round) = &*open {
            let mut round = round.lock().expect("held for bookkeeping only");
            let fits = round.topics.contains(topic) || round.topics.len() < MOST;
            if !round.is_closed && fits {
                let (sender, receiver) = oneshot::channel();
                round.topics.insert(topic.to_owned());
                round.waiting.push(sender);
                return Turn::Waits(receiver);
            }
        }
        let round = Arc::new(Mutex::new(Round {
            topics: BTreeSet::from([topic.to_owned()]),
            waiting: Vec::new(),
            is_closed: false,
        }));
        *open = Some(Arc::clone(&round));
        Turn::Asks(round)
    }
}

/// Closes a round, also where whoever was to ask is given up.
struct Closes<'a, T>(&'a Mutex<Round<T>>);

impl<T> Closes<'_, T> {
    /// Nobody joins any more.
    fn topics(&self) -> Vec<String> {
        let mut round = self.0.lock().expect("held for bookkeeping only");
        round.is_closed = true;
        round.topics.iter().cloned().collect()
    }

    fn waiting(&self) -> Vec<oneshot::Sender<T>> {
        let mut round = self.0.lock().expect("held for bookkeeping only");
        std::mem::take(&mut round.waiting)
    }
}

impl<T> Drop for Closes<'_, T> {
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
        let (gather, asked) = (Gather::default(), Mutex::new(Vec::new()));
        let ask = |topic: String| {
            let (gather, asked) = (&gather, &asked);
            async move {
                let ask = |topics: Vec<String>| async move {
                    asked.lock().expect("a test").push(topics.len());
                    sleep(Duration::from_millis(20)).await;
                    Arc::new(topics)
                };
                let answer = gather.ask(&topic, ask).await;
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
            let gather = Gather::default();
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
