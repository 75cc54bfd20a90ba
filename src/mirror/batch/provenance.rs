//! Where a record came from, said by a header of its copy, and what is not copied because it came from here.
//!
//! Two links between the same topics of two clusters would copy each record for ever. The header names the cluster and the
//! topic that a record was copied from; a mirror leaves out the records that were copied from the very topic it writes to, however
//! many clusters they passed. The topic counts as well, because applications pass headers on: a record that was
//! made of a mirrored one and written to another topic is a new record.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::repack::{put_varint, take_varint};

/// The header's name.
pub const HEADER: &str = "kmirror.provenance";

/// The origin that a mirror's records are marked with, and the one that it leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The header as it is appended: name and value, each behind its length.
    header: Bytes,
    /// The value of records that came from where this mirror writes.
    home: Bytes,
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Marked {
    /// Its key, value and headers, the mark behind them.
    Body(Bytes),
    /// It came from the destination.
    Home,
}

impl Provenance {
    /// Of a mirror from one cluster's topic to another's, by the clusters' ids.
    pub fn new(
        (source_cluster, source_topic): (&str, &str),
        (cluster, topic): (&str, &str),
    ) -> Self {
        let mut header = BytesMut::new();
        for bytes in [HEADER.as_bytes(), &value(source_cluster, source_topic)[..]] {
            put_varint(&mut header, length(bytes.len()));
            header.put_slice(bytes);
        }
        Self {
            header: header.freeze(),
            home: value(cluster, topic),
        }
    }

    /// A record's key, value and headers with the mark; `None` where they do not decode.
    pub fn mark(&self, body: &Bytes) -> Option<Marked> {
        let mut rest = body.clone();
        take_bytes(&mut rest)?; // key
        take_bytes(&mut rest)?; // value
        let before = body.len() - rest.len();
        let count = take_varint(&mut rest)?;
        if count < 0 {
            return None;
        }
        let headers = rest.clone();
        for _ in 0..count {
            let name = take_bytes(&mut rest)??;
            let value = take_bytes(&mut rest)?;
            if name == HEADER.as_bytes() && value.as_ref() == Some(&self.home) {
                return Some(Marked::Home);
            }
        }
        if rest.has_remaining() {
            return None;
        }
        let mut out = BytesMut::with_capacity(body.len() + self.header.len() + 5);
        out.put_slice(&body[..before]);
        put_varint(&mut out, count.checked_add(1)?);
        out.put_slice(&headers);
        out.put_slice(&self.header);
        Some(Marked::Body(out.freeze()))
    }
}

/// A topic's name has no slash.
fn value(cluster: &str, topic: &str) -> Bytes {
    Bytes::from(format!("{cluster}/{topic}"))
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).expect("memory is shorter than 2^63")
}

