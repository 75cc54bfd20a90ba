//! Kafka's REST API v3, as far as cluster links go: what it answers ([`documents`]), asking for it ([`links`]), and
//! waiting until what was asked for is so ([`steps`], and [`turn`] where two clusters take part).
//!
//! The facts are those of the OpenAPI documents that Confluent publishes for Confluent Cloud and for Confluent Platform (7.0, 7.1 and
//! later), which differ from each other and from what servers answer. So reading is lenient: both spellings of a key,
//! states in any case, unknown ones kept; and any status of 200 to 299 is success.

pub mod documents;
pub mod links;
pub mod refusal;
pub mod steps;
#[cfg(test)]
mod tests;
pub mod turn;
