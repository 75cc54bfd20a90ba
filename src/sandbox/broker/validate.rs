//! What a broker checks in a batch before it looks at the log: structure, size, records, time.
//!
//! The order of the checks and the codes are those that Kafka 3.9 and 4.1 answered with. Nothing
//! here depends on the partition's state, so it runs outside the cluster's lock.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError as E;

use super::batch::{self, Header, WalkError};

/// The settings of a topic that bear on a produced batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRules {
    pub compacted: bool,
    pub log_append_time: bool,
    pub max_message_bytes: usize,
    pub segment_bytes: usize,
    pub timestamp_before_max_ms: i64,
    pub timestamp_after_max_ms: i64,
    /// `None`: the producer's.
    pub codec: Option<i16>,
    pub min_insync_replicas: usize,
}

/// A refusal, as a produce answer carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub error: E,
    pub message: Option<String>,
    /// Index in the batch and reason, for records that are at fault.
    pub records: Vec<(i32, String)>,
}

impl Refusal {
    pub fn new(error: E, message: impl Into<String>) -> Self {
        Refusal {
            error,
            message: Some(message.into()),
            records: Vec::new(),
        }
    }
}

impl From<(E, String)> for Refusal {
    fn from((error, message): (E, String)) -> Self {
        Refusal::new(error, message)
    }
}

/// A batch that may be appended.
#[derive(Clone, Debug)]
pub struct Accepted {
    pub bytes: BytesMut,
    pub transactional: bool,
    pub producer_id: i64,
    pub producer_epoch: i16,
    /// The append time stamped, -1 if none.
    pub log_append_time: i64,
}

/// Judges the records of one partition in a produce request. `place` is `topic-partition`, for messages.
pub fn validate(
    records: &Bytes,
    api_version: i16,
    rules: &TopicRules,
    place: &str,
    now: i64,
) -> Result<Accepted, Refusal> {
    let header = check_structure(records, api_version, rules, place)?;
    let max_timestamp = check_records(records, &header, rules, place, now)?;
    let mut bytes = match rules.codec {
        Some(codec) if codec != header.codec() => {
            let other = batch::recompressed(records, &header, codec).map_err(unreadable)?;
            check_size(other.len(), rules, place)?;
            other
        }
        // A copy, so that the log does not keep the whole request alive.
        _ => BytesMut::from(&records[..header.length]),
    };
    let mut log_append_time = -1;
    if rules.log_append_time {
        log_append_time = now;
        batch::set_timestamps(&mut bytes, true, now);
    } else if header.is_log_append_time() || header.max_timestamp != max_timestamp {
        batch::set_timestamps(&mut bytes, false, max_timestamp);
    }
    Ok(Accepted {
        bytes,
        transactional: header.is_transactional(),
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        log_append_time,
    })
}

