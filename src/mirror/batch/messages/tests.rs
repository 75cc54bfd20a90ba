//! Logs of all formats, made up and recorded, and what is copied of them.

use kafka_protocol::records::RecordBatchDecoder;
use proptest::prelude::*;

use super::super::samples::{self, Plain};
use crate::mirror::batch::provenance::{HEADER, Provenance};
use crate::mirror::batch::repack::digests;
use crate::mirror::select::{Manner, SelectError, Step, select};

use super::*;

type Shown = (i64, i64, Option<Bytes>, Option<Bytes>);

const MANNER: Manner<'static> = Manner {
    append_time: true,
    same_offsets: false,
    provenance: None,
};

/// What the steps copy as (offset, time, key, value), by a decoder that is not ours.
fn shown(steps: &[Step]) -> Vec<Shown> {
    let mut shown = Vec::new();
    for step in steps {
        let Step::Copy(chunk) = step else { continue };
        let decoded = RecordBatchDecoder::decode(&mut chunk.batch.clone());
        let records = decoded.expect("a batch that was made decodes").records;
        let offsets = chunk
            .segments
            .iter()
            .flat_map(|(first, count)| *first..first + count);
        assert_eq!(offsets.clone().count(), records.len());
        assert!(chunk.header.is_dense());
        for (offset, record) in offsets.zip(records) {
            shown.push((offset, record.timestamp, record.key, record.value));
        }
    }
    shown
}

fn expected(plain: &Plain, magic: u8) -> Shown {
    let timestamp = if magic == 0 { -1 } else { plain.timestamp };
    (
        plain.offset,
        timestamp,
        plain.key.clone(),
        plain.value.clone(),
    )
}

