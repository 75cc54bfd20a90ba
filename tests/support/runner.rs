//! Which tests run, how many at a time, and what is said about them.
//!
//! A test declares its tier, the brokers (JVMs) it needs and the time it is expected to take. The tier is chosen by
//! `KMIRROR_TIER` (`readme` or `long`; the latter includes the former), which `scripts/test` sets; without it nothing
//! runs, so that plain `cargo test` needs neither Java nor minutes. `bench` selects only measurements.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use super::lab::Lab;

/// When a test is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// By `scripts/test`.
    Readme,
    /// By `scripts/test --long` in addition.
    Long,
    /// By `scripts/bench` alone.
    Bench,
}

/// A test and what it declares.
#[derive(Debug, Clone)]
pub struct Test {
    pub name: &'static str,
    pub tier: Tier,
    /// JVMs alive at a time, tools not counted.
    pub brokers: usize,
    /// Expected duration on two cores; four times as much (and at least two minutes) ends the run.
    pub seconds: u64,
    pub body: fn(&Lab) -> Result<()>,
}

/// Brokers alive at a time over all tests: 12 small ones with their tools stay below 6 GiB.
const BROKERS: usize = 12;

/// Runs what the environment and the command line select; never returns.
pub fn main(tests: Vec<Test>) -> ! {
    let mut arguments = Arguments::from_args();
    let tier = std::env::var("KMIRROR_TIER").ok();
    let selected = |test: &Test| match tier.as_deref() {
        Some("readme") => test.tier == Tier::Readme,
        Some("long") => matches!(test.tier, Tier::Readme | Tier::Long),
        Some("bench") => test.tier == Tier::Bench,
        _ => false,
    };
    if tier.is_none() && !arguments.list {
        println!(
            "\ntests on real Kafka are not run here: scripts/test runs them (it needs a JRE and Maven)"
        );
    }
    if arguments.test_threads.is_none() {
        // Most of a test is brokers at work; more at a time than cores only makes every one of them slower.
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        arguments.test_threads = Some(if tier.as_deref() == Some("bench") {
            1
        } else {
            cores.clamp(2, 6)
        });
    }
    let state = Arc::new(State::default());
    let trials = tests
        .into_iter()
        .map(|test| {
            let ignored = !selected(&test);
            let state = Arc::clone(&state);
            Trial::test(test.name, move || run(&test, &state)).with_ignored_flag(ignored)
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    state.report();
    conclusion.exit()
}

#[derive(Default)]
struct State {
    brokers: Mutex<usize>,
    freed: Condvar,
    times: Mutex<Vec<(String, Duration, u64)>>,
}

impl State {
    fn take(&self, wanted: usize) -> usize {
        let wanted = wanted.min(BROKERS);
        let mut used = self
            .brokers
            .lock()
            .expect("no panic while the lock is held");
        while *used + wanted > BROKERS {
            used = self
                .freed
                .wait(used)
                .expect("no panic while the lock is held");
        }
        *used += wanted;
        wanted
    }

    fn give_back(&self, taken: usize) {
        *self
            .brokers
            .lock()
            .expect("no panic while the lock is held") -= taken;
        self.freed.notify_all();
    }

    fn report(&self) {
        let mut times = self
            .times
            .lock()
            .expect("no panic while the lock is held")
            .clone();
        if times.is_empty() {
            return;
        }
        times.sort_by_key(|(_, time, _)| std::cmp::Reverse(*time));
        println!("the slowest tests:");
        for (name, time, expected) in times.iter().take(10) {
            println!(
                "  {:6.1} s (expected {expected} s)  {name}",
                time.as_secs_f64()
            );
        }
    }
}

fn run(test: &Test, state: &Arc<State>) -> Result<(), Failed> {
    let taken = state.take(test.brokers);
    let start = Instant::now();
    let done = Arc::new((Mutex::new(false), Condvar::new()));
    watch(test, Arc::clone(&done));
    let result = attempt(test);
    *done.0.lock().expect("no panic while the lock is held") = true;
    done.1.notify_all();
    state.give_back(taken);
    let mut times = state.times.lock().expect("no panic while the lock is held");
    times.push((test.name.to_owned(), start.elapsed(), test.seconds));
    result.map_err(Failed::from)
}

fn attempt(test: &Test) -> Result<(), String> {
    let lab = Lab::new(test.name).map_err(|e| format!("{e:#}"))?;
    let outcome = catch_unwind(AssertUnwindSafe(|| (test.body)(&lab)));
    let problem = match outcome {
        Ok(Ok(())) => {
            lab.clean();
            return Ok(());
        }
        Ok(Err(error)) => error
            .chain()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n  because: "),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("panicked")
                .to_owned()
        }
    };
    let kept = lab.keep_logs().map_or_else(
        |e| format!("logs not kept: {e}"),
        |p| format!("logs: {}", p.display()),
    );
    let story = lab.story();
    lab.clean();
    Err(format!("{problem}\n{story}\n{kept}"))
}

/// Ends the whole run if a test hangs: a suite that never returns tells nobody anything.
#[expect(
    clippy::disallowed_methods,
    reason = "the hanging thread cannot be stopped; the reaper cleans up"
)]
fn watch(test: &Test, done: Arc<(Mutex<bool>, Condvar)>) {
    let name = test.name;
    let limit = Duration::from_secs((test.seconds * 4).max(120));
    std::thread::spawn(move || {
        let guard = done.0.lock().expect("no panic while the lock is held");
        let (finished, _) = done
            .1
            .wait_timeout_while(guard, limit, |finished| !*finished)
            .expect("no panic while the lock is held");
        if !*finished {
            println!(
                "\ntest {name} hangs: not done after {limit:?}; the run ends here\ntest result: FAILED. {name} hangs"
            );
            if let Ok(story) = Lab::story_of(name) {
                println!("{story}");
            }
            std::process::exit(101);
        }
    });
}
