//! Batches that cannot be passed on as bytes: decoded, renumbered and encoded again.
//!
//! Needed where a batch has offsets without a record (compaction), where only its end is wanted (a
//! start inside a batch), and where the source stamped the append time and consumers of the copy are to
//! see that time. A record's own bytes from the key on are taken over as they are; only its length,
//! timestamp delta and offset delta are written anew. A header patched over records with gaps would
//! be *accepted* by a broker where the batch is not compressed, and give wrong offsets: hence this.
//!
//! [`digests`] decodes a batch to compare it with another one that was encoded differently.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Gzip, Lz4, Snappy, Zstd};
use thiserror::Error;

use super::codec::{self, CodecError};
use super::header::{CHECKSUMMED_FROM, CLEARED_ON_COPY, LENGTH_PREFIX, codec_of};
use super::provenance::{Marked, Provenance};
use super::{BatchHeader, HEADER_LEN};

/// Why a batch could not be decoded.
#[derive(Debug, Error)]
pub enum RepackError {
    #[error("the records of the batch at offset {offset} cannot be decompressed: {cause}")]
    Compression { offset: i64, cause: String },
    #[error("the batch at offset {offset} is malformed in record {record} of {count}")]
    Malformed {
        offset: i64,
        record: i32,
        count: i32,
    },
    /// Encoding it anew would give wrong bytes a right checksum.
    #[error("the batch at offset {offset} does not match its checksum")]
    Checksum { offset: i64 },
    #[error("the batch at offset {offset} uses codec {codec}, which is unknown here")]
    UnknownCodec { offset: i64, codec: i16 },
    /// Of format v0 or v1.
    #[error("the message at offset {offset} is malformed: {problem}")]
    MalformedMessage { offset: i64, problem: &'static str },
    #[error("the message at offset {offset} does not match its checksum")]
    MessageChecksum { offset: i64 },
}

/// What to keep of a batch and how to stamp it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Want<'a> {
    /// Records before this source offset are left out.
    pub from: i64,
    /// Give every record the batch's append time, as a consumer of the source sees it.
    pub append_time: bool,
    /// Make a batch of each run of records without a gap, instead of closing the gaps.
    pub split_at_gaps: bool,
    /// Mark each record with where it came from, and leave out what came from the destination.
    pub provenance: Option<&'a Provenance>,
}

/// A batch without gaps, and where its records lay at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repacked {
    /// A whole batch with a right checksum, offsets from 0, no producer.
    pub batch: Bytes,
    /// Source offsets of its records as (first, count), ascending.
    pub segments: Vec<(i64, i64)>,
}

/// What `want` keeps of the batch: one batch, or one for each run of records where it is split at gaps;
/// none where nothing is left.
///
/// # Errors
/// Where the records cannot be decompressed or do not decode.
pub fn repack(
    header: &BatchHeader,
    batch: &Bytes,
    want: Want<'_>,
) -> Result<Vec<Repacked>, RepackError> {
    renumbered(header, batch, want)?
        .into_iter()
        .map(|piece| encoded(header, piece, want))
        .collect()
}

/// Several batches of one codec as one, with all their records in the order given.
///
/// # Errors
/// As of [`repack`]; [`RepackError::Malformed`] also where the result would be longer than a batch can be.
pub fn merge<'a>(
    batches: impl Iterator<Item = (&'a BatchHeader, &'a Bytes)> + Clone,
) -> Result<Option<Bytes>, RepackError> {
    let Some((first, _)) = batches.clone().next() else {
        return Ok(None);
    };
    let mut kept = Kept::new(batches.clone().map(|(header, _)| header.len).sum());
    for (header, batch) in batches {
        for record in records(header, batch)? {
            let record = record?;
            let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
            let delta = timestamp.wrapping_sub(first.base_timestamp);
            // Where the records lay at the source is known by their batches.
            kept.put(&record, i64::from(kept.count), timestamp, delta);
        }
    }
    let want = Want::default();
    Ok(Some(encoded(first, kept, want)?.batch))
}