/// Messages by themselves, or a wrapper.
#[derive(Clone, Debug)]
struct Part {
    magic: u8,
    codec: u8,
    /// By how much each offset lies behind the one before, and what the message lacks.
    messages: Vec<(i64, bool, bool)>,
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let step = prop_oneof![4 => Just(1i64), 1 => 2i64..5];
    let message = (step, prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    let part = (0u8..3, 0u8..5, proptest::collection::vec(message, 1..12)).prop_map(
        |(magic, codec, messages)| Part {
            magic,
            codec,
            messages,
        },
    );
    proptest::collection::vec(part, 1..6)
}

/// The log's bytes, and where each entry ends with what it holds.
fn log(base: i64, parts: &[Part]) -> (Vec<u8>, Vec<(usize, Vec<Shown>)>) {
    let (mut bytes, mut entries) = (Vec::new(), Vec::new());
    let mut offset = base;
    for part in parts {
        let mut plain = Vec::new();
        for (index, (step, no_key, no_value)) in part.messages.iter().enumerate() {
            offset += step;
            let mut one = samples::dense(offset, 1).remove(0);
            // Times go up and down.
            one.timestamp -= (index as i64 % 3) * 1_000;
            one.key = one.key.filter(|_| !no_key);
            one.value = one.value.filter(|_| !no_value);
            plain.push(one);
        }
        match (part.magic, part.codec) {
            (2, codec) => {
                for one in &mut plain {
                    one.timestamp = 5;
                }
                let batch = samples::batch(&plain, samples::CODECS[usize::from(codec)]);
                bytes.extend(batch);
                let held = plain.iter().map(|it| expected(it, 1)).collect();
                entries.push((bytes.len(), held));
            }
            (magic, 0) => {
                for one in &plain {
                    bytes.extend(samples::message(magic, 0, one));
                    entries.push((bytes.len(), vec![expected(one, magic)]));
                }
            }
            (magic, codec) => {
                bytes.extend(samples::wrapper(magic, codec, &plain, None));
                let held = plain.iter().map(|it| expected(it, magic)).collect();
                entries.push((bytes.len(), held));
            }
        }
    }
    (bytes, entries)
}

proptest! {
    /// Without this, a topic from before Kafka 0.11 would arrive with other offsets, keys, values or times.
    #[test]
    fn every_message_of_every_format_arrives_once_with_its_content(
        parts in parts(),
        base in 0i64..1 << 40,
        from in 0i64..60,
        same_offsets: bool,
    ) {
        let (bytes, entries) = log(base, &parts);
        let manner = Manner { same_offsets, ..MANNER };
        let steps = select(bytes.into(), base + from, &[], manner).expect("it selects");
        let all: Vec<Shown> = entries.into_iter().flat_map(|(_, held)| held).collect();
        let last = all.last().expect("there are some").0;
        let wanted: Vec<Shown> = all.into_iter().filter(|it| it.0 >= base + from).collect();
        if !wanted.is_empty() {
            prop_assert_eq!(steps.last().map(Step::next), Some(last + 1));
        }
        let mut before = base + from;
        for step in &steps {
            prop_assert!(step.next() > before);
            before = step.next();
            if let Step::Copy(chunk) = step && same_offsets {
                prop_assert_eq!(chunk.segments.iter().count(), 1);
            }
        }
        prop_assert_eq!(shown(&steps), wanted);
    }

    /// Rule 6: whoever takes over reads from elsewhere, in other pieces, and compares and goes on with the same records.
    #[test]
    fn rule_6_a_message_becomes_the_same_record_wherever_reading_begins(
        parts in parts(),
        from in 0i64..40,
        cut: prop::sample::Index,
        same_offsets: bool,
    ) {
        let (bytes, _) = log(0, &parts);
        let bytes = Bytes::from(bytes);
        let manner = Manner { same_offsets, ..MANNER };
        let digests = |steps: Vec<Step>| -> Vec<(i64, (i64, u32))> {
            let mut found = Vec::new();
            for step in steps {
                let Step::Copy(chunk) = step else { continue };
                let offsets = chunk.segments.iter().flat_map(|(first, count)| *first..first + count);
                let records = digests(&chunk.header, &chunk.batch).expect("they decode");
                found.extend(offsets.zip(records).map(|(offset, digest)| (offset, (digest.timestamp, digest.content))));
            }
            found
        };
        let at_once = digests(select(bytes.clone(), 0, &[], manner).expect("it selects"));
        let first = select(bytes.slice(..cut.index(bytes.len())), 0, &[], manner).expect("it selects");
        let position = first.last().map_or(0, Step::next);
        let mut in_pieces = digests(first);
        in_pieces.extend(digests(select(bytes.clone(), position, &[], manner).expect("it selects")));
        prop_assert_eq!(&in_pieces, &at_once);
        let later = digests(select(bytes, from, &[], manner).expect("it selects"));
        let wanted: Vec<_> = at_once.into_iter().filter(|it| it.0 >= from).collect();
        prop_assert_eq!(later, wanted);
    }

    /// A spoilt message must not arrive with a right checksum.
    #[test]
    fn a_flipped_bit_is_refused(parts in parts(), at: prop::sample::Index, bit in 0u8..8) {
        let parts: Vec<Part> = parts.into_iter().filter(|it| it.magic < 2).collect();
        prop_assume!(!parts.is_empty());
        let (mut bytes, entries) = log(0, &parts);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let outcome = select(bytes.into(), 0, &[], MANNER);
        let start = entries.iter().map(|it| it.0).take_while(|end| *end <= at).last().unwrap_or(0);
        // Offset, size and format's number are covered by no checksum or decide where one is.
        if at - start >= 12 && at - start != MAGIC_AT {
            prop_assert!(outcome.is_err());
        }
    }

    #[test]
    fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in 0u8..3, codec in 0u8..8) {
        // With a right frame and checksum, so that what is inside is looked at.
        let value = Plain { offset: 7, timestamp: 1, key: None, value: Some(bytes.clone().into()) };
        let _outcome = select(samples::message(magic.min(1), codec, &value), 0, &[], MANNER);
        let mut framed = bytes;
        framed.resize(framed.len().max(20), 0);
        framed[16] = magic;
        let _outcome = select(framed.clone().into(), 0, &[], MANNER);
        framed[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 40]);
        let _outcome = select(framed.into(), 0, &[], MANNER);
    }
}

