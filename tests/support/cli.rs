//! Runs the program the way a user does and shows the result the way a terminal does.
//!
//! A [`Scenario`] is an empty folder that commands run in, so that paths in their output are short
//! and the same everywhere.

use std::ffi::OsStr;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::pty::{self, OpenptFlags};

/// A folder of its own for one test.
#[derive(Debug)]
pub struct Scenario {
    folder: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    pub command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Scenario {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        std::fs::write(self.path(name), content).expect("the folder is writable");
        self
    }

    /// The program in this folder, undisturbed by the environment of whoever runs the tests.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Command {
        // KMIRROR_BIN: to test a program that was built elsewhere.
        let built =
            std::env::var_os("KMIRROR_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_kmirror").into());
        let mut command = Command::new(built);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("KMIRROR_LOG")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program to its end, with stdin closed.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, "")
    }

    /// Runs the program to its end and gives it `input`.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        // A program that does not read its input may have closed it already.
        let _ = child
            .stdin
            .take()
            .expect("stdin is a pipe")
            .write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the program ends");
        Ran {
            command: format!("kmirror {}", arguments.join(" ")),
            code: output.status.code(),
            stdout: text(&output.stdout, self.folder.path()),
            stderr: text(&output.stderr, self.folder.path()),
        }
    }
}

impl Scenario {
    /// Runs the program on a terminal of its own and types each answer once its question is shown: `(question, answer)`.
    /// What the terminal showed is in `stderr`.
    pub fn run_on_terminal(&self, arguments: &[&str], answers: &[(&str, &str)]) -> Ran {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let ours = pty::openpt(flags).expect("a terminal");
        pty::grantpt(&ours).expect("it is ours");
        pty::unlockpt(&ours).expect("it is ours");
        let theirs = pty::ptsname(&ours, Vec::new()).expect("it has a name");
        let theirs = theirs.to_str().expect("a plain name");
        let theirs = OpenOptions::new().read(true).write(true).open(theirs);
        let theirs = theirs.expect("the other side can be opened");
        let mut child = self
            .command(arguments)
            .stdin(theirs.try_clone().expect("a second handle"))
            .stderr(theirs)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut ours = std::fs::File::from(ours);
        let mut shown = Vec::new();
        let mut answers = answers.iter();
        let mut next = answers.next();
        let mut from = 0;
        let mut buffer = [0; 4096];
        // Reading fails once the program has closed its side.
        while let Ok(count @ 1..) = ours.read(&mut buffer) {
            shown.extend_from_slice(&buffer[..count]);
            let so_far = String::from_utf8_lossy(&shown[from..]).into_owned();
            if let Some((question, answer)) = next
                && so_far.contains(question)
            {
                from = shown.len();
                writeln!(ours, "{answer}").expect("the program listens");
                next = answers.next();
            }
        }
        let code = child.wait().expect("the program ends").code();
        Ran {
            command: format!("kmirror {}", arguments.join(" ")),
            code,
            stdout: String::new(),
            stderr: text(&shown, self.folder.path()).replace("\r\n", "\n"),
        }
    }
}

fn text(bytes: &[u8], folder: &Path) -> String {
    String::from_utf8_lossy(bytes).replace(&folder.display().to_string(), "FOLDER")
}

/// Everything a terminal would show, and the exit code.
impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                writeln!(f, "----- {name} -----")?;
                f.write_str(text)?;
                if !text.ends_with('\n') {
                    writeln!(f, "<no end of line>")?;
                }
            }
        }
        match self.code {
            Some(code) => writeln!(f, "----- exit code {code} -----"),
            None => writeln!(f, "----- killed -----"),
        }
    }
}
