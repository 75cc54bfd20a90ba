//! kmirror: declarative mirroring between Kafka clusters.
//!
//! Start at [`cli`] for the commands; docs/architecture.md draws the house.

pub mod apply;
pub mod cli;
pub mod client;
pub mod control;
pub mod doctor;
pub mod files;
pub mod import;
pub mod inventory;
pub mod kafka;
pub mod linking;
pub mod mirror;
pub mod nearest;
pub mod observe;
pub mod plan;
pub mod report;
pub mod rest;
pub mod sandbox;
pub mod server;
pub mod status;
pub mod topology;
