//! The mirror engine in a simulated world: source, network, destination cluster, worker group and clock, with faults at any moment.
//!
//! A seed fixes a whole run. [`plan`] draws what a run is made of; [`world`] has the clock and the one queue of things
//! that are going to happen; everything else is a model of one part:
//!
//! | file | models |
//! |---|---|
//! | [`source`] | the source's log and what `read_committed` shows of it |
//! | [`log`], [`destination`], [`controller`] | a replica and its memory of producers; leader and followers; who leads, and broker failures |
//! | [`network`] | connections, and the lanes of `io::writer` |
//! | [`tail`], [`store`], [`markers`] | `io::tail`, `io::keeper`, `io::pad` and `io::watermark` |
//! | [`worker`], [`group`] | a worker's life, lease and task (`io::task`); the group's coordinator |
//! | [`faults`] | what goes wrong |
//! | [`invariants`] | what must hold after each step, and exactly what is promised where not all can be |
//! | [`content`] | batches whose records can be told apart |
//! | [`replay`] | recordings of real brokers, which [`log`] has to answer like them |
//! | [`runner`], [`trace`] | many seeds on all cores; what is told of one that failed |
//!
//! `KMIRROR_SEEDS=20000 cargo test --release --lib simulation` plays more seeds; `KMIRROR_SEED=17 KMIRROR_SEEDS=1` plays one.
//! A run that breaks something is told with its seed, the faults that it needs and its last steps; played alone, with all of them.

mod content;
mod controller;
mod destination;
mod faults;
mod group;
mod invariants;
mod log;
mod markers;
mod network;
mod plan;
mod replay;
mod runner;
mod source;
mod store;
mod tail;
mod trace;
mod worker;
mod world;

/// Without this, a worker that is killed, frozen or cut off, or a broker that is, could lose or repeat records.
#[test]
fn whatever_fails_the_copy_is_exact_or_the_mirror_says_truly_why_not() {
    let summary = runner::play(runner::seeds(1_000));
    // A simulation in which nothing happens would pass as well.
    assert!(
        summary.equal * 2 > summary.runs || summary.runs < 100,
        "{summary:?}"
    );
    let all_faults = summary.runs < 1_000 || summary.struck.len() == plan::FAULTS;
    assert!(all_faults, "{summary:?}");
}

/// Without this, the seed of a failed run would not bring it back.
#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..20 {
        let lines = || {
            let trace = trace::Trace::kept(1_000);
            let mut world = world::World::new(plan::Plan::draw(seed), trace.clone());
            let ending = format!("{:?}", world.run());
            (ending, world.steps, world.now, trace.text())
        };
        assert_eq!(lines(), lines(), "seed {seed}");
    }
}
