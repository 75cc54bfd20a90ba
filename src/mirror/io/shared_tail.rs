//! What a destination partition that others write to as well holds of a mirror, once no more of that comes.
//!
//! Its end moves all the time. What has to stay the same for [`SETTLE`] is what the leader remembers of the mirror's producer
//! id, and no batch of the mirror may appear; then everything is looked through that was in the leader's log by then.
//! A leader that forgot the id remembers it again with the first batch.

use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::tail::{LOOK_EVERY, SETTLE, Seen, Trouble, batches, find_leader, look, patiently};
use super::{Route, TopicPartition};
use crate::kafka::Client;
use crate::mirror::batch::BatchHeader;
use crate::mirror::batch::rewrite::sequence_of;
use crate::mirror::partition::{Failure, SharedTail, Span, TailBatch};

/// Bytes of one answer: all that others write is read as well.
const ANSWER_BYTES: i32 = 4 << 20;

/// Finds the mirror's batches from offset `from` on, however long it takes; only what a person must mend ends it otherwise.
///
/// # Errors
/// A failure of the partition.
pub async fn read(
    client: &Client,
    route: &Arc<Route>,
    producer_id: i64,
    from: i64,
) -> Result<SharedTail, Failure> {
    patiently(client, route, || settled(client, route, producer_id, from)).await
}

async fn settled(
    client: &Client,
    route: &Route,
    producer_id: i64,
    from: i64,
) -> Result<SharedTail, Trouble> {
    find_leader(client, route).await?;
    let partition = &route.destination;
    let mut seen = look(client, route, producer_id).await?;
    let mut scan = Scan::new(producer_id, from, &seen);
    scan.go_on(client, partition, &seen).await?;
    let deadline = Instant::now() + 20 * SETTLE;
    let mut since = Instant::now();
    // Where the log ended once nothing of the mirror had changed.
    let mut goal: Option<i64> = None;
    loop {
        sleep(LOOK_EVERY).await;
        let now = look(client, route, producer_id).await?;
        if now.leader_epoch != seen.leader_epoch {
            // Another leader may lack what was seen.
            return Err(Trouble::Moving);
        }
        let came = scan.go_on(client, partition, &now).await?;
        let remembered = (now.next_sequence, now.producer_epoch);
        if came || remembered != (seen.next_sequence, seen.producer_epoch) {
            since = Instant::now();
            goal = None;
        } else {
            let goal_at = *goal.get_or_insert(now.log_end);
            let is_settled = since.elapsed() >= SETTLE && scan.position >= goal_at;
            if is_settled && route.lease.is_held() && scan.agrees_with(&now) {
                // The topic may have been made again since its id was looked at, or be led by another one since.
                let epoch = find_leader(client, route).await?;
                if now.leader_epoch >= 0 && epoch > now.leader_epoch {
                    return Err(Trouble::Moving);
                }
                return Ok(scan.finish(&now));
            }
        }
        seen = now;
        if Instant::now() > deadline {
            return Err(Trouble::Moving);
        }
    }
}

/// A log that is looked through for batches of one producer.
#[derive(Debug)]
struct Scan {
    producer_id: i64,
    from: i64,
    /// The next offset to look at.
    position: i64,
    before: Option<BatchHeader>,
    spans: Vec<Span>,
    last: Option<TailBatch>,
}

impl Scan {
    fn new(producer_id: i64, from: i64, seen: &Seen) -> Self {
        Self {
            producer_id,
            from,
            // A log that lost its end may end before what is known of it.
            position: (from - 1).max(0).min(seen.end),
            before: None,
            spans: Vec::new(),
            last: None,
        }
    }

