//! The program under test.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use super::lab::Lab;
use super::process::{self, Output, Process};

/// Where the program is; `KMIRROR_BIN` names one that was built elsewhere.
pub fn program() -> PathBuf {
    let built = std::env::var_os("KMIRROR_BIN");
    built.map_or_else(|| env!("CARGO_BIN_EXE_kmirror").into(), PathBuf::from)
}

/// The `kmirror` program with one topology file.
#[derive(Debug)]
pub struct Kmirror {
    file: PathBuf,
    log: PathBuf,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

impl Kmirror {
    /// Writes `topology` into the test's folder.
    pub fn new(lab: &Lab, topology: &str) -> Result<Self> {
        let file = lab.dir().join("topology.toml");
        std::fs::write(&file, topology)?;
        Ok(Self::with_file(lab, file))
    }

    /// Uses a file as it is.
    pub fn with_file(lab: &Lab, file: PathBuf) -> Self {
        Self {
            file,
            log: lab.dir().join("kmirror.log"),
            environment: Vec::new(),
            folder: None,
        }
    }

    /// The same, run in the folder of its file, so that paths in its output are short and the same everywhere.
    pub fn at_home(mut self) -> Self {
        self.folder = self.file.parent().map(PathBuf::from);
        if let Some(name) = self.file.file_name() {
            self.file = PathBuf::from(name);
        }
        self
    }

    /// Started workers append their output to a file of their own.
    pub fn log_to(mut self, log: PathBuf) -> Self {
        self.log = log;
        self
    }

    /// Gives the program an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `kmirror COMMAND FILE ARGS...`, whatever its exit code; a command of two words is written with a space.
    pub fn command(&self, command: &str, args: &[&str]) -> Result<Output> {
        self.command_within(Duration::from_secs(300), command, args)
    }

    /// The same for what takes long on a machine with much else to do.
    pub fn command_within(
        &self,
        patience: Duration,
        command: &str,
        args: &[&str],
    ) -> Result<Output> {
        let mut process = self.program();
        process.args(command.split(' ')).arg(&self.file).args(args);
        process::run(&mut process, None, patience)
    }

    /// Like [`Kmirror::command`]; anything but exit code 0 is an error. Returns stdout.
    pub fn ok(&self, command: &str, args: &[&str]) -> Result<String> {
        let output = self.command(command, args)?;
        if !output.status.success() {
            bail!(
                "kmirror {command} {args:?}: {}\n{}",
                output.status,
                output.text()
            );
        }
        Ok(output.stdout)
    }

    /// Starts `kmirror run FILE ARGS...`; its output is appended to the test's `kmirror.log`.
    pub fn start(&self, args: &[&str]) -> Result<Process> {
        self.start_command("run", args)
    }

    /// Starts any command that goes on until it is stopped; its output goes where [`Kmirror::start`]'s does.
    pub fn start_command(&self, command: &str, args: &[&str]) -> Result<Process> {
        let mut process = self.program();
        process.args(command.split(' ')).arg(&self.file).args(args);
        Process::spawn(&format!("kmirror {command}"), &mut process, &self.log)
    }

    /// `kmirror COMMAND FILE ARGS...`, to be started by the caller.
    pub fn invocation(&self, command: &str, args: &[&str]) -> Command {
        let mut process = self.program();
        process.args(command.split(' ')).arg(&self.file).args(args);
        process
    }

    /// `kmirror ARGS...`, for what takes no topology file.
    pub fn without_file(&self, args: &[&str]) -> Result<Output> {
        let mut process = self.program();
        process.args(args);
        process::run(&mut process, None, Duration::from_secs(300))
    }

    fn program(&self) -> Command {
        let mut command = Command::new(program());
        command.env("NO_COLOR", "1").env("COLUMNS", "120");
        command.env("XDG_STATE_HOME", self.log.with_file_name("state"));
        let given = self.environment.iter();
        command.envs(given.map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }
}
