//! Decompression that ends: a few damaged or hostile bytes may claim to be gigabytes.
//!
//! Whatever is decompressed may have as many bytes as the largest answer of a broker. Old producers left two things
//! to be put up with: LZ4 frames whose header has a wrong checksum (in message format v0), and snappy
//! either as one block or in the framing of Java's library.

use std::io::Read;

use bytes::Bytes;
use thiserror::Error;

use crate::kafka::LARGEST_ANSWER;

/// Why bytes could not be decompressed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    #[error("codec {0} is unknown here")]
    Unknown(i16),
    #[error("{0}")]
    Damaged(String),
    #[error("they take more than {most} bytes")]
    TooLarge { most: usize },
}

impl CodecError {
    fn damaged(cause: impl std::fmt::Display) -> Self {
        Self::Damaged(cause.to_string())
    }
}

/// What compressed records hold: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
///
/// # Errors
/// Where they are damaged, or larger than the largest answer of a broker.
pub fn decompressed(codec: i16, bytes: Bytes) -> Result<Bytes, CodecError> {
    bounded(codec, bytes, LARGEST_ANSWER)
}

/// The same for a message of format v0, whose LZ4 frames have a header with a checksum over the wrong bytes.
///
/// # Errors
/// As of [`decompressed`].
pub fn decompressed_v0(codec: i16, bytes: Bytes) -> Result<Bytes, CodecError> {
    match codec {
        3 => {
            let header = mended_lz4_header(&bytes).ok_or_else(|| {
                CodecError::Damaged("the header of the LZ4 frame is cut short".to_owned())
            })?;
            let rest = &bytes[header.len()..];
            lz4((&header[..]).chain(rest), LARGEST_ANSWER)
        }
        _ => decompressed(codec, bytes),
    }
}

fn bounded(codec: i16, bytes: Bytes, most: usize) -> Result<Bytes, CodecError> {
    match codec {
        0 => Ok(bytes),
        // Whatever is written as several members is one stream.
        1 => read(flate2::read::MultiGzDecoder::new(&bytes[..]), most),
        2 => snappy(&bytes, most),
        3 => lz4(&bytes[..], most),
        4 => {
            let decoder = zstd::stream::read::Decoder::new(&bytes[..]);
            read(decoder.map_err(CodecError::damaged)?, most)
        }
        unknown => Err(CodecError::Unknown(unknown)),
    }
}

fn read(from: impl Read, most: usize) -> Result<Bytes, CodecError> {
    let mut out = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    from.take(limit)
        .read_to_end(&mut out)
        .map_err(CodecError::damaged)?;
    if out.len() > most {
        return Err(CodecError::TooLarge { most });
    }
    Ok(Bytes::from(out))
}

fn lz4(from: impl Read, most: usize) -> Result<Bytes, CodecError> {
    let mut decoder = lz4::Decoder::new(from).map_err(CodecError::damaged)?;
    let out = read(&mut decoder, most)?;
    // It takes the end of its input for the end of the frame, unless asked.
    let (_, outcome) = decoder.finish();
    outcome.map_err(|_| CodecError::Damaged("the LZ4 frame is cut short".to_owned()))?;
    Ok(out)
}

/// What every header of Java's framing begins with, versions following.
const XERIAL: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: usize = 16;

fn snappy(bytes: &[u8], most: usize) -> Result<Bytes, CodecError> {
    if bytes.len() < XERIAL_HEADER || !bytes.starts_with(XERIAL) {
        let mut out = Vec::new();
        snappy_block(bytes, &mut out, most)?;
        return Ok(Bytes::from(out));
    }
    let mut rest = &bytes[XERIAL_HEADER..];
    let mut out = Vec::new();
    while !rest.is_empty() {
        if rest.len() >= XERIAL_HEADER && rest.starts_with(XERIAL) {
            // Streams that were put one behind the other.
            rest = &rest[XERIAL_HEADER..];
            continue;
        }
        let cut = || CodecError::Damaged("a snappy block is cut short".to_owned());
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| cut())?;
        let (block, behind) = behind.split_at_checked(length).ok_or_else(cut)?;
        snappy_block(block, &mut out, most)?;
        rest = behind;
    }
    Ok(Bytes::from(out))
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>, most: usize) -> Result<(), CodecError> {
    let length = snap::raw::decompress_len(block).map_err(CodecError::damaged)?;
    // A byte and a bit of input make at most 64 of output, so what claims more is refused before memory is taken for it.
    if length > block.len().saturating_mul(64) {
        let claims = format!("a snappy block of {} bytes claims {length}", block.len());
        return Err(CodecError::Damaged(claims));
    }
    let start = out.len();
    let end = start.saturating_add(length);
    if end > most {
        return Err(CodecError::TooLarge { most });
    }
    out.resize(end, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut out[start..])
        .map_err(CodecError::damaged)?;
    out.truncate(start + written);
    Ok(())
}

/// The header of an LZ4 frame with the checksum that it should have; `None` where it is cut short.
fn mended_lz4_header(frame: &[u8]) -> Option<Vec<u8>> {
    const CONTENT_SIZE: u8 = 1 << 3;
    const DICTIONARY: u8 = 1;
    /// Magic number (4), flags and block size.
    const FLAGS_AT: usize = 4;
    let flags = *frame.get(FLAGS_AT)?;
    let mut end = FLAGS_AT + 2;
    if flags & CONTENT_SIZE != 0 {
        end += 8;
    }
    if flags & DICTIONARY != 0 {
        end += 4;
    }
    let mut header = frame.get(..=end)?.to_vec();
    let [_, second, ..] = xxh32(&header[FLAGS_AT..end]).to_le_bytes();
    header[end] = second;
    Some(header)
}