/// A batch of more than one record as about `pieces` of them, each with its number of records.
///
/// # Errors
/// As of [`repack`].
pub fn split(
    header: &BatchHeader,
    batch: &Bytes,
    pieces: usize,
) -> Result<Vec<(Bytes, i64)>, RepackError> {
    let each = usize::try_from(header.count)
        .unwrap_or(1)
        .div_ceil(pieces.max(1))
        .max(1);
    let want = Want::default();
    let mut kept: Vec<Kept> = Vec::new();
    for (index, record) in records(header, batch)?.enumerate() {
        let record = record?;
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        if index % each == 0 {
            kept.push(Kept::new(0));
        }
        let piece = kept
            .last_mut()
            .expect("the first record makes the first piece");
        piece.put(
            &record,
            i64::from(piece.count),
            timestamp,
            record.timestamp_delta,
        );
    }
    kept.into_iter()
        .map(|piece| {
            let count = i64::from(piece.count);
            Ok((encoded(header, piece, want)?.batch, count))
        })
        .collect()
}

/// What a record is told by from others, without keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    pub offset_delta: i64,
    /// The producer's time, also where a broker has stamped the batch.
    pub timestamp: i64,
    /// Of attributes, key, value and headers.
    pub content: u32,
}

/// A digest of each record of a batch, by offset delta.
///
/// # Errors
/// As of [`repack`].
pub fn digests(header: &BatchHeader, batch: &Bytes) -> Result<Vec<Digest>, RepackError> {
    let mut digests = Vec::with_capacity(usize::try_from(header.count).unwrap_or(0).min(1 << 16));
    for record in records(header, batch)? {
        let record = record?;
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        let content = crc32c::crc32c(&[record.attributes]);
        digests.push(Digest {
            offset_delta: record.offset_delta,
            timestamp,
            content: crc32c::crc32c_append(content, &record.body),
        });
    }
    Ok(digests)
}

/// Decoding bytes that were spoilt on their way would give them a right checksum.
fn check(header: &BatchHeader, batch: &Bytes) -> Result<(), RepackError> {
    if crc32c::crc32c(&batch[CHECKSUMMED_FROM..]) == header.crc {
        return Ok(());
    }
    Err(RepackError::Checksum {
        offset: header.base_offset,
    })
}

fn encoded(header: &BatchHeader, kept: Kept, want: Want<'_>) -> Result<Repacked, RepackError> {
    let base_timestamp = if want.append_time {
        header.max_timestamp
    } else {
        header.base_timestamp
    };
    let attributes = header.attributes & !CLEARED_ON_COPY;
    let whole = kept.encoded(attributes, base_timestamp, header.base_offset)?;
    whole.ok_or_else(|| malformed(header, 0))
}

/// What the header of a batch says that is made here; its offsets begin at 0 and it has no producer.
pub(super) struct Shape {
    pub attributes: i16,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub count: i32,
}

impl Shape {
    /// The whole batch with its checksum; `None` where it is longer than a batch can be.
    pub fn batch(&self, records: &[u8]) -> Option<Bytes> {
        let length = i32::try_from(HEADER_LEN - LENGTH_PREFIX + records.len()).ok()?;
        let mut out = BytesMut::with_capacity(HEADER_LEN + records.len());
        out.put_i64(0);
        out.put_i32(length);
        out.put_i32(-1);
        out.put_i8(2);
        out.put_u32(0); // checksum, below
        out.put_i16(self.attributes);
        out.put_i32(self.count - 1);
        out.put_i64(self.base_timestamp);
        out.put_i64(self.max_timestamp);
        out.put_i64(-1);
        out.put_i16(-1);
        out.put_i32(-1);
        out.put_i32(self.count);
        out.put_slice(records);
        let checksum = crc32c::crc32c(&out[CHECKSUMMED_FROM..]);
        out[17..21].copy_from_slice(&checksum.to_be_bytes());
        Some(out.freeze())
    }
}

/// Records of a batch that is being made.
#[derive(Debug)]
pub(super) struct Kept {
    pub records: BytesMut,
    pub count: i32,
    max_timestamp: i64,
    segments: Vec<(i64, i64)>,
}

impl Kept {
    pub fn new(capacity: usize) -> Self {
        Self {
            records: BytesMut::with_capacity(capacity),
            count: 0,
            max_timestamp: i64::MIN,
            segments: Vec::new(),
        }
    }

    /// Whether `offset` follows without a gap.
    pub fn is_followed_by(&self, offset: i64) -> bool {
        let last = self.segments.last();
        last.is_none_or(|(first, count)| first.wrapping_add(*count) == offset)
    }

