//! The embedded broker: in memory, on loopback, for trying things and for tests.
