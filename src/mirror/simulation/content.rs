//! Batches with records that can be told apart, made and read quickly.
//!
//! A record is known by its time and by a number in its value; both survive copying, repacking and merging. Payloads
//! come from a small stock (codec, record count, gaps), since compressing anew for each batch would take most of a
//! run; reading them is remembered in the same way.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{Compressor, Decompressor, Gzip, Lz4, Snappy, Zstd};

use crate::mirror::batch::provenance::{HEADER, Provenance};
use crate::mirror::batch::{BatchHeader, HEADER_LEN};

/// The largest number of records in a batch of the source.
pub const MOST_RECORDS: u32 = 12;
/// Ways in which a cleaner thins out a batch; 0 leaves it whole.
pub const GAPS: u8 = 5;
/// Ways in which records of a batch may have come from the destination; 0: none did.
pub const RETURNS: u8 = 4;
/// No value, as filler has it.
pub const NO_VALUE: u32 = u32::MAX;

/// What makes a record this one and no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordId {
    /// As a consumer sees it.
    pub time: i64,
    /// Its place in the batch that it was produced in.
    pub number: u32,
}

/// The payload of a batch: which one of the stock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub codec: u8,
    pub count: u32,
    pub gaps: u8,
    pub returns: u8,
}

impl Shape {
    /// Whether the record at this place of the batch is (still) there.
    pub fn keeps(self, number: u32) -> bool {
        match self.gaps {
            0 => true,
            1 => !number.is_multiple_of(2),
            2 => number.is_multiple_of(3),
            3 => number > 0 && number + 1 < self.count,
            _ => number + 1 == self.count,
        }
    }

    /// Whether the record at this place came from the destination.
    fn returns(self, number: u32) -> bool {
        match self.returns {
            0 => false,
            1 => true,
            2 => number.is_multiple_of(2),
            _ => number > 0,
        }
    }

    pub fn kept(self) -> u32 {
        (0..self.count)
            .map(|number| u32::from(self.keeps(number)))
            .sum()
    }
}

/// Everything in a batch's header that is not fixed by its payload.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub base_time: i64,
    pub max_time: i64,
    pub append_time: bool,
    pub transactional: bool,
    pub control: bool,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
}