proptest! {
    // Each case cuts at every byte.
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A fetch answer is cut where its limit is, also inside a message.
    #[test]
    fn a_cut_answer_gives_what_is_whole_in_it(parts in parts(), same_offsets: bool) {
        let (bytes, entries) = log(0, &parts);
        let bytes = Bytes::from(bytes);
        let manner = Manner { same_offsets, ..MANNER };
        for cut in 0..bytes.len() {
            let steps = select(bytes.slice(..cut), 0, &[], manner).expect("a cut is no damage");
            let whole = entries.iter().filter(|(end, _)| *end <= cut);
            let wanted: Vec<Shown> = whole.flat_map(|(_, held)| held.clone()).collect();
            prop_assert_eq!(shown(&steps), wanted, "cut at {}", cut);
        }
    }
}

/// A broker that stamped a wrapper left the times inside as they were; consumers are shown the stamp.
#[test]
fn a_stamped_wrapper_gives_its_time_to_all_that_it_holds() {
    let inner = samples::dense(10, 3);
    let times = |manner, magic| -> Vec<i64> {
        let wrapper = samples::wrapper(magic, 1, &inner, Some(77));
        let steps = select(wrapper, 0, &[], manner).expect("it selects");
        shown(&steps).into_iter().map(|it| it.1).collect()
    };
    assert_eq!(times(MANNER, 1), [77; 3]);
    assert_eq!(times(MANNER, 0), [-1; 3]);
    let as_created = Manner {
        append_time: false,
        same_offsets: false,
        provenance: None,
    };
    let own: Vec<i64> = inner.iter().map(|it| it.timestamp).collect();
    assert_eq!(times(as_created, 1), own);
}

/// Without this, what an old client wrote would go round between two clusters.
#[test]
fn messages_of_old_formats_are_marked_with_where_they_came_from() {
    let provenance = Provenance::new(("one", "t"), ("two", "t"));
    let manner = Manner {
        provenance: Some(&provenance),
        ..MANNER
    };
    let plain = samples::dense(10, 3);
    for magic in [0, 1] {
        let alone = plain.iter().map(|it| samples::message(magic, 0, it));
        let alone: Vec<u8> = alone.flatten().collect();
        for log in [alone.into(), samples::wrapper(magic, 2, &plain, None)] {
            let steps = select(log, 0, &[], manner).expect("it selects");
            let expected: Vec<Shown> = plain.iter().map(|it| expected(it, magic)).collect();
            assert_eq!(shown(&steps), expected);
            let [Step::Copy(chunk)] = &steps[..] else {
                panic!("{steps:?}");
            };
            let decoded = RecordBatchDecoder::decode(&mut chunk.batch.clone());
            for record in decoded.expect("a batch that was made decodes").records {
                let headers: Vec<_> = record.headers.into_iter().collect();
                assert_eq!(
                    headers,
                    [(HEADER.into(), Some(Bytes::from_static(b"one/t")))]
                );
            }
        }
    }
}

/// Batches of one message each would be copied at a fraction of the speed.
#[test]
fn messages_by_themselves_go_together_and_wrappers_stay_what_they_are() {
    let mut bytes = Vec::new();
    for plain in samples::dense(0, 100) {
        bytes.extend(samples::message(1, 0, &plain));
    }
    bytes.extend(samples::wrapper(1, 3, &samples::dense(100, 5), None));
    bytes.extend(samples::wrapper(0, 3, &samples::dense(105, 5), None));
    let large = Plain {
        value: Some(Bytes::from(vec![b'x'; TOGETHER])),
        ..samples::dense(110, 1).remove(0)
    };
    for offset in 110..112 {
        bytes.extend(samples::message(
            0,
            0,
            &Plain {
                offset,
                ..large.clone()
            },
        ));
    }
    let steps = select(bytes.into(), 0, &[], MANNER).expect("it selects");
    let counts: Vec<(i64, i16)> = steps
        .iter()
        .map(|step| match step {
            Step::Copy(chunk) => (chunk.count(), chunk.header.codec()),
            Step::Pass { next, .. } => panic!("nothing to pass up to {next}"),
        })
        .collect();
    assert_eq!(counts, [(100, 0), (5, 3), (5, 3), (1, 0), (1, 0)]);
}

