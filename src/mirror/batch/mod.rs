//! Record batches as bytes.
//!
//! A batch (magic 2, KIP-98) is a 61-byte header followed by its records, which stay compressed and
//! untouched on the way through. [`header`] reads the header, [`crc`] patches the checksum without
//! reading the records, [`rewrite`] makes a batch ready for the destination, and [`repack`] decodes
//! and re-encodes the few batches that cannot be passed on as they are. [`messages`] makes batches of what was written in the
//! formats before them, [`codec`] decompresses, [`provenance`] marks
//! records with where they came from, and [`filler`] makes batches that only take up offsets.

pub mod codec;
pub mod crc;
pub mod filler;
pub mod header;
pub mod messages;
pub mod provenance;
pub mod repack;
pub mod rewrite;

#[cfg(test)]
pub mod samples;

pub use header::{BatchHeader, HEADER_LEN, HeaderError};
pub use rewrite::{Rewritten, Stamp};
