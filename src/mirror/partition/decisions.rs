//! Which transactions of the source were decided by markers that an unclean election may take away.
//!
//! Records of a transaction are copied, or left out, because of a marker that lies further on. A leader that was elected uncleanly may
//! hold the records and not the marker: the transaction is open there, and may end the other way. Leader epochs
//! tell where the logs part (KIP-320), which may be behind everything that was copied and before the marker.

use bytes::Bytes;

use crate::mirror::batch::messages::{Entries, Entry};

/// Transactions with records that were read, and the markers that end them as far as these were read. Kept are those of which
/// records or marker lie behind the position.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    transactions: Vec<Transaction>,
}

#[derive(Debug)]
struct Transaction {
    producer_id: i64,
    /// Its first record that was read; what lies before where reading began is not known.
    first: i64,
    marker: Option<i64>,
}

impl Decisions {
    /// Takes in what was read from `position` on. What is decided before `written` cannot change any more without the position
    /// being cut off too. Gives the leader epoch of the last batch; -1 where there is none, or a message of an older format.
    pub fn read(&mut self, records: &Bytes, position: i64, written: i64) -> i32 {
        let mut leader_epoch = -1;
        self.transactions
            .retain(|known| known.marker.is_none_or(|marker| marker >= written));
        for entry in Entries::new(records.clone()).map_while(Result::ok) {
            let Entry::Batch(header, _) = entry else {
                leader_epoch = -1;
                continue;
            };
            leader_epoch = header.leader_epoch;
            if header.next_offset() <= position || !header.is_transactional() {
                continue;
            }
            let producer_id = header.producer_id;
            let open = self
                .transactions
                .iter_mut()
                .find(|known| known.producer_id == producer_id && known.marker.is_none());
            let marker = header.is_control().then_some(header.base_offset);
            match open {
                Some(open) => open.marker = marker,
                None => self.transactions.push(Transaction {
                    producer_id,
                    // A marker alone ends what was read by somebody before.
                    first: if marker.is_some() {
                        i64::MIN
                    } else {
                        header.base_offset
                    },
                    marker,
                }),
            }
        }
        leader_epoch
    }

    /// Whether something before `written` was copied or left out because of a marker at `end` or later.
    pub fn rest_on(&self, end: i64, written: i64) -> bool {
        self.transactions
            .iter()
            .any(|known| known.first < written && known.marker.is_none_or(|marker| marker >= end))
    }

    /// Reading goes on at `position` anew.
    pub fn cut_back(&mut self, position: i64) {
        self.transactions.retain(|known| known.first < position);
        for known in &mut self.transactions {
            known.marker = known.marker.filter(|marker| *marker < position);
        }
    }

    pub fn clear(&mut self) {
        self.transactions.clear();
    }
}