    pub fn put(&mut self, record: &RawRecord, offset: i64, timestamp: i64, timestamp_delta: i64) {
        record.put(&mut self.records, timestamp_delta, i64::from(self.count));
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(timestamp);
        match self.segments.last_mut() {
            Some((first, count)) if first.wrapping_add(*count) == offset => *count += 1,
            _ => self.segments.push((offset, 1)),
        }
    }

    /// The batch, compressed as its attributes say; `None` where it is longer than a batch can be.
    pub fn encoded(
        self,
        attributes: i16,
        base_timestamp: i64,
        offset: i64,
    ) -> Result<Option<Repacked>, RepackError> {
        let records = compressed(codec_of(attributes), offset, self.records)?;
        let shape = Shape {
            attributes,
            base_timestamp,
            max_timestamp: self.max_timestamp,
            count: self.count,
        };
        Ok(shape.batch(&records).map(|batch| Repacked {
            batch,
            segments: self.segments,
        }))
    }
}

/// The batch's records in their order.
fn records(
    header: &BatchHeader,
    batch: &Bytes,
) -> Result<impl Iterator<Item = Result<RawRecord, RepackError>>, RepackError> {
    check(header, batch)?;
    let mut rest = decompressed(header, batch)?;
    let header = *header;
    Ok((0..header.count)
        .map(move |index| RawRecord::take(&mut rest).ok_or_else(|| malformed(&header, index))))
}

fn malformed(header: &BatchHeader, record: i32) -> RepackError {
    RepackError::Malformed {
        offset: header.base_offset,
        record,
        count: header.count,
    }
}

fn renumbered(
    header: &BatchHeader,
    batch: &Bytes,
    want: Want<'_>,
) -> Result<Vec<Kept>, RepackError> {
    let mut pieces: Vec<Kept> = Vec::new();
    let mut next_delta = 0;
    for (index, record) in (0..).zip(records(header, batch)?) {
        let record = record?;
        // Wrapping: these are a broker's bytes, and nonsense must not stop the worker.
        let offset = header.base_offset.wrapping_add(record.offset_delta);
        if record.offset_delta < next_delta
            || record.offset_delta > i64::from(header.last_offset_delta)
        {
            return Err(malformed(header, index));
        }
        next_delta = record.offset_delta + 1;
        if offset < want.from {
            continue;
        }
        let record = match want.provenance.map(|it| it.mark(&record.body)) {
            None => record,
            Some(Some(Marked::Body(body))) => RawRecord { body, ..record },
            Some(Some(Marked::Home)) => continue,
            Some(None) => return Err(malformed(header, index)),
        };
        let (timestamp, timestamp_delta) = if want.append_time {
            (header.max_timestamp, 0)
        } else {
            (
                header.base_timestamp.wrapping_add(record.timestamp_delta),
                record.timestamp_delta,
            )
        };
        let goes_on = |piece: &&mut Kept| !want.split_at_gaps || piece.is_followed_by(offset);
        if let Some(piece) = pieces.last_mut().filter(goes_on) {
            piece.put(&record, offset, timestamp, timestamp_delta);
        } else {
            let mut piece = Kept::new(if want.split_at_gaps { 0 } else { header.len });
            piece.put(&record, offset, timestamp, timestamp_delta);
            pieces.push(piece);
        }
    }
    Ok(pieces)
}

/// A record with everything behind the offset delta left encoded.
pub(super) struct RawRecord {
    attributes: u8,
    timestamp_delta: i64,
    offset_delta: i64,
    /// Key, value and headers.
    body: Bytes,
}

impl RawRecord {
    /// A record without headers, to be given its time and its place.
    pub fn without_headers(key: Option<&Bytes>, value: Option<&Bytes>) -> Self {
        let length = |bytes: Option<&Bytes>| bytes.map_or(0, Bytes::len);
        // Two lengths of at most five bytes, and the number of headers.
        let mut body = BytesMut::with_capacity(length(key) + length(value) + 11);
        for bytes in [key, value] {
            match bytes {
                Some(bytes) => {
                    let length = i64::try_from(bytes.len()).expect("memory is shorter than 2^63");
                    put_varint(&mut body, length);
                    body.put_slice(bytes);
                }
                None => put_varint(&mut body, -1),
            }
        }
        put_varint(&mut body, 0);
        Self {
            attributes: 0,
            timestamp_delta: 0,
            offset_delta: 0,
            body: body.freeze(),
        }
    }

