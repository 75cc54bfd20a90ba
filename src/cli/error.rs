//! What ends a command, in words that its user can act on.
//!
//! Library errors are enums with data; a command turns them into a [`CliError`] (usually with a
//! `From` implementation next to the command), and [`CliError::report`] is the only place that
//! prints one and picks the exit code.

use std::fmt;
use std::io;

use super::{ExitCode, Style, Ui};

/// The kinds of failure that people and scripts can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command was asked for something it cannot do.
    Usage,
    /// The topology file has mistakes. They were shown already, or are the message.
    Topology,
    /// A file or a stream could not be read or written.
    Io,
    /// No broker of a cluster answered.
    Unreachable,
    /// A broker answered no.
    Refused,
    /// Somebody else is changing the same cluster.
    LockHeld,
    /// A person has to decide something first.
    Blocked,
    /// SIGINT or SIGTERM.
    Interrupted,
    /// The reader of stdout has gone: a quiet end, as for every well-behaved filter.
    BrokenPipe,
    /// A mistake of kmirror's own.
    Internal,
}

impl ErrorKind {
    fn exit_code(self) -> ExitCode {
        match self {
            Self::Blocked => ExitCode::Blocked,
            Self::Interrupted => ExitCode::Interrupted,
            Self::BrokenPipe => ExitCode::Ok,
            Self::Usage
            | Self::Topology
            | Self::Io
            | Self::Unreachable
            | Self::Refused
            | Self::LockHeld
            | Self::Internal => ExitCode::Error,
        }
    }
}

/// A failure with what caused it and, where there is one, what to do about it.
#[derive(Debug)]
pub struct CliError {
    pub kind: ErrorKind,
    /// One sentence without a full stop. Empty where everything has been said already.
    pub message: String,
    /// Further lines, each a cause or a detail, shown below the message.
    pub details: Vec<String>,
    pub hint: Option<String>,
}

impl CliError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            details: Vec::new(),
            hint: None,
        }
    }

    /// For a command that has already shown what is wrong and only has to end accordingly.
    pub fn silent(kind: ErrorKind) -> Self {
        Self::new(kind, "")
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Adds the chain of causes of a library error.
    #[must_use]
    pub fn with_causes(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        while let Some(error) = cause {
            self.details.push(error.to_string());
            cause = error.source();
        }
        self
    }

    /// Tells the user and says how the process should end.
    pub fn report(&self, ui: &Ui) -> ExitCode {
        let code = self.kind.exit_code();
        if self.kind == ErrorKind::BrokenPipe || self.message.is_empty() {
            return code;
        }
        let label = match self.kind {
            ErrorKind::Interrupted => ui.paint_err(Style::Yellow, "interrupted:"),
            ErrorKind::Blocked => ui.paint_err(Style::Yellow, "blocked:"),
            ErrorKind::Internal => ui.paint_err(Style::Red, "internal error:"),
            _ => ui.paint_err(Style::Red, "error:"),
        };
        ui.say(&format!("{label} {}", self.message));
        for detail in &self.details {
            ui.say(&format!("  {detail}"));
        }
        if let Some(hint) = &self.hint {
            ui.say(&format!("{} {hint}", ui.paint_err(Style::Cyan, "hint:")));
        }
        if self.kind == ErrorKind::Internal {
            ui.say("This is a mistake in kmirror; please report it with the command and the output of -vv.");
        }
        code
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for detail in &self.details {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for CliError {}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::silent(ErrorKind::BrokenPipe)
        } else {
            Self::new(ErrorKind::Io, error.to_string())
        }
    }
}

/// What a command did not foresee.
impl From<anyhow::Error> for CliError {
    fn from(error: anyhow::Error) -> Self {
        let mut causes = error.chain();
        let message = causes.next().map(ToString::to_string).unwrap_or_default();
        let mut converted = Self::new(ErrorKind::Internal, message);
        converted.details = causes.map(ToString::to_string).collect();
        converted
    }
}
