//! What a client needs to reach a cluster besides its addresses: transport security, identity,
//! time limits.
//!
//! The same settings are written in several ways (a Java `client.properties`, librdkafka's
//! properties, tables of the topology file); this room reads them ([`properties`], [`jaas`]), knows
//! every key ([`keys`]), finds out what they mean together ([`interpret`], [`settings`]) and holds the
//! values that must not be seen ([`secret`]). It does no I/O but reading the file that a secret lies
//! in, and what [`surroundings`] looks up. The connection itself is made in [`crate::kafka`].

#[cfg(test)]
mod fuzz;
pub mod interpret;
pub mod jaas;
pub mod keys;
pub mod properties;
pub mod secret;
pub mod sensitive;
pub mod settings;
pub mod surroundings;
pub mod url;
pub mod written;

pub use secret::{Origin, Secret, Text};
pub use settings::{ClientSettings, Place, SecurityProtocol};
