//! CRC-32C of a batch after its header was changed, without reading the records.
//!
//! CRC-32C is linear over GF(2): for two inputs of equal length the exclusive or of their checksums
//! depends only on the exclusive or of the inputs. The checksum of a batch covers the bytes from 21
//! to the end, and all that is ever changed lies in the 40 header bytes 21 to 60, so
//! `new = old ^ shift(crc(old header) ^ crc(new header), payload length)`, where `shift` appends
//! that many zero bytes. A shift multiplies by x^(8n) modulo the polynomial; with a table of
//! x^(2^k) that is one polynomial product for each bit set in n. The `crc32c` crate's own
//! `crc32c_combine` squares matrices at every call (5-9 us), which is slower than reading a small batch.

/// The Castagnoli polynomial, bit-reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(2^k) modulo the polynomial, in reversed bit order (x^0 is the highest bit). The Castagnoli
/// polynomial is x + 1 times a primitive one of degree 31, so x has the order 2^31 - 1 and the
/// squares repeat after 31.
const POWERS: [u32; 31] = powers();

const fn powers() -> [u32; 31] {
    let mut table = [0u32; 31];
    table[0] = 1 << 30; // x^1
    let mut k = 1;
    while k < 31 {
        table[k] = multiply(table[k - 1], table[k - 1]);
        k += 1;
    }
    table
}

/// Product of two polynomials modulo the Castagnoli polynomial, both bit-reversed.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0u32;
    let mut bit = 1u32 << 31;
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = if b & 1 != 0 {
            (b >> 1) ^ POLYNOMIAL
        } else {
            b >> 1
        };
        bit >>= 1;
    }
    product
}

/// `crc` as it would be with `zeros` zero bytes appended, for a register without pre- and post-inversion.
pub fn shift(crc: u32, zeros: usize) -> u32 {
    let mut result = crc;
    let mut remaining = zeros;
    // Bytes are eight bits: the exponent of the lowest bit of `zeros` is 2^3.
    let mut k = 3;
    while remaining != 0 {
        if remaining & 1 != 0 {
            result = multiply(POWERS[k % POWERS.len()], result);
        }
        remaining >>= 1;
        k += 1;
    }
    result
}

/// The checksum of a batch whose 40 checksummed header bytes changed from `old` to `new`.
pub fn patched(stored: u32, old: &[u8], new: &[u8], payload_len: usize) -> u32 {
    stored ^ shift(crc32c::crc32c(old) ^ crc32c::crc32c(new), payload_len)
}

/// The part of a batch's checksum that the records alone contribute: equal for copies of a batch
/// whatever their headers say, and different where the records differ.
pub fn of_payload(stored: u32, header: &[u8], payload_len: usize) -> u32 {
    stored ^ shift(crc32c::crc32c(header), payload_len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_patched_checksum_equals_the_recomputed_one(
            old in proptest::collection::vec(any::<u8>(), 40),
            new in proptest::collection::vec(any::<u8>(), 40),
            payload in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let whole = |header: &[u8]| crc32c::crc32c(&[header, &payload].concat());
            prop_assert_eq!(patched(whole(&old), &old, &new, payload.len()), whole(&new));
        }

        #[test]
        fn copies_with_other_headers_have_one_payload_checksum(
            old in proptest::collection::vec(any::<u8>(), 40),
            new in proptest::collection::vec(any::<u8>(), 40),
            payload in proptest::collection::vec(any::<u8>(), 0..5000),
        ) {
            let of = |header: &[u8]| {
                of_payload(crc32c::crc32c(&[header, &payload].concat()), header, payload.len())
            };
            prop_assert_eq!(of(&old), of(&new));
        }
    }

    #[test]
    fn shifts_add_up_beyond_the_end_of_the_table() {
        let step = 1usize << 26;
        let mut stepwise = 0x1234_5678;
        for _ in 0..31 {
            stepwise = shift(stepwise, step);
        }
        assert_eq!(stepwise, shift(0x1234_5678, 31 * step));
    }

    #[test]
    fn a_long_payload_is_shifted_over_too() {
        let (old, new) = ([1u8; 40], [7u8; 40]);
        let payload = vec![0xa5u8; 9 << 20];
        let whole = |header: &[u8]| crc32c::crc32c(&[header, &payload].concat());
        assert_eq!(patched(whole(&old), &old, &new, payload.len()), whole(&new));
    }
}