/// XXH32 with seed 0 of fewer than 16 bytes, which the header of an LZ4 frame always has.
fn xxh32(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [
        0x9E37_79B1,
        0x85EB_CA77,
        0xC2B2_AE3D,
        0x27D4_EB2F,
        0x1656_67B1,
    ];
    debug_assert!(bytes.len() < 16, "longer input takes another way");
    let length = u32::try_from(bytes.len()).expect("fewer than 16 bytes");
    let mut hash = PRIMES[4].wrapping_add(length);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        hash = hash
            .wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]))
            .rotate_left(17)
            .wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        hash = hash
            .wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]))
            .rotate_left(11)
            .wrapping_mul(PRIMES[0]);
    }
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(PRIMES[1]);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// By the libraries themselves, with what producers may choose.
    fn compressed(codec: i16, bytes: &[u8]) -> Bytes {
        let out = match codec {
            1 => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).expect("memory");
                encoder.finish().expect("memory")
            }
            2 => snap::raw::Encoder::new()
                .compress_vec(bytes)
                .expect("short"),
            3 => {
                let mut encoder = lz4::EncoderBuilder::new()
                    .content_size(bytes.len() as u64)
                    .build(Vec::new())
                    .expect("memory");
                encoder.write_all(bytes).expect("memory");
                encoder.finish().0
            }
            4 => zstd::encode_all(bytes, 0).expect("memory"),
            _ => bytes.to_vec(),
        };
        Bytes::from(out)
    }

    fn xerial(blocks: &[&[u8]]) -> Bytes {
        let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
        for block in blocks {
            let block = compressed(2, block);
            out.extend(u32::try_from(block.len()).expect("short").to_be_bytes());
            out.extend(&block[..]);
        }
        Bytes::from(out)
    }

    /// One megabyte of a producer would take all the memory of a worker.
    #[test]
    fn what_becomes_too_large_is_refused() {
        let zeros = vec![0; 1 << 20];
        for codec in 1..=4 {
            let small = compressed(codec, &zeros);
            assert_eq!(
                bounded(codec, small.clone(), 1 << 20),
                Ok(zeros.clone().into())
            );
            assert_eq!(
                bounded(codec, small, (1 << 20) - 1),
                Err(CodecError::TooLarge {
                    most: (1 << 20) - 1
                }),
                "codec {codec}"
            );
        }
        let twice = xerial(&[&zeros, &zeros]);
        assert!(matches!(
            bounded(2, twice, 3 << 19),
            Err(CodecError::TooLarge { .. })
        ));
        // A length of 4 GiB before nothing.
        let lies = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]);
        assert!(matches!(decompressed(2, lies), Err(CodecError::Damaged(_))));
        assert_eq!(decompressed(5, Bytes::new()), Err(CodecError::Unknown(5)));
    }

    #[test]
    fn streams_that_were_put_together_are_read_to_their_end() {
        let gzip = [&compressed(1, b"one ")[..], &compressed(1, b"two")[..]].concat();
        assert_eq!(
            decompressed(1, gzip.into()),
            Ok(Bytes::from_static(b"one two"))
        );
        let snappy = [&xerial(&[b"one ", b"two "])[..], &xerial(&[b"three"])[..]].concat();
        assert_eq!(
            decompressed(2, snappy.into()),
            Ok(Bytes::from_static(b"one two three"))
        );
    }

    /// Values of the reference implementation.
    #[test]
    fn the_checksum_of_lz4_is_the_reference_one() {
        assert_eq!(xxh32(b""), 0x02CC_5D05);
        assert_eq!(xxh32(b"a"), 0x550D_7456);
        assert_eq!(xxh32(b"abc"), 0x32D1_53FF);
    }

    proptest! {
        /// Format v0 has a checksum over the magic number too; what libraries write has to be read all the same.
        #[test]
        fn lz4_of_format_v0_is_read_whatever_its_header_says(
            bytes in proptest::collection::vec(any::<u8>(), 1..4_000),
            checksum: u8,
        ) {
            let mut frame = compressed(3, &bytes).to_vec();
            // Magic number, flags, block size, content size, which is left out where there is nothing.
            let right = std::mem::replace(&mut frame[14], checksum);
            prop_assert_eq!(decompressed_v0(3, frame.clone().into()), Ok(bytes.clone().into()));
            prop_assert_eq!(decompressed(3, frame.into()).is_ok(), checksum == right);
        }

        #[test]
        fn a_cut_end_is_noticed(bytes in proptest::collection::vec(any::<u8>(), 1..2_000), codec in 1i16..5, cut: prop::sample::Index) {
            let whole = compressed(codec, &bytes);
            prop_assert_eq!(decompressed(codec, whole.clone()), Ok(bytes.into()));
            let cut = whole.slice(..cut.index(whole.len()));
            // No bytes at all are no frame, which is an empty stream of zstd and of LZ4.
            prop_assert!(cut.is_empty() || decompressed(codec, cut).is_err());
        }

        #[test]
        fn nonsense_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300), codec in 0i16..6) {
            let _outcome = decompressed(codec, bytes.clone().into());
            let _outcome = decompressed_v0(codec, bytes.clone().into());
            let framed = [&b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01"[..], &bytes].concat();
            let _outcome = decompressed(2, framed.into());
        }
    }
}