/// Bytes behind their length, -1 for null.
fn take_bytes(rest: &mut Bytes) -> Option<Option<Bytes>> {
    let length = take_varint(rest)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let length = usize::try_from(length).ok()?;
    (length <= rest.len()).then(|| Some(rest.split_to(length)))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::{Compression, Record, RecordBatchDecoder};
    use proptest::prelude::*;

    use super::super::BatchHeader;
    use super::super::repack::{Want, digests, repack};
    use super::super::samples;
    use super::*;
    use crate::mirror::select::{Manner, Step, select};

    fn decoded(batch: &Bytes) -> Vec<Record> {
        RecordBatchDecoder::decode(&mut batch.clone())
            .expect("a marked batch decodes")
            .records
    }

    /// `batch` as a mirror passes it on; nothing where nothing is left.
    fn passed(batch: &Bytes, provenance: &Provenance) -> Option<Bytes> {
        let header = BatchHeader::parse(batch).expect("a batch");
        let want = Want {
            provenance: Some(provenance),
            ..Want::default()
        };
        let mut pieces = repack(&header, batch, want).expect("it decodes");
        pieces.pop().map(|piece| piece.batch)
    }

    fn between(source: &str, destination: &str) -> Provenance {
        Provenance::new((source, "t"), (destination, "t"))
    }

    proptest! {
        /// Without this, the header would replace those of the record, or spoil it.
        #[test]
        fn a_mark_is_added_behind_what_a_record_has(count in 1i64..20, codec in 0usize..5) {
            let batch = samples::batch(&samples::dense(5, count), samples::CODECS[codec]);
            let marked = passed(&batch, &between("one", "two")).expect("all are passed on");
            for (was, is) in decoded(&batch).into_iter().zip(decoded(&marked)) {
                prop_assert_eq!((was.key, was.value, was.timestamp), (is.key, is.value, is.timestamp));
                let headers: Vec<_> = is.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
                prop_assert_eq!(headers, [
                    ("h".to_owned(), Some(Bytes::from_static(b"header"))),
                    (HEADER.to_owned(), Some(Bytes::from_static(b"one/t"))),
                ]);
            }
        }

        /// Rule 6: whoever takes over marks a record as its predecessor did, wherever it begins to read.
        #[test]
        fn rule_6_a_mark_does_not_depend_on_how_records_were_batched(count in 2i64..20, from in 1i64..19) {
            prop_assume!(from < count);
            let batch = samples::batch(&samples::dense(0, count), Compression::Zstd);
            let header = BatchHeader::parse(&batch).expect("a batch");
            let provenance = between("one", "two");
            let marked = |from| {
                let want = Want { from, provenance: Some(&provenance), ..Want::default() };
                let piece = repack(&header, &batch, want).expect("it decodes").pop().expect("some");
                let header = BatchHeader::parse(&piece.batch).expect("a batch");
                digests(&header, &piece.batch).expect("they decode")
            };
            let later: Vec<(i64, u32)> = marked(from).into_iter().map(|it| (it.timestamp, it.content)).collect();
            let all: Vec<(i64, u32)> = marked(0).into_iter().skip(usize::try_from(from).expect("small")).map(|it| (it.timestamp, it.content)).collect();
            prop_assert_eq!(later, all);
        }

        #[test]
        fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _outcome = between("one", "two").mark(&bytes.into());
        }
    }

    /// Without this, a record goes round between two clusters for ever.
    #[test]
    fn what_came_from_the_destination_is_left_out() {
        let written = samples::batch(&samples::dense(0, 3), Compression::Lz4);
        let at_two = passed(&written, &between("one", "two")).expect("all are passed on");
        assert_eq!(passed(&at_two, &between("two", "one")), None);
        // Round three clusters.
        let at_three = passed(&at_two, &between("two", "three")).expect("all are passed on");
        assert_eq!(passed(&at_three, &between("three", "one")), None);
        assert_eq!(passed(&at_three, &between("three", "two")), None);
        assert!(passed(&at_three, &between("three", "four")).is_some());
    }

    /// Without this, a mirror would ask for the same offsets again and again, or count as behind, where all that comes is left out.
    #[test]
    fn what_is_left_out_is_passed_over() {
        let (there, back) = (between("one", "two"), between("two", "one"));
        let native = |offset| samples::batch(&samples::dense(offset, 2), Compression::None);
        let copy = |offset| -> Bytes {
            let mut copy = passed(&native(offset), &there)
                .expect("all are passed on")
                .to_vec();
            copy[..8].copy_from_slice(&i64::to_be_bytes(offset));
            copy.into()
        };
        let log = [copy(0), native(2), copy(4), copy(6)].concat();
        for same_offsets in [false, true] {
            let manner = Manner {
                append_time: true,
                same_offsets,
                provenance: Some(&back),
            };
            let steps = select(log.clone().into(), 1, &[], manner).expect("it selects");
            let [
                Step::Pass { next: 2, .. },
                Step::Copy(chunk),
                Step::Pass { next: 8, .. },
            ] = &steps[..]
            else {
                panic!("{steps:?}");
            };
            assert_eq!((chunk.first(), chunk.count(), chunk.next), (2, 2, 4));
        }
    }

    /// What an application made of a mirrored record, whose headers it passed on, is new.
    #[test]
    fn a_record_of_another_topic_is_copied_whatever_its_headers_say() {
        let written = samples::batch(&samples::dense(0, 3), Compression::None);
        let at_two = passed(&written, &between("one", "two")).expect("all are passed on");
        let back = Provenance::new(("two", "results"), ("one", "results"));
        assert!(passed(&at_two, &back).is_some());
    }
}