#[test]
fn what_no_broker_writes_is_refused_with_its_place() {
    let malformed = |bytes: Bytes| match select(bytes, 0, &[], MANNER) {
        Err(SelectError::Repack(RepackError::MalformedMessage { offset: 9, problem })) => problem,
        other => panic!("{other:?}"),
    };
    let wrapping = |magic: u8, set: &[Bytes], offset: i64| {
        let value = snap::raw::Encoder::new()
            .compress_vec(&set.concat())
            .expect("short");
        let plain = Plain {
            offset,
            timestamp: 1,
            key: None,
            value: Some(value.into()),
        };
        samples::message(magic, 2, &plain)
    };
    let at = |offset| Plain {
        offset,
        ..samples::dense(0, 1).remove(0)
    };
    let plain = |offset| samples::message(1, 0, &at(offset));
    assert_eq!(malformed(wrapping(1, &[], 9)), "it holds nothing");
    assert_eq!(
        malformed(wrapping(1, &[plain(1), plain(1)], 9)),
        "the offsets inside do not ascend"
    );
    assert_eq!(
        malformed(wrapping(1, &[plain(10)], 9)),
        "an offset inside lies behind it"
    );
    let twice = wrapping(1, &[plain(0)], 0);
    assert_eq!(
        malformed(wrapping(1, &[twice], 9)),
        "what it holds is compressed once more"
    );
    let empty = Plain {
        value: None,
        ..at(9)
    };
    assert_eq!(
        malformed(samples::message(0, 1, &empty)),
        "it is compressed and has no value"
    );
    let zstd = select(samples::message(1, 4, &at(9)), 0, &[], MANNER);
    assert!(
        matches!(
            zstd,
            Err(SelectError::Repack(RepackError::UnknownCodec {
                offset: 9,
                codec: 4
            }))
        ),
        "{zstd:?}"
    );
}

/// A segment of a 3.9 broker in which a topic's format was raised twice, with each codec of each format; keys
/// and values were counted by its producer.
#[test]
fn a_segment_that_a_broker_wrote_in_three_formats_is_read() {
    let segment = Bytes::from_static(include_bytes!("../recorded/formats-3.9.log"));
    let steps = select(segment, 0, &[], MANNER).expect("it selects");
    let records = shown(&steps);
    assert_eq!(steps.last().map(Step::next), Some(260));
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let mut expected = Vec::new();
    for (format, codecs) in [("v0", &codecs[..4]), ("v1", &codecs[..4]), ("v2", &codecs)] {
        for codec in codecs {
            for number in 1..=20 {
                let key = Bytes::from(format!("k{number}"));
                let value = Bytes::from(format!("{codec}-{format}-{number}"));
                expected.push((Some(key), Some(value)));
            }
        }
    }
    let found: Vec<_> = records
        .iter()
        .map(|it| (it.2.clone(), it.3.clone()))
        .collect();
    assert_eq!(found, expected);
    for (offset, time, ..) in &records {
        assert_eq!(*time == NO_TIMESTAMP, *offset < 80, "offset {offset}");
    }
    assert_eq!(
        Entries::new(Bytes::from_static(include_bytes!(
            "../recorded/formats-3.9.log"
        )))
        .map(|it| it.expect("an entry"))
        .filter(|it| matches!(it, Entry::Message(_)))
        .count(),
        46
    );
}