    /// The same record, made here and without headers, with a mark.
    pub fn marked(self, provenance: &Provenance) -> Self {
        match provenance.mark(&self.body) {
            Some(Marked::Body(body)) => Self { body, ..self },
            Some(Marked::Home) | None => {
                unreachable!("what was made here decodes, and has no headers")
            }
        }
    }

    fn take(records: &mut Bytes) -> Option<Self> {
        let length = usize::try_from(take_varint(records)?).ok()?;
        if length > records.len() {
            return None;
        }
        let mut record = records.split_to(length);
        if record.is_empty() {
            return None;
        }
        let attributes = record.get_u8();
        let timestamp_delta = take_varint(&mut record)?;
        let offset_delta = take_varint(&mut record)?;
        Some(Self {
            attributes,
            timestamp_delta,
            offset_delta,
            body: record,
        })
    }

    fn put(&self, out: &mut BytesMut, timestamp_delta: i64, offset_delta: i64) {
        let length = 1 + varint_len(timestamp_delta) + varint_len(offset_delta) + self.body.len();
        put_varint(
            out,
            i64::try_from(length).expect("a record is shorter than 2^63 bytes"),
        );
        out.put_u8(self.attributes);
        put_varint(out, timestamp_delta);
        put_varint(out, offset_delta);
        out.put_slice(&self.body);
    }
}

/// A zigzag varint of up to ten bytes (Kafka's varint and varlong).
pub(super) fn take_varint(buf: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        if buf.is_empty() {
            return None;
        }
        let byte = buf.get_u8();
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
        }
    }
    None
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

pub(super) fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out.put_u8(u8::try_from(rest & 0x7f).expect("seven bits fit") | 0x80);
        rest >>= 7;
    }
    out.put_u8(u8::try_from(rest).expect("seven bits fit"));
}

