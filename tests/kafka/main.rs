//! Tests on real Kafka. `scripts/test` runs them; see docs/testing.md.

#[path = "../conformance/mod.rs"]
mod conformance;
#[path = "../support/mod.rs"]
mod support;

mod apply;
mod bench;
mod checks;
mod control;
mod copy;
mod doctor;
mod examples;
mod faults;
mod formats;
mod import;
mod kill;
mod kit;
mod life;
mod links;
mod live;
mod memory;
mod network;
mod offsets;
mod plan;
mod racer;
mod rest;
mod reversal;
mod rules;
mod sandbox_tools;
mod scale;
mod secured;
mod shared;
mod sharing;
mod storage;
mod traces;
mod tutorial;
mod wire;

fn main() {
    racer::run_if_asked();
    let tests = [
        kit::tests(),
        plan::tests(),
        apply::tests(),
        checks::tests(),
        wire::tests(),
        traces::tests(),
        control::tests(),
        tutorial::tests(),
        copy::tests(),
        offsets::tests(),
        formats::tests(),
        live::tests(),
        import::tests(),
        kill::tests(),
        life::tests(),
        faults::tests(),
        memory::tests(),
        network::tests(),
        rules::tests(),
        shared::tests(),
        sharing::tests(),
        doctor::tests(),
        rest::tests(),
        links::tests(),
        reversal::tests(),
        storage::tests(),
        sandbox_tools::tests(),
        secured::tests(),
        examples::tests(),
        bench::tests(),
        scale::tests(),
    ];
    support::runner::main(tests.concat());
}
