//! The mirror engine's I/O on embedded brokers with injected faults. Needs no Java.

#[path = "mirror/copies.rs"]
mod copies;
#[path = "mirror/lab.rs"]
mod lab;
#[path = "mirror/owner.rs"]
mod owner;
