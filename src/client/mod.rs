//! What a client needs to reach a cluster besides its addresses: transport security, identity,
//! time limits.
//!
//! The same settings are written in several ways (a Java `client.properties`, librdkafka's
//! properties, tables of the topology file); this room holds what they mean ([`settings`]) and the
//! values that must not be seen ([`secret`]). It does no I/O but reading the file that a secret or a
//! certificate lies in. The connection itself is made in [`crate::kafka`].

pub mod secret;
pub mod sensitive;
pub mod settings;

pub use secret::{Origin, Secret, Text};
pub use settings::{ClientSettings, Place, SecurityProtocol};
