//! Runs the program the way a user does and shows the result the way a terminal does.
//!
//! A [`Scenario`] is an empty folder that commands run in, so that paths in their output are short
//! and the same everywhere.

use std::ffi::OsStr;
use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder of its own for one test.
#[derive(Debug)]
pub struct Scenario {
    folder: tempfile::TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    command: String,
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_kmirror"));
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_remove("KMIRROR_LOG")
            .env_remove("NO_COLOR")
            .env_remove("COLUMNS")
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