    /// Looks through what can be read. `true`: there was a batch of the producer.
    async fn go_on(
        &mut self,
        client: &Client,
        partition: &TopicPartition,
        seen: &Seen,
    ) -> Result<bool, Trouble> {
        let mut came = false;
        self.position = self.position.max(seen.start);
        while self.position < seen.end {
            let range = (self.position, ANSWER_BYTES);
            let found = batches(client, partition, seen.leader_epoch, range).await?;
            let Some((last, _)) = found.last() else { break };
            self.position = last.next_offset();
            for (header, batch) in found {
                came |= self.take(header, batch);
            }
        }
        Ok(came)
    }

    fn take(&mut self, header: BatchHeader, batch: bytes::Bytes) -> bool {
        if header.base_offset < self.from {
            if header.next_offset() >= self.from {
                self.before = Some(header);
            }
            return false;
        }
        if header.is_control() || header.producer_id != self.producer_id {
            return false;
        }
        let last = TailBatch::new(header, batch);
        let (base_sequence, count) = (header.base_sequence, last.taken());
        match self.spans.last_mut() {
            Some(span)
                if span.base_offset + span.count == header.base_offset
                    && sequence_of(i64::from(span.base_sequence) + span.count) == base_sequence =>
            {
                span.count += count;
            }
            _ => self.spans.push(Span {
                base_offset: header.base_offset,
                base_sequence,
                count,
            }),
        }
        self.last = Some(last);
        true
    }

    /// Whether the last batch found is the last one that the leader remembers.
    fn agrees_with(&self, seen: &Seen) -> bool {
        match (seen.next_sequence, &self.last) {
            (Some(next), Some(last)) => last.next_sequence() == next,
            _ => true,
        }
    }

    fn finish(self, seen: &Seen) -> SharedTail {
        SharedTail {
            start: seen.start,
            end: self.position,
            before: self.before,
            spans: self.spans,
            last: self.last,
            producer_next_sequence: seen.next_sequence,
            producer_epoch: seen.producer_epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::Compression;

    use super::*;
    use crate::mirror::batch::rewrite::{Stamp, rewritten};
    use crate::mirror::batch::samples;

    fn batch(
        offset: i64,
        records: i64,
        producer_id: i64,
        count: i64,
    ) -> (BatchHeader, bytes::Bytes) {
        let plain = samples::batch(&samples::dense(0, records), Compression::None);
        let header = BatchHeader::parse(&plain).expect("a batch");
        let stamp = Stamp {
            producer_id,
            producer_epoch: 0,
            count,
        };
        let copy = rewritten(&header, &plain, stamp);
        let mut copy = [&copy.header[..], &copy.records[..]].concat();
        copy[..8].copy_from_slice(&offset.to_be_bytes());
        (BatchHeader::parse(&copy).expect("a batch"), copy.into())
    }

    /// Without this, a record would be said to lie where somebody else's does.
    #[test]
    fn batches_of_the_mirror_are_told_from_those_of_others() {
        let seen = Seen {
            start: 0,
            end: 100,
            log_end: 100,
            leader_epoch: 0,
            next_sequence: Some(16),
            producer_epoch: Some(0),
        };
        let mut scan = Scan::new(7, 10, &seen);
        assert_eq!(scan.position, 9);
        for (offset, records, producer_id, count) in [
            (7, 3, 7, 0),
            (10, 2, 7, 3),
            (12, 2, 7, 5),
            (14, 5, 8, 0),
            (19, 3, 7, 7),
            (22, 3, 7, 13),
        ] {
            let (header, bytes) = batch(offset, records, producer_id, count);
            let is_new = scan.take(header, bytes);
            assert_eq!(is_new, producer_id == 7 && offset >= 10);
        }
        assert!(scan.agrees_with(&seen));
        let tail = scan.finish(&seen);
        assert_eq!(tail.before.map(|it| it.base_offset), Some(7));
        let spans: Vec<_> = tail
            .spans
            .iter()
            .map(|span| (span.base_offset, span.base_sequence, span.count))
            .collect();
        assert_eq!(spans, [(10, 3, 4), (19, 7, 3), (22, 13, 3)]);
        assert_eq!(tail.last.map(|it| it.next_sequence()), Some(16));
    }
}