fn check_structure(
    records: &Bytes,
    api_version: i16,
    rules: &TopicRules,
    place: &str,
) -> Result<Header, Refusal> {
    let invalid = |message: String| Refusal::new(E::InvalidRecord, message);
    if records.is_empty() {
        return Err(invalid(format!(
            "Produce requests with version {api_version} must have at least one record batch per partition"
        )));
    }
    if records.get(16).is_some_and(|magic| *magic != 2) {
        return Err(invalid(format!(
            "Produce requests with version {api_version} are only allowed to contain record batches with magic version 2"
        )));
    }
    let corrupt = |why: &str| {
        Refusal::new(
            E::CorruptMessage,
            format!("Record is corrupt ({why}) in topic partition {place}."),
        )
    };
    let header = Header::parse(records).ok_or_else(|| corrupt("incomplete header"))?;
    if header.length > records.len() {
        return Err(corrupt("incomplete batch"));
    }
    if header.length < records.len() {
        return Err(invalid(format!(
            "Produce requests with version {api_version} are only allowed to contain exactly one record batch per partition"
        )));
    }
    if header.codec() > 4 {
        return Err(corrupt("unknown compression type"));
    }
    if header.codec() == 4 && api_version < 7 {
        return Err(Refusal::new(
            E::UnsupportedCompressionType,
            format!(
                "Produce requests with version {api_version} are not allowed to use ZStandard compression"
            ),
        ));
    }
    if header.base_offset != 0 {
        return Err(invalid(format!(
            "The baseOffset of the record batch in the append to {place} should be 0, but it is {}",
            header.base_offset
        )));
    }
    check_size(header.length, rules, place)?;
    if !batch::crc_matches(records, &header) {
        return Err(corrupt(&format!("stored crc = {}", header.crc)));
    }
    if header.count <= 0 {
        return Err(invalid(format!(
            "Invalid reported count for record batch: {} in topic partition {place}.",
            header.count
        )));
    }
    if i64::from(header.last_offset_delta) + 1 != i64::from(header.count) {
        return Err(invalid(format!(
            "Inconsistent batch offset range [0, {}] and count of records {} in topic partition {place}.",
            header.last_offset_delta, header.count
        )));
    }
    if header.has_producer() && header.base_sequence < 0 {
        return Err(invalid(format!(
            "Invalid sequence number {} in record batch with producerId {} in topic partition {place}.",
            header.base_sequence, header.producer_id
        )));
    }
    if header.is_control() {
        return Err(invalid(format!(
            "Clients are not allowed to write control records in topic partition {place}."
        )));
    }
    Ok(header)
}

fn check_size(length: usize, rules: &TopicRules, place: &str) -> Result<(), Refusal> {
    if length > rules.max_message_bytes {
        return Err(Refusal::new(
            E::MessageTooLarge,
            format!(
                "The record batch size in the append to {place} is {length} bytes which exceeds the maximum configured value of {}).",
                rules.max_message_bytes
            ),
        ));
    }
    if length > rules.segment_bytes {
        return Err(Refusal::new(
            E::RecordListTooLarge,
            format!(
                "Message batch size is {length} bytes in append to partition {place}, which exceeds the maximum configured segment size of {}.",
                rules.segment_bytes
            ),
        ));
    }
    Ok(())
}

/// Walks the records; returns the largest timestamp among them.
fn check_records(
    records: &Bytes,
    header: &Header,
    rules: &TopicRules,
    place: &str,
    now: i64,
) -> Result<i64, Refusal> {
    let mut index = 0i32;
    let mut max_timestamp = -1i64;
    let mut gaps = false;
    let mut keyless = Vec::new();
    let mut untimely = Vec::new();
    let earliest = now.saturating_sub(rules.timestamp_before_max_ms);
    let latest = now.saturating_add(rules.timestamp_after_max_ms);
    let stamped_elsewhere = rules.log_append_time && header.is_log_append_time();
    batch::walk(records, header, |record| {
        let timestamp = header.base_timestamp.wrapping_add(record.timestamp_delta);
        max_timestamp = max_timestamp.max(timestamp);
        gaps |= record.offset_delta != index;
        if rules.compacted && record.key.is_none() {
            keyless.push((index, format!("Compacted topic cannot accept message without key in topic partition {place}.")));
        }
        if stamped_elsewhere {
            untimely.push((index, "Invalid timestamp type in message. Producer should not set timestamp type to LogAppendTime.".to_owned()));
        } else if !rules.log_append_time && timestamp >= 0 && !(earliest..=latest).contains(&timestamp) {
            untimely.push((index, format!("Timestamp {timestamp} of message with offset {index} is out of range. The timestamp should be within [{earliest}, {latest}]")));
        }
        index += 1;
    })
    .map_err(unreadable)?;
    if !keyless.is_empty() {
        return Err(Refusal {
            error: E::InvalidRecord,
            message: Some("One or more records have been rejected".to_owned()),
            records: keyless,
        });
    }
    if !untimely.is_empty() {
        return Err(Refusal {
            error: E::InvalidTimestamp,
            message: Some(
                "One or more records have been rejected due to invalid timestamp".to_owned(),
            ),
            records: untimely,
        });
    }
    // Uncompressed gaps go through, as they do in Kafka; a compressed batch would be rebuilt there,
    // and that path fails.
    if gaps && header.codec() != 0 {
        return Err(Refusal {
            error: E::UnknownServerError,
            message: None,
            records: Vec::new(),
        });
    }
    Ok(max_timestamp)
}

