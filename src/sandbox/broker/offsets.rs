//! The offsets that a group has committed, and those that wait for a transaction to end.

use std::collections::BTreeMap;

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// Topic and partition.
pub type Place = (String, i32);

/// Kafka's default of `offset.metadata.max.bytes`.
pub const MAX_METADATA: usize = 4096;

/// One group's offsets.
#[derive(Clone, Debug, Default)]
pub struct Offsets {
    committed: BTreeMap<Place, Committed>,
    /// By producer id.
    pending: BTreeMap<i64, BTreeMap<Place, Committed>>,
}

impl Offsets {
    pub fn commit(&mut self, place: Place, committed: Committed) {
        self.committed.insert(place, committed);
    }

    /// Keeps a commit until the producer's transaction ends.
    pub fn commit_pending(&mut self, producer_id: i64, place: Place, committed: Committed) {
        self.pending
            .entry(producer_id)
            .or_default()
            .insert(place, committed);
    }

    /// The producer's transaction has ended.
    pub fn end_transaction(&mut self, producer_id: i64, commit: bool) {
        let pending = self.pending.remove(&producer_id).unwrap_or_default();
        if commit {
            self.committed.extend(pending);
        }
    }

    #[must_use]
    pub fn get(&self, place: &Place) -> Option<&Committed> {
        self.committed.get(place)
    }

    #[must_use]
    pub fn is_pending(&self, place: &Place) -> bool {
        self.pending
            .values()
            .any(|places| places.contains_key(place))
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Place, &Committed)> {
        self.committed.iter()
    }

    pub fn delete(&mut self, place: &Place) {
        self.committed.remove(place);
    }

    /// Forgets a topic that was deleted.
    pub fn delete_topic(&mut self, topic: &str) {
        self.committed.retain(|(name, _), _| name != topic);
        for places in self.pending.values_mut() {
            places.retain(|(name, _), _| name != topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Committed {
        Committed {
            offset,
            leader_epoch: -1,
            metadata: String::new(),
        }
    }

    #[test]
    fn pending_offsets_count_once_their_transaction_commits() {
        let mut offsets = Offsets::default();
        let place: Place = ("t".into(), 0);
        offsets.commit(place.clone(), at(1));
        offsets.commit_pending(7, place.clone(), at(2));
        assert!(offsets.is_pending(&place));
        assert_eq!(offsets.get(&place), Some(&at(1)));
        offsets.end_transaction(7, false);
        assert_eq!(offsets.get(&place), Some(&at(1)));
        offsets.commit_pending(7, place.clone(), at(3));
        offsets.end_transaction(7, true);
        assert_eq!(
            (offsets.get(&place), offsets.is_pending(&place)),
            (Some(&at(3)), false)
        );
        offsets.delete_topic("t");
        assert_eq!(offsets.get(&place), None);
    }
}
