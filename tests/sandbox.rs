//! The embedded broker against an independent client (librdkafka) and, version by version, against
//! Kafka's own message definitions. Needs no Java and no network beyond loopback.

#[path = "sandbox/access.rs"]
mod access;
#[path = "sandbox/clients.rs"]
mod clients;
#[path = "sandbox/command.rs"]
mod command;
#[path = "sandbox/groups.rs"]
mod groups;
#[path = "sandbox/records.rs"]
mod records;
#[path = "sandbox/transactions.rs"]
mod transactions;
#[path = "sandbox/versions.rs"]
mod versions;
