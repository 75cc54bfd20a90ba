//! Logging to stderr: how much, and in which form.

use std::io::{self, Write};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{CliError, ErrorKind, Ui};

/// The variable with a filter that wins over `--verbose`.
pub const FILTER_VARIABLE: &str = "KMIRROR_LOG";

/// Starts logging for the whole process.
///
/// # Errors
/// A filter that cannot be understood.
pub fn init(verbose: u8, default: LevelFilter, ui: &Ui) -> Result<(), CliError> {
    let filter = filter(
        verbose,
        default,
        std::env::var(FILTER_VARIABLE).ok().as_deref(),
    )?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Stderr(ui.clone()))
        .with_ansi(ui.colour_err())
        .with_target(verbose > 1)
        .compact()
        .init();
    Ok(())
}

fn filter(
    verbose: u8,
    default: LevelFilter,
    variable: Option<&str>,
) -> Result<EnvFilter, CliError> {
    if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
        return EnvFilter::builder().parse(text).map_err(|error| {
            CliError::new(
                ErrorKind::Usage,
                format!("{FILTER_VARIABLE} is no log filter: {error}"),
            )
            .with_hint("use a level (debug) or a list such as kmirror=debug,kmirror::kafka=trace")
        });
    }
    let asked = match verbose {
        0 => LevelFilter::OFF,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // Other crates are heard only from the second -v on, one level below ours.
    let others = match verbose {
        0 | 1 => LevelFilter::ERROR,
        2 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    Ok(EnvFilter::new(format!(
        "{others},kmirror={}",
        asked.max(default)
    )))
}

/// Writes whole lines between redraws of the progress bars.
struct Stderr(Ui);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(&self.0)
    }
}

struct Line<'a>(&'a Ui);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_err(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_logs_by_default_is_not_silenced() {
        let filter = filter(0, LevelFilter::INFO, None).expect("valid");
        assert_eq!(filter.to_string(), "kmirror=info,error");
    }

    #[test]
    fn the_variable_wins_over_verbose_and_is_checked() {
        let given = filter(3, LevelFilter::WARN, Some("kmirror::kafka=debug")).expect("valid");
        assert_eq!(given.to_string(), "kmirror::kafka=debug");
        let error = filter(0, LevelFilter::WARN, Some("kmirror=loud")).expect_err("no level");
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}
