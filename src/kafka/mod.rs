//! The wire client: connections, version negotiation, routing, and typed, batched calls over them.
//!
//! A [`Connection`] speaks to one broker, a [`Client`] to a cluster. Both send the messages of
//! `kafka_protocol`; [`admin`] gives the calls that change or describe a cluster, with one result per
//! item and retries inside a deadline. [`fetch`] and [`produce`] move whole record batches as bytes,
//! [`buffers`] bounds the memory they lie in, [`transactions`] has the parts of transactions.
//! [`security`] is what stands between a TCP connection and the first request.

pub mod admin;
pub mod backoff;
pub mod buffers;
pub mod client;
pub mod code;
pub mod connection;
pub mod epochs;
pub mod error;
pub mod fetch;
pub mod metadata;
pub mod produce;
pub mod security;
pub mod transactions;
pub mod versions;

pub use admin::Admin;
pub use backoff::Backoff;
pub use buffers::{Buffers, Reservation};
pub use client::{Client, ClientConfig, CoordinatorKind, LARGEST_ANSWER, Target, Topics};
pub use code::{ErrorClass, ErrorCode};
pub use connection::{Connection, ConnectionOptions};
pub use error::{Asked, Attempt, Error, Operation};
pub use fetch::Isolation;
pub use metadata::{Broker, ClusterMetadata, PartitionMetadata, TopicMetadata};
pub use security::Security;
