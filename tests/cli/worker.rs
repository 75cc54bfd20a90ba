//! `kmirror run` as a process of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::sandboxes::TwoClusters;

/// How long anything may take on a machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A worker with what it says in a file; it is gone however the test ends.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// `kmirror run FILE ARGUMENTS…` in the scenario's folder, where `log` is written too.
    pub fn start(clusters: &TwoClusters, file: &str, arguments: &[&str], log: &str) -> Self {
        let log = clusters.scenario.path(log);
        let run = [&["run", file], arguments].concat();
        let said = File::create(&log).expect("the folder is writable");
        let mut command = clusters.scenario.command(&run);
        let child = command.stdout(Stdio::null()).stderr(said).spawn();
        Self {
            child: child.expect("the program starts"),
            log,
        }
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).expect("it is text")
    }

    pub fn await_word(&self, word: &str) {
        eventually(word, || self.said().contains(word));
    }

    /// Keeps it from all work, as a machine does that swaps.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Ends it in good order; what it said.
    pub fn end(self) -> String {
        self.signal("-TERM");
        self.await_end()
    }

    /// Waits until it ends by itself, and well; what it said.
    pub fn await_end(mut self) -> String {
        let ended = self.child.wait().expect("it ends");
        assert_eq!(ended.code(), Some(0), "{}", self.said());
        self.said()
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended in good order is gone by now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