fn unreadable(error: WalkError) -> Refusal {
    match error {
        WalkError::Compression(_) => Refusal::new(E::CorruptMessage, error.to_string()),
        _ => Refusal::new(E::InvalidRecord, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch::testing::{Draft, patched};
    use super::*;
    use kafka_protocol::records::Compression;

    const NOW: i64 = 1_700_000_000_000;

    fn rules() -> TopicRules {
        TopicRules {
            compacted: false,
            log_append_time: false,
            max_message_bytes: 1_048_588,
            segment_bytes: 1 << 30,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            codec: None,
            min_insync_replicas: 1,
        }
    }

    fn code(batch: &Bytes, rules: &TopicRules) -> i16 {
        validate(batch, 9, rules, "t-0", NOW).map_or_else(|refusal| refusal.error.code(), |_| 0)
    }

    #[test]
    fn structure_is_checked_as_brokers_do() {
        let good = Draft {
            records: vec![(Some("k"), Some("v")); 2],
            ..Draft::default()
        }
        .build();
        let mut twice = BytesMut::from(&good[..]);
        twice.extend_from_slice(&good);
        let mut flipped = BytesMut::from(&good[..]);
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        let control = (1i16 << 5).to_be_bytes();
        let cases: Vec<(&str, Bytes, i16)> = vec![
            ("good", good.clone(), 0),
            ("empty", Bytes::new(), 87),
            ("two batches", twice.freeze(), 87),
            ("payload changed", flipped.freeze(), 2),
            ("base offset", patched(&good, 0, &5i64.to_be_bytes()), 87),
            ("magic 1", patched(&good, 16, &[1]), 87),
            (
                "count above delta",
                patched(&good, 57, &3i32.to_be_bytes()),
                87,
            ),
            (
                "hole in the header",
                patched(&good, 23, &999i32.to_be_bytes()),
                87,
            ),
            ("count 0", patched(&good, 57, &0i32.to_be_bytes()), 87),
            ("count -1", patched(&good, 57, &(-1i32).to_be_bytes()), 87),
            ("control bit", patched(&good, 21, &control), 87),
            (
                "id without sequence",
                patched(&good, 43, &7i64.to_be_bytes()),
                87,
            ),
            (
                "unused attribute bits",
                patched(&good, 21, &(1i16 << 9).to_be_bytes()),
                0,
            ),
            ("truncated", good.slice(..70), 2),
        ];
        for (name, batch, expected) in cases {
            assert_eq!(code(&batch, &rules()), expected, "{name}");
        }
    }

    #[test]
    fn count_and_delta_beyond_the_records_are_refused_in_every_codec() {
        for compression in [
            Compression::None,
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ] {
            let good = Draft {
                compression,
                ..Draft::default()
            }
            .build();
            let wide = patched(&good, 23, &999i32.to_be_bytes());
            assert_eq!(code(&wide, &rules()), 87, "{compression:?}");
            let claimed = patched(&wide, 57, &1000i32.to_be_bytes());
            assert_eq!(code(&claimed, &rules()), 87, "{compression:?}");
        }
    }

    #[test]
    fn the_topics_settings_are_heeded() {
        let plain = Draft {
            timestamp: NOW,
            ..Draft::default()
        };
        let keyless = Draft {
            records: vec![(Some("k"), None), (None, Some("v"))],
            ..plain.clone()
        };
        let early = Draft {
            timestamp: NOW - 400 * 86_400_000,
            ..plain.clone()
        };
        let late = Draft {
            timestamp: NOW + 7_200_000,
            ..plain.clone()
        };
        let appended = patched(&plain.build(), 21, &(1i16 << 3).to_be_bytes());
        let base = rules();
        let cases: Vec<(&str, Bytes, TopicRules, i16)> = vec![
            (
                "null key, compacted",
                keyless.build(),
                TopicRules {
                    compacted: true,
                    ..base
                },
                87,
            ),
            ("null key, delete", keyless.build(), base, 0),
            (
                "too large",
                plain.build(),
                TopicRules {
                    max_message_bytes: 60,
                    ..base
                },
                10,
            ),
            (
                "above segment",
                plain.build(),
                TopicRules {
                    segment_bytes: 60,
                    ..base
                },
                18,
            ),
            ("two hours ahead", late.build(), base, 32),
            (
                "400 days old",
                early.build(),
                TopicRules {
                    timestamp_before_max_ms: 86_400_000,
                    ..base
                },
                32,
            ),
            ("400 days old, no limit", early.build(), base, 0),
            (
                "append time bit, append time topic",
                appended.clone(),
                TopicRules {
                    log_append_time: true,
                    ..base
                },
                32,
            ),
            ("append time bit, create time topic", appended, base, 0),
        ];
        for (name, batch, rules, expected) in cases {
            assert_eq!(code(&batch, &rules), expected, "{name}");
        }
    }

    #[test]
    fn keyless_records_are_named() {
        let batch = Draft {
            records: vec![(Some("k"), None), (None, None)],
            ..Draft::default()
        }
        .build();
        let refusal = validate(
            &batch,
            9,
            &TopicRules {
                compacted: true,
                ..rules()
            },
            "t-0",
            NOW,
        )
        .expect_err("refused");
        assert_eq!(refusal.records.len(), 1);
        assert_eq!(refusal.records[0].0, 1);
    }

    #[test]
    fn gaps_pass_uncompressed_and_fail_compressed() {
        // Two records, then the second one's offset delta is patched from 1 to 2 (zigzag 2 -> 4).
        let build = |compression| {
            Draft {
                compression,
                records: vec![(None, None); 2],
                ..Draft::default()
            }
            .build()
        };
        let plain = build(Compression::None);
        let at = plain.len() - 4;
        assert_eq!(plain[at], 2, "the delta's place");
        let gappy = patched(&plain, at, &[4]);
        assert_eq!(code(&gappy, &rules()), 0);
        let header = Header::parse(&gappy).expect("header");
        let squeezed = batch::recompressed(&gappy, &header, 4)
            .expect("compresses")
            .freeze();
        assert_eq!(code(&squeezed, &rules()), -1);
    }

    #[test]
    fn timestamps_are_stamped_or_mended_and_the_checksum_with_them() {
        let batch = Draft {
            timestamp: NOW,
            ..Draft::default()
        }
        .build();
        let lying = patched(&batch, 35, &(NOW + 99).to_be_bytes());
        for (input, log_append_time, expected) in [
            (&batch, false, NOW),
            (&lying, false, NOW),
            (&batch, true, NOW + 5),
        ] {
            let accepted = validate(
                input,
                9,
                &TopicRules {
                    log_append_time,
                    ..rules()
                },
                "t-0",
                NOW + 5,
            )
            .expect("accepted");
            let header = Header::parse(&accepted.bytes).expect("header");
            assert_eq!(header.max_timestamp, expected);
            assert_eq!(header.is_log_append_time(), log_append_time);
            assert!(batch::crc_matches(&accepted.bytes.freeze(), &header));
        }
    }

    #[test]
    fn another_codec_of_the_topic_rewrites_the_payload() {
        let batch = Draft::default().build();
        let accepted = validate(
            &batch,
            9,
            &TopicRules {
                codec: Some(4),
                ..rules()
            },
            "t-0",
            NOW,
        )
        .expect("accepted");
        assert_eq!(Header::parse(&accepted.bytes).expect("header").codec(), 4);
        let same = validate(
            &batch,
            9,
            &TopicRules {
                codec: Some(0),
                ..rules()
            },
            "t-0",
            NOW,
        )
        .expect("accepted");
        assert_eq!(same.bytes[..], batch[..]);
    }
}
