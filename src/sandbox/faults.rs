//! Faults on demand: what tests ask a sandbox to do wrong.
//!
//! Rules are looked up by API while a request is handled. Faults that are events (a connection
//! dropped, a leader moved) are carried out at once by [`super::Faults`].

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;

use super::lock;

/// What happens to a request whose answer shall not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The connection closes before the request is looked at.
    Request,
    /// The request is carried out, then the connection closes instead of answering.
    Answer,
}

#[derive(Debug)]
struct Countdown {
    api: i16,
    loss: Loss,
    /// The connection is closed at the request that brings this to 0.
    left: u32,
}

#[derive(Debug)]
struct Failure {
    api: i16,
    topic: Option<String>,
    error: ResponseError,
    left: u32,
}

#[derive(Debug, Default)]
struct Rules {
    delays: HashMap<i16, Duration>,
    losses: Vec<Countdown>,
    failures: Vec<Failure>,
}

/// The rules in force in one sandbox.
#[derive(Debug, Default)]
pub struct FaultTable {
    rules: Mutex<Rules>,
}

impl FaultTable {
    pub fn set_delay(&self, api: ApiKey, delay: Duration) {
        let mut rules = lock(&self.rules);
        if delay.is_zero() {
            rules.delays.remove(&(api as i16));
        } else {
            rules.delays.insert(api as i16, delay);
        }
    }

    /// The `nth` request from now on (1: the next one) is lost.
    pub fn lose(&self, api: ApiKey, nth: u32, loss: Loss) {
        lock(&self.rules).losses.push(Countdown {
            api: api as i16,
            loss,
            left: nth.max(1),
        });
    }

    pub fn fail(&self, api: ApiKey, topic: Option<&str>, error: ResponseError, times: u32) {
        lock(&self.rules).failures.push(Failure {
            api: api as i16,
            topic: topic.map(str::to_owned),
            error,
            left: times,
        });
    }

    pub fn clear(&self) {
        *lock(&self.rules) = Rules::default();
    }

    #[must_use]
    pub fn delay_of(&self, api: i16) -> Option<Duration> {
        lock(&self.rules).delays.get(&api).copied()
    }

    /// Counts a request; says whether it is the one to be lost.
    pub fn count(&self, api: i16) -> Option<Loss> {
        let mut rules = lock(&self.rules);
        let mut lost = None;
        rules.losses.retain_mut(|countdown| {
            if countdown.api != api {
                return true;
            }
            countdown.left -= 1;
            if countdown.left == 0 {
                lost = Some(countdown.loss);
            }
            countdown.left > 0
        });
        lost
    }

    /// The error that this item of a request shall get, if any. A rule without a topic fits all.
    pub fn failure(&self, api: ApiKey, topic: Option<&str>) -> Option<ResponseError> {
        let mut rules = lock(&self.rules);
        let at = rules.failures.iter().position(|failure| {
            failure.api == api as i16
                && (failure.topic.is_none() || failure.topic.as_deref() == topic)
        })?;
        let failure = &mut rules.failures[at];
        let error = failure.error;
        failure.left = failure.left.saturating_sub(1);
        if failure.left == 0 {
            rules.failures.remove(at);
        }
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_request_is_lost_once() {
        let table = FaultTable::default();
        table.lose(ApiKey::Produce, 2, Loss::Answer);
        let produce = ApiKey::Produce as i16;
        assert_eq!(table.count(ApiKey::Fetch as i16), None);
        assert_eq!(table.count(produce), None);
        assert_eq!(table.count(produce), Some(Loss::Answer));
        assert_eq!(table.count(produce), None);
    }

    #[test]
    fn failures_are_by_topic_and_run_out() {
        let table = FaultTable::default();
        table.fail(
            ApiKey::Produce,
            Some("a"),
            ResponseError::NotLeaderOrFollower,
            2,
        );
        assert_eq!(table.failure(ApiKey::Produce, Some("b")), None);
        for expected in [Some(ResponseError::NotLeaderOrFollower); 2]
            .into_iter()
            .chain([None])
        {
            assert_eq!(table.failure(ApiKey::Produce, Some("a")), expected);
        }
    }
}