fn varint_len(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

fn decompressed(header: &BatchHeader, batch: &Bytes) -> Result<Bytes, RepackError> {
    let payload = batch.slice(HEADER_LEN..);
    codec::decompressed(header.codec(), payload)
        .map_err(|error| compression_error(header.base_offset, error))
}

pub(super) fn compression_error(offset: i64, error: CodecError) -> RepackError {
    match error {
        CodecError::Unknown(codec) => RepackError::UnknownCodec { offset, codec },
        error => RepackError::Compression {
            offset,
            cause: error.to_string(),
        },
    }
}

/// `offset` is where the batch lies, for the message of an error.
fn compressed(codec: i16, offset: i64, records: BytesMut) -> Result<Bytes, RepackError> {
    let mut out = BytesMut::new();
    let fill = |buf: &mut BytesMut| {
        buf.put_slice(&records);
        Ok(())
    };
    let result = match codec {
        0 => return Ok(records.freeze()),
        1 => Gzip::compress(&mut out, fill),
        2 => Snappy::compress(&mut out, fill),
        3 => Lz4::compress(&mut out, fill),
        4 => Zstd::compress(&mut out, fill),
        codec => return Err(RepackError::UnknownCodec { offset, codec }),
    };
    result.map_err(|cause| RepackError::Compression {
        offset,
        cause: format!("{cause:#}"),
    })?;
    Ok(out.freeze())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::super::samples::{self, CODECS, Plain};
    use super::*;

    fn decoded(batch: &Bytes) -> Vec<kafka_protocol::records::Record> {
        let mut buf = batch.clone();
        RecordBatchDecoder::decode(&mut buf)
            .expect("a repacked batch decodes")
            .records
    }

    proptest! {
        /// Without this, a compacted topic would arrive with other records, keys or times.
        #[test]
        fn every_wanted_record_arrives_once_with_its_content(
            keep in proptest::collection::vec(any::<bool>(), 1..40),
            codec in 0usize..5,
            from in 0i64..45,
            base in 0i64..1 << 40,
        ) {
            let records: Vec<Plain> = samples::dense(base, keep.len() as i64)
                .into_iter()
                .zip(&keep)
                .filter_map(|(record, keep)| keep.then_some(record))
                .collect();
            prop_assume!(!records.is_empty());
            let batch = gappy(&records, CODECS[codec]);
            let header = BatchHeader::parse(&batch).expect("a sample is a batch");
            let from = base + from;
            let wanted: Vec<&Plain> = records.iter().filter(|record| record.offset >= from).collect();
            let repacked = repack(&header, &batch, Want { from, append_time: false, split_at_gaps: false, provenance: None }).expect("it decodes").pop();
            let Some(repacked) = repacked else {
                prop_assert!(wanted.is_empty());
                return Ok(());
            };
            let out = BatchHeader::parse(&repacked.batch).expect("a repacked batch is a batch");
            prop_assert!(out.is_dense());
            prop_assert_eq!(out.codec(), header.codec());
            prop_assert_eq!(crc32c::crc32c(&repacked.batch[CHECKSUMMED_FROM..]), out.crc);
            let got = decoded(&repacked.batch);
            prop_assert_eq!(got.len(), wanted.len());
            for (index, (got, wanted)) in got.iter().zip(&wanted).enumerate() {
                prop_assert_eq!(got.offset, index as i64);
                prop_assert_eq!(got.timestamp, wanted.timestamp);
                prop_assert_eq!(&got.key, &wanted.key);
                prop_assert_eq!(&got.value, &wanted.value);
                prop_assert_eq!(got.headers.len(), 1);
            }
            let offsets: Vec<i64> = repacked
                .segments
                .iter()
                .flat_map(|(first, count)| *first..first + count)
                .collect();
            prop_assert_eq!(offsets, wanted.iter().map(|record| record.offset).collect::<Vec<_>>());
        }

        #[test]
        fn garbage_is_an_error_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), codec in 0i16..5) {
            let mut batch = samples::batch(&samples::dense(0, 3), samples::CODECS[0]).to_vec();
            batch.truncate(HEADER_LEN);
            batch.extend_from_slice(&bytes);
            let length = i32::try_from(batch.len() - LENGTH_PREFIX).expect("small");
            batch[8..12].copy_from_slice(&length.to_be_bytes());
            batch[21..23].copy_from_slice(&codec.to_be_bytes());
            let checksum = crc32c::crc32c(&batch[CHECKSUMMED_FROM..]);
            batch[17..21].copy_from_slice(&checksum.to_be_bytes());
            let batch = Bytes::from(batch);
            let header = BatchHeader::parse(&batch).expect("the header is whole");
            let _outcome = repack(&header, &batch, Want { from: 0, append_time: false, split_at_gaps: false, provenance: None });
        }
    }

    proptest! {
        /// With the same offsets on both sides, a record in a batch that closes a gap would get another offset.
        #[test]
        fn a_batch_split_at_its_gaps_keeps_every_record_and_closes_none(
            keep in proptest::collection::vec(any::<bool>(), 1..40),
            codec in 0usize..5,
        ) {
            let records: Vec<Plain> = samples::dense(100, keep.len() as i64)
                .into_iter()
                .zip(&keep)
                .filter_map(|(record, keep)| keep.then_some(record))
                .collect();
            prop_assume!(!records.is_empty());
            let batch = gappy(&records, CODECS[codec]);
            let header = BatchHeader::parse(&batch).expect("a sample is a batch");
            let want = Want { from: 0, append_time: false, split_at_gaps: true, provenance: None };
            let pieces = repack(&header, &batch, want).expect("it decodes");
            let mut seen = Vec::new();
            for piece in &pieces {
                prop_assert_eq!(piece.segments.len(), 1);
                let (first, count) = piece.segments[0];
                let got = decoded(&piece.batch);
                prop_assert_eq!(got.len() as i64, count);
                seen.extend(got.into_iter().enumerate().map(|(at, record)| (first + at as i64, record.value, record.timestamp)));
            }
            let wanted: Vec<_> = records.iter().map(|record| (record.offset, record.value.clone(), record.timestamp)).collect();
            prop_assert_eq!(seen, wanted);
        }

        /// Merging and splitting must leave every record as it was: time, key, value and headers.
        #[test]
        fn merged_and_split_batches_hold_the_same_records(
            sizes in proptest::collection::vec(1i64..12, 1..8),
            codec in 0usize..5,
            pieces in 1usize..6,
        ) {
            let mut batches = Vec::new();
            let mut wanted = Vec::new();
            let mut base = 7;
            for size in sizes {
                let records = samples::dense(base, size);
                base += size + 3;
                wanted.extend(records.iter().map(|it| (it.timestamp, it.key.clone(), it.value.clone())));
                let batch = samples::batch(&records, CODECS[codec]);
                batches.push((BatchHeader::parse(&batch).expect("a batch"), batch));
            }
            let shown = |batch: &Bytes| -> Vec<_> {
                decoded(batch).into_iter().map(|it| (it.timestamp, it.key, it.value)).collect()
            };
            let merged = merge(batches.iter().map(|(header, batch)| (header, batch)))
                .expect("they merge").expect("there are some");
            let header = BatchHeader::parse(&merged).expect("a batch");
            prop_assert!(header.is_dense());
            prop_assert_eq!(header.codec(), batches[0].0.codec());
            prop_assert_eq!(header.max_timestamp, wanted.iter().map(|it| it.0).max().expect("some"));
            prop_assert_eq!(shown(&merged), wanted.clone());
            let parts = split(&header, &merged, pieces).expect("it splits");
            prop_assert!(parts.len() <= pieces);
            let mut again = Vec::new();
            for (part, count) in &parts {
                let records = shown(part);
                prop_assert_eq!(records.len() as i64, *count);
                again.extend(records);
            }
            prop_assert_eq!(again, wanted);
        }

        /// A mirror that is started again tells by them whether the destination's last records are the source's.
        #[test]
        fn digests_do_not_depend_on_how_records_were_batched(count in 2i64..30, cut in 1i64..29, codec in 0usize..5) {
            prop_assume!(cut < count);
            let records = samples::dense(50, count);
            let whole = samples::batch(&records, CODECS[codec]);
            let header = BatchHeader::parse(&whole).expect("a batch");
            let want = Want { from: 50 + cut, append_time: false, split_at_gaps: false, provenance: None };
            let rest = repack(&header, &whole, want).expect("it decodes").pop().expect("some are left");
            let rest_header = BatchHeader::parse(&rest.batch).expect("a batch");
            let all = digests(&header, &whole).expect("they decode");
            let some = digests(&rest_header, &rest.batch).expect("they decode");
            let rest = all.iter().skip(cut as usize);
            let expected: Vec<_> = rest.map(|it| Digest { offset_delta: it.offset_delta - cut, ..*it }).collect();
            prop_assert_eq!(some, expected);
            let distinct: std::collections::HashSet<_> = all.iter().map(|it| it.content).collect();
            prop_assert_eq!(distinct.len() as i64, count);
        }
    }

    /// A batch as the log cleaner leaves it: one batch, offsets missing inside.
    fn gappy(records: &[Plain], compression: kafka_protocol::records::Compression) -> Bytes {
        samples::batch(records, compression)
    }

    /// Without this, a byte that was spoilt on its way would arrive with a right checksum.
    #[test]
    fn a_spoilt_batch_is_not_encoded_anew() {
        let mut spoilt = samples::batch(&samples::dense(10, 5), CODECS[0]).to_vec();
        let last = spoilt.len() - 1;
        spoilt[last] ^= 1;
        let spoilt = Bytes::from(spoilt);
        let header = BatchHeader::parse(&spoilt).expect("the header is whole");
        let want = Want {
            from: 12,
            append_time: false,
            split_at_gaps: false,
            provenance: None,
        };
        let outcome = repack(&header, &spoilt, want);
        assert!(
            matches!(outcome, Err(RepackError::Checksum { offset: 10 })),
            "{outcome:?}"
        );
    }

    #[test]
    fn append_time_becomes_the_time_of_every_record() {
        let batch = samples::batch(&samples::dense(10, 5), CODECS[3]);
        let header = BatchHeader::parse(&batch).expect("a sample is a batch");
        let repacked = repack(
            &header,
            &batch,
            Want {
                from: 0,
                append_time: true,
                split_at_gaps: false,
                provenance: None,
            },
        )
        .expect("it decodes")
        .pop()
        .expect("records are left");
        for record in decoded(&repacked.batch) {
            assert_eq!(record.timestamp, header.max_timestamp);
        }
    }

    #[test]
    fn varints_take_the_bytes_they_say() {
        for value in [0, -1, 1, 63, 64, -64, -65, 1 << 20, i64::MAX, i64::MIN] {
            let mut buf = BytesMut::new();
            put_varint(&mut buf, value);
            assert_eq!(buf.len(), varint_len(value));
            assert_eq!(take_varint(&mut buf.freeze()), Some(value));
        }
    }
}