impl Frame {
    pub fn at(base_offset: i64, leader_epoch: i32, time: i64) -> Self {
        Self {
            base_offset,
            leader_epoch,
            base_time: time,
            max_time: time + i64::from(MOST_RECORDS),
            append_time: false,
            transactional: false,
            control: false,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// A data batch of the stock's payload.
pub fn data(shape: Shape, frame: Frame) -> Bytes {
    let payload = payload(shape);
    framed(
        i16::from(shape.codec),
        shape.count,
        shape.kept(),
        &payload,
        frame,
    )
}

/// An end marker of a transaction, as coordinators and `WriteTxnMarkers` make it.
pub fn marker(commit: bool, frame: Frame) -> Bytes {
    let mut record = BytesMut::new();
    record.put_u8(0);
    put_varint(&mut record, 0);
    put_varint(&mut record, 0);
    put_varint(&mut record, 4);
    record.put_i16(0);
    record.put_i16(i16::from(commit));
    put_varint(&mut record, 6);
    record.put_i16(0);
    record.put_i32(0);
    put_varint(&mut record, 0);
    let mut payload = BytesMut::new();
    put_varint(&mut payload, record.len() as i64);
    payload.put_slice(&record);
    let frame = Frame {
        control: true,
        transactional: true,
        ..frame
    };
    framed(0, 1, 1, &payload.freeze(), frame)
}

fn framed(codec: i16, offsets: u32, records: u32, payload: &[u8], frame: Frame) -> Bytes {
    let flag = |bit: i16, set: bool| if set { 1i16 << bit } else { 0 };
    let mut out = BytesMut::with_capacity(HEADER_LEN + payload.len());
    out.put_i64(frame.base_offset);
    out.put_i32(i32::try_from(HEADER_LEN + payload.len() - 12).expect("batches are small"));
    out.put_i32(frame.leader_epoch);
    out.put_i8(2);
    out.put_u32(0);
    out.put_i16(
        codec | flag(3, frame.append_time) | flag(4, frame.transactional) | flag(5, frame.control),
    );
    out.put_i32(offsets as i32 - 1);
    out.put_i64(frame.base_time);
    out.put_i64(frame.max_time);
    out.put_i64(frame.producer_id);
    out.put_i16(frame.producer_epoch);
    out.put_i32(frame.base_sequence);
    out.put_i32(records as i32);
    out.put_slice(payload);
    let checksum = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&checksum.to_be_bytes());
    out.freeze()
}

/// A record as it lies in a payload.
#[derive(Clone, Copy, Debug)]
struct Inside {
    offset_delta: i64,
    time_delta: i64,
    number: u32,
    came: Came,
}

/// What a record's headers say of where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// Nothing.
    Unmarked,
    FromSource,
    FromDestination,
}

const SOURCE: &str = "source/topic";
const DESTINATION: &str = "destination/topic";

/// Of a mirror of this world.
pub fn provenance() -> Provenance {
    Provenance::new(("source", "topic"), ("destination", "topic"))
}

/// Payloads that were read before, by codec.
type Known = HashMap<(i16, Bytes), Rc<[Inside]>>;

thread_local! {
    static STOCK: RefCell<HashMap<Shape, Bytes>> = RefCell::new(HashMap::new());
    static READ: RefCell<Known> = RefCell::new(HashMap::new());
}

fn payload(shape: Shape) -> Bytes {
    STOCK.with_borrow_mut(|stock| stock.entry(shape).or_insert_with(|| made(shape)).clone())
}

fn made(shape: Shape) -> Bytes {
    let mut plain = BytesMut::new();
    for number in (0..shape.count).filter(|number| shape.keeps(*number)) {
        let mut record = BytesMut::new();
        record.put_u8(0);
        put_varint(&mut record, i64::from(number));
        put_varint(&mut record, i64::from(number));
        let key = format!("k{}", number % 3);
        put_varint(&mut record, key.len() as i64);
        record.put_slice(key.as_bytes());
        let value = number.to_string();
        put_varint(&mut record, value.len() as i64);
        record.put_slice(value.as_bytes());
        if shape.returns(number) {
            put_varint(&mut record, 1);
            for text in [HEADER, DESTINATION] {
                put_varint(&mut record, text.len() as i64);
                record.put_slice(text.as_bytes());
            }
        } else {
            put_varint(&mut record, 0);
        }
        put_varint(&mut plain, record.len() as i64);
        plain.put_slice(&record);
    }
    let mut out = BytesMut::new();
    let fill = |buffer: &mut BytesMut| {
        buffer.put_slice(&plain);
        Ok(())
    };
    match shape.codec {
        1 => Gzip::compress(&mut out, fill),
        2 => Snappy::compress(&mut out, fill),
        3 => Lz4::compress(&mut out, fill),
        4 => Zstd::compress(&mut out, fill),
        _ => return plain.freeze(),
    }
    .expect("small payloads can be compressed");
    out.freeze()
}

/// The records of a data batch with their offsets, counted from the batch's base, and where each came from.
pub fn records(header: &BatchHeader, batch: &Bytes) -> Vec<(i64, RecordId, Came)> {
    let payload = batch.slice(HEADER_LEN..);
    let inside = READ.with_borrow_mut(|read| {
        // Repacked payloads are of many kinds; what was not met for long is read again.
        if read.len() > 20_000 {
            read.clear();
        }
        let key = (header.codec(), payload);
        if let Some(known) = read.get(&key) {
            return Rc::clone(known);
        }
        let inside: Rc<[Inside]> = parsed(key.0, key.1.clone()).into();
        read.insert(key, Rc::clone(&inside));
        inside
    });
    assert_eq!(
        inside.len(),
        usize::try_from(header.count).expect("counts are positive"),
        "a batch holds as many records as its header says"
    );
    inside
        .iter()
        .map(|record| {
            let time = if header.is_log_append_time() {
                header.max_timestamp
            } else {
                header.base_timestamp + record.time_delta
            };
            let id = RecordId {
                time,
                number: record.number,
            };
            (record.offset_delta, id, record.came)
        })
        .collect()
}

fn parsed(codec: i16, mut payload: Bytes) -> Vec<Inside> {
    fn whole<B: Buf>(buffer: &mut B) -> anyhow::Result<Bytes> {
        Ok(buffer.copy_to_bytes(buffer.remaining()))
    }
    let mut plain = match codec {
        1 => Gzip::decompress(&mut payload, whole),
        2 => Snappy::decompress(&mut payload, whole),
        3 => Lz4::decompress(&mut payload, whole),
        4 => Zstd::decompress(&mut payload, whole),
        _ => Ok(payload),
    }
    .expect("what is written can be decompressed");
    let mut found = Vec::new();
    while plain.has_remaining() {
        let length = take_varint(&mut plain);
        let mut record = plain.split_to(usize::try_from(length).expect("records have a length"));
        record.advance(1);
        let time_delta = take_varint(&mut record);
        let offset_delta = take_varint(&mut record);
        let key = take_varint(&mut record).max(0);
        record.advance(usize::try_from(key).expect("not negative"));
        let value = take_varint(&mut record);
        let number = match usize::try_from(value) {
            Ok(length) => std::str::from_utf8(&record[..length])
                .ok()
                .and_then(|text| text.parse().ok())
                .expect("values are numbers"),
            Err(_) => NO_VALUE,
        };
        record.advance(usize::try_from(value.max(0)).expect("not negative"));
        found.push(Inside {
            offset_delta,
            time_delta,
            number,
            came: origin(&mut record),
        });
    }
    found
}

/// The last mark among the headers, if any.
fn origin(headers: &mut Bytes) -> Came {
    let mut came = Came::Unmarked;
    for _ in 0..take_varint(headers) {
        let mut text = || {
            let length = usize::try_from(take_varint(headers)).expect("names and values are there");
            headers.split_to(length)
        };
        let (name, value) = (text(), text());
        assert_eq!(name, HEADER.as_bytes(), "there are no others");
        came = if value == SOURCE.as_bytes() {
            Came::FromSource
        } else {
            assert_eq!(value, DESTINATION.as_bytes());
            Came::FromDestination
        };
    }
    came
}

fn put_varint(out: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

fn take_varint(buffer: &mut Bytes) -> i64 {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let byte = buffer.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
