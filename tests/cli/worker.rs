//! Workers: in the test's process, or `kmirror run` as one of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kmirror::linking::Key;
use kmirror::mirror::worker::figures::Figures;
use kmirror::mirror::worker::{self, Options};
use kmirror::sandbox::Sandbox;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::sandboxes::TwoClusters;

/// How long anything may take on a machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One in the test's process.
pub struct Worker {
    stop: watch::Sender<bool>,
    handle: JoinHandle<()>,
    pub figures: Figures,
}

impl Worker {
    /// A worker with these clusters in its file.
    pub fn start(clusters: &TwoClusters, sandboxes: &[&Sandbox], key: Option<&Arc<Key>>) -> Self {
        let mut text = "kmirror = 1\n".to_owned();
        for sandbox in sandboxes {
            text.push_str(&format!(
                "[clusters.{}]\nbootstrap_servers = \"{}\"\n",
                sandbox.name(),
                sandbox.bootstrap_servers()
            ));
        }
        let topology = kmirror::topology::parse("t.toml".as_ref(), &text)
            .expect("a valid file")
            .topology;
        let options = Options {
            refresh: Duration::from_millis(300),
            key: key.cloned(),
            ..Options::default()
        };
        let (stop, stopped) = watch::channel(false);
        let figures = Figures::default();
        let shown = figures.clone();
        let running = async move {
            let connected = worker::connect(&topology, worker::MEMORY).await;
            let connected = connected.expect("the sandboxes are there");
            let ran = worker::run(&topology, connected, options, shown, stopped).await;
            ran.expect("it runs until it is stopped");
        };
        let handle = clusters.spawn(running);
        Self {
            stop,
            handle,
            figures,
        }
    }

    pub fn stop(self, clusters: &TwoClusters) {
        self.stop.send_replace(true);
        clusters
            .block_on(self.handle)
            .expect("it ends in good order");
    }
}

/// A process of its own with what it says in a file; it is gone however the test ends.
pub struct WorkerProcess {
    child: Child,
    log: PathBuf,
}

impl WorkerProcess {
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

    /// Ends it at once, without a word to anybody.
    pub fn kill(self) {
        drop(self);
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

impl Drop for WorkerProcess {
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
