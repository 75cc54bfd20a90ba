//! Tests on real Kafka. `scripts/test` runs them; see docs/testing.md.

#[allow(
    dead_code,
    reason = "parts of the kit wait for the tests that use them"
)]
#[path = "../support/mod.rs"]
mod support;

mod kit;

fn main() {
    let tests = [kit::tests()].concat();
    support::runner::main(tests);
}
