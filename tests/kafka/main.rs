//! Tests on real Kafka. `scripts/test` runs them; see docs/testing.md.

#[path = "../support/mod.rs"]
mod support;

mod apply;
mod bench;
mod copy;
mod kill;
mod kit;
mod plan;
mod tutorial;

fn main() {
    let tests = [
        kit::tests(),
        plan::tests(),
        apply::tests(),
        tutorial::tests(),
        copy::tests(),
        kill::tests(),
        bench::tests(),
    ];
    support::runner::main(tests.concat());
}
