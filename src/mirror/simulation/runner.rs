//! Plays seeds on all cores, and tells what is needed to understand the one that failed.
//!
//! A run that breaks an invariant panics with it. It is then played again without each of its kinds of faults in turn, as
//! long as it still breaks the same way, and once more with its steps noted: what is printed is the seed, the faults
//! that are left, and the last steps.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::plan::{Fault, Plan};
use super::trace::Trace;
use super::world::{Ending, World};
use crate::mirror::partition::Failure;

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Summary {
    pub runs: u64,
    pub equal: u64,
    /// Those in which a hole ended equal offsets.
    pub translated: u64,
    pub failed: BTreeMap<&'static str, u64>,
    pub struck: BTreeMap<Fault, u64>,
    pub steps: u64,
    pub slowest: (u64, u64),
}

/// Kinds of broken runs that are reported in full.
const REPORTED: usize = 4;

/// Runs that broke an invariant in the same words.
#[derive(Debug)]
struct Broken {
    seed: u64,
    words: String,
    runs: u64,
}

/// How many seeds are asked for.
pub fn seeds(otherwise: u64) -> u64 {
    let asked = std::env::var("KMIRROR_SEEDS").ok();
    asked
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// The first seed, so that one can be played alone.
fn first_seed() -> u64 {
    let asked = std::env::var("KMIRROR_SEED").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Plays `count` seeds; panics with a report of each kind of broken run, of its lowest seed.
pub fn play(count: u64) -> Summary {
    let first = first_seed();
    let next = AtomicU64::new(first);
    let summary = Mutex::new(Summary::default());
    let broken: Mutex<BTreeMap<String, Broken>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Summary::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    if let Err(words) = played(&Plan::draw(seed), &mut mine) {
                        let mut broken = broken.lock().expect("nobody panics with it");
                        let known = broken.entry(kind(&words)).or_insert(Broken {
                            seed,
                            words: words.clone(),
                            runs: 0,
                        });
                        known.runs += 1;
                        if seed < known.seed {
                            known.seed = seed;
                            known.words = words;
                        }
                    }
                }
                summary.lock().expect("nobody panics with it").add(mine);
            });
        }
    });
    let summary = summary.into_inner().expect("nobody panics with it");
    let rate = summary.runs as f64 / began.elapsed().as_secs_f64();
    println!("{rate:.0} seeds a second: {summary:?}");
    let mut broken: Vec<Broken> = broken
        .into_inner()
        .expect("nobody panics with it")
        .into_values()
        .collect();
    if broken.is_empty() {
        return summary;
    }
    // Who plays one alone wants all of it.
    let lines = if count == 1 { 20_000 } else { 160 };
    broken.sort_by_key(|broken| std::cmp::Reverse(broken.runs));
    let list: Vec<String> = broken
        .iter()
        .map(|broken| {
            format!(
                "{} runs, first seed {}: {}",
                broken.runs, broken.seed, broken.words
            )
        })
        .collect();
    let reports: Vec<String> = broken
        .iter()
        .take(REPORTED)
        .map(|broken| report(broken.seed, &broken.words, lines))
        .collect();
    panic!(
        "{} kinds of broken runs:\n{}\n\n{}",
        list.len(),
        list.join("\n"),
        reports.join("\n")
    );
}

/// One run; the words of what it broke.
fn played(plan: &Plan, summary: &mut Summary) -> Result<(), String> {
    let mut world = World::new(plan.clone(), Trace::default());
    let outcome = quietly(|| world.run());
    let ending = outcome?;
    summary.runs += 1;
    summary.steps += world.steps;
    summary.translated += u64::from(world.judge.translated);
    if world.steps > summary.slowest.0 {
        summary.slowest = (world.steps, plan.seed);
    }
    for fault in world.struck {
        *summary.struck.entry(fault).or_default() += 1;
    }
    match ending {
        Ending::Equal => summary.equal += 1,
        Ending::Failed(failure) => *summary.failed.entry(name(&failure)).or_default() += 1,
    }
    Ok(())
}

thread_local! {
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Runs with panics caught and not printed.
fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                before(panic);
            }
        }));
    });
    QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_else(|| "a panic without words".to_owned())
    })
}

/// The first words, which say what kind of mistake it is.
fn kind(words: &str) -> String {
    words
        .split(|c: char| c.is_ascii_digit())
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn report(seed: u64, words: &str, lines: usize) -> String {
    let mut plan = Plan::draw(seed);
    let all: Vec<Fault> = plan.strikes.iter().map(|strikes| strikes.fault).collect();
    for fault in all {
        let fewer = plan.without(&[fault]);
        let still = played(&fewer, &mut Summary::default());
        if still.is_err_and(|other| kind(&other) == kind(words)) {
            plan = fewer;
        }
    }
    let trace = Trace::kept(lines);
    let mut world = World::new(plan.clone(), trace.clone());
    let words = quietly(|| world.run())
        .err()
        .unwrap_or_else(|| words.to_owned());
    format!(
        "seed {seed}: {words}\n\nfaults needed: {:?}\n{plan:#?}\n\nthe last steps:\n{}\nKMIRROR_SEED={seed} KMIRROR_SEEDS=1 plays it alone",
        plan.strikes,
        trace.text()
    )
}

impl Summary {
    fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.equal += other.equal;
        self.translated += other.translated;
        self.steps += other.steps;
        self.slowest = self.slowest.max(other.slowest);
        for (name, count) in other.failed {
            *self.failed.entry(name).or_default() += count;
        }
        for (fault, count) in other.struck {
            *self.struck.entry(fault).or_default() += count;
        }
    }
}

fn name(failure: &Failure) -> &'static str {
    match failure {
        Failure::ForeignWrite { .. } => "ForeignWrite",
        Failure::Fenced { .. } => "Fenced",
        Failure::DestinationCutBack { .. } => "DestinationCutBack",
        Failure::DestinationTooShort { .. } => "DestinationTooShort",
        Failure::MapTooShort { .. } => "MapTooShort",
        Failure::Scattered { .. } => "Scattered",
        Failure::Uncountable { .. } => "Uncountable",
        Failure::Displaced { .. } => "Displaced",
        Failure::CannotAlign { .. } => "CannotAlign",
        Failure::HoleTooLarge { .. } => "HoleTooLarge",
        Failure::CannotPad { .. } => "CannotPad",
        Failure::NotACopy { .. } => "NotACopy",
        Failure::SourceExpired { .. } => "SourceExpired",
        Failure::SourceExpiredUncounted { .. } => "SourceExpiredUncounted",
        Failure::SourceTruncated { .. } => "SourceTruncated",
        Failure::SourceCutBack { .. } => "SourceCutBack",
        Failure::SourceUncompared { .. } => "SourceUncompared",
        Failure::SourceDiverged { .. } => "SourceDiverged",
        Failure::SourceUndecided { .. } => "SourceUndecided",
        Failure::SourceRecreated { .. } => "SourceRecreated",
        Failure::SourceDeleted { .. } => "SourceDeleted",
        Failure::DestinationRecreated { .. } => "DestinationRecreated",
        Failure::DestinationDeleted { .. } => "DestinationDeleted",
        Failure::Unreadable(_) => "Unreadable",
        Failure::Refused { .. } => "Refused",
        Failure::Call { .. } => "Call",
    }
}
