//! Where output goes: documents to stdout, everything for people to stderr.
//!
//! Colour only where the stream is a terminal and `NO_COLOR` is unset. Progress bars and text share
//! stderr without tearing each other apart: all text is written while the bars are suspended.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use indicatif::{MultiProgress, ProgressDrawTarget};
use rustix::termios::{self, LocalModes, OptionalActions};
use zeroize::Zeroizing;

use super::{CliError, ErrorKind};
use crate::client::surroundings::Elsewhere;
use crate::report::diagnostics::{self, Checked, Form};
use crate::topology::{self, Diagnostics, Loaded, Topology, render};

/// Emphasis that never carries meaning of its own: the words say the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    fn sgr(self) -> &'static str {
        match self {
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Red => "1;31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }

    /// `text` in this style, if `colour`.
    pub fn paint(self, colour: bool, text: &str) -> String {
        if colour {
            format!("\x1b[{}m{text}\x1b[0m", self.sgr())
        } else {
            text.to_owned()
        }
    }
}

/// The user's end of a command. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ui {
    colour_out: bool,
    colour_err: bool,
    stderr_is_terminal: bool,
    stdin_is_terminal: bool,
    progress: MultiProgress,
}

impl Ui {
    /// What the process was started with.
    pub fn from_environment() -> Self {
        let colour_wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let stderr_is_terminal = io::stderr().is_terminal();
        let target = if stderr_is_terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            colour_out: colour_wanted && io::stdout().is_terminal(),
            colour_err: colour_wanted && stderr_is_terminal,
            stderr_is_terminal,
            stdin_is_terminal: io::stdin().is_terminal(),
            progress: MultiProgress::with_draw_target(target),
        }
    }

    /// Whether a question can be asked and a live display shown.
    pub fn is_interactive(&self) -> bool {
        self.stdin_is_terminal && self.stderr_is_terminal
    }

    /// Whether bars and other redrawn text may be shown.
    pub fn stderr_is_terminal(&self) -> bool {
        self.stderr_is_terminal
    }

    pub fn colour_out(&self) -> bool {
        self.colour_out
    }

    pub fn colour_err(&self) -> bool {
        self.colour_err
    }

    /// Parent of every progress bar; hidden where stderr is no terminal.
    pub fn progress(&self) -> &MultiProgress {
        &self.progress
    }

    pub fn paint_out(&self, style: Style, text: &str) -> String {
        style.paint(self.colour_out, text)
    }

    pub fn paint_err(&self, style: Style, text: &str) -> String {
        style.paint(self.colour_err, text)
    }

    /// Columns of the terminal that stdout is, if it is one.
    pub fn width_out(&self) -> Option<usize> {
        columns(&console::Term::stdout())
    }

    /// Columns of the terminal that stderr is, if it is one.
    pub fn width_err(&self) -> Option<usize> {
        columns(&console::Term::stderr())
    }

    /// Writes what was asked for to stdout, as it is.
    ///
    /// # Errors
    /// The stream's; a reader that has gone ends the command quietly.
    pub fn document(&self, text: &str) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()?;
        Ok(())
    }

    /// A line for people, on stderr.
    pub fn say(&self, line: &str) {
        self.write_err(format!("{line}\n").as_bytes());
    }

    /// A line that starts with a yellow `warning:`.
    pub fn warn(&self, line: &str) {
        self.say(&format!(
            "{} {line}",
            self.paint_err(Style::Yellow, "warning:")
        ));
    }

    /// A line that starts with a red `error:`, for what does not end the command.
    pub fn error(&self, line: &str) {
        self.say(&format!("{} {line}", self.paint_err(Style::Red, "error:")));
    }

    /// Mistakes in a topology file with the lines they are about, on stderr.
    pub fn show_diagnostics(&self, diagnostics: &Diagnostics) {
        if diagnostics.is_empty() {
            return;
        }
        let width = self.width_err().unwrap_or(render::DEFAULT_WIDTH);
        let text = render::text(diagnostics, self.colour_err, width);
        self.write_err(text.as_bytes());
    }

    /// Reads a topology file, shows what is to be said about it, and fails if there are mistakes.
    ///
    /// # Errors
    /// Mistakes in the file, shown already.
    pub fn load_topology(&self, path: &Path) -> Result<Topology, CliError> {
        self.load_topology_or_report(path, None)
    }

    /// The same without looking up what the file refers to, for a command that only reads the file.
    ///
    /// # Errors
    /// Mistakes in the file, shown already.
    pub fn load_topology_offline(&self, path: &Path) -> Result<Topology, CliError> {
        self.shown(path, topology::load_in(path, &Elsewhere), None)
    }

    /// The same for a command whose document has a form for programs: mistakes that keep it from
    /// being made are a document of that form.
    ///
    /// # Errors
    /// Mistakes in the file, shown already.
    pub fn load_topology_or_report(
        &self,
        path: &Path,
        form: Option<Form>,
    ) -> Result<Topology, CliError> {
        self.shown(path, topology::load(path), form)
    }

    fn shown(
        &self,
        path: &Path,
        result: Result<Loaded, Diagnostics>,
        form: Option<Form>,
    ) -> Result<Topology, CliError> {
        match result {
            Ok(loaded) => {
                self.show_diagnostics(&loaded.warnings);
                Ok(loaded.topology)
            }
            Err(diagnostics) => {
                match form {
                    None => self.show_diagnostics(&diagnostics),
                    Some(form) => {
                        let checked = Checked {
                            path,
                            is_valid: false,
                            diagnostics: &diagnostics,
                        };
                        self.document(&diagnostics::document(&[checked], form))?;
                    }
                }
                Err(CliError::silent(ErrorKind::Topology))
            }
        }
    }

    /// Asks on stderr and reads a line from stdin, without its end; `None` when stdin is closed.
    ///
    /// # Errors
    /// Stdin's.
    pub fn ask(&self, question: &str) -> Result<Option<String>, CliError> {
        self.write_err(format!("{question} ").as_bytes());
        let mut answer = String::new();
        if io::stdin().lock().read_line(&mut answer)? == 0 {
            self.write_err(b"\n");
            return Ok(None);
        }
        Ok(Some(answer.trim_end_matches(['\n', '\r']).to_owned()))
    }

    /// Asks on the terminal for what is not shown while it is typed.
    ///
    /// # Errors
    /// The terminal's.
    pub fn ask_secret(&self, question: &str) -> Result<Zeroizing<String>, CliError> {
        let stdin = io::stdin();
        let before = termios::tcgetattr(&stdin).map_err(io::Error::from)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL);
        let set = |modes| termios::tcsetattr(&stdin, OptionalActions::Now, modes);
        // Before the question: whoever answers at once is not shown either.
        set(&silent).map_err(io::Error::from)?;
        self.write_err(format!("{question} ").as_bytes());
        let mut answer = Zeroizing::new(String::new());
        let read = stdin.lock().read_line(&mut answer);
        set(&before).map_err(io::Error::from)?;
        read?;
        let length = answer.trim_end_matches(['\n', '\r']).len();
        answer.truncate(length);
        Ok(answer)
    }

    /// A closed stderr has nobody left to tell, so errors end here.
    pub(super) fn write_err(&self, bytes: &[u8]) {
        self.progress.suspend(|| {
            let _ = io::stderr().lock().write_all(bytes);
        });
    }
}

fn columns(terminal: &console::Term) -> Option<usize> {
    let (_, columns) = terminal.size_checked()?;
    Some(usize::from(columns))
}
