//! A test's own folder, diary and name.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

use anyhow::{Context, Result};

use super::process;

/// What a test is given.
#[derive(Debug)]
pub struct Lab {
    name: String,
    dir: PathBuf,
    started: Instant,
    diary: Mutex<fs::File>,
}

impl Lab {
    pub fn new(name: &str) -> Result<Self> {
        let dir = run_dir()?.join(name.replace("::", "-"));
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let diary = fs::File::create(dir.join("test.log"))?;
        Ok(Self {
            name: name.to_owned(),
            dir,
            started: Instant::now(),
            diary: Mutex::new(diary),
        })
    }

    /// The end of a running test's story, for the watchdog; its own lab is busy.
    pub fn story_of(name: &str) -> Result<String> {
        let dir = run_dir()?.join(name.replace("::", "-"));
        Ok(Self {
            name: name.to_owned(),
            diary: Mutex::new(
                fs::OpenOptions::new()
                    .append(true)
                    .open(dir.join("test.log"))?,
            ),
            dir,
            started: Instant::now(),
        }
        .story())
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A fresh folder inside the test's own.
    pub fn subdir(&self, name: &str) -> Result<PathBuf> {
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// Notes a step; the diary is shown if the test fails, and at once with `KMIRROR_TEST_VERBOSE=1`.
    pub fn note(&self, text: impl AsRef<str>) {
        let line = format!(
            "[{:8.3}] {}",
            self.started.elapsed().as_secs_f64(),
            text.as_ref()
        );
        if std::env::var_os("KMIRROR_TEST_VERBOSE").is_some() {
            eprintln!("{}: {line}", self.name);
        }
        let mut diary = self.diary.lock().expect("no panic while the lock is held");
        // The diary is a help, not a result.
        let _ = writeln!(diary, "{line}");
    }

    /// The diary and the ends of all logs, for the report of a failure.
    pub fn story(&self) -> String {
        let mut text = String::new();
        for log in self.logs() {
            let lines = if log.ends_with("test.log") { 200 } else { 25 };
            let end = process::tail(&log, lines);
            if !end.trim().is_empty() {
                text.push_str(&format!(
                    "--- {}\n{end}\n",
                    log.strip_prefix(&self.dir).unwrap_or(&log).display()
                ));
            }
        }
        text
    }

    /// Copies the logs to where they outlive the run, and says where.
    pub fn keep_logs(&self) -> Result<PathBuf> {
        let kept = std::env::temp_dir()
            .join("kmirror-test-logs")
            .join(self.name.replace("::", "-"));
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        for log in self.logs() {
            let to = kept.join(log.strip_prefix(&self.dir).unwrap_or(&log));
            fs::create_dir_all(to.parent().unwrap_or(&kept))?;
            fs::copy(&log, &to)?;
        }
        Ok(kept)
    }

    /// Removes the folder.
    pub fn clean(&self) {
        // What cannot be removed now is removed by the reaper.
        let _ = fs::remove_dir_all(&self.dir);
    }

    fn logs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut todo = vec![self.dir.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                // Kafka's segments end in .log as well; they live in folders called data.
                if path.is_dir() && path.file_name().is_some_and(|n| n != "data") {
                    todo.push(path);
                } else if path
                    .extension()
                    .is_some_and(|e| e == "log" || e == "toml" || e == "properties")
                {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }
}

/// One folder per run of the test binary, removed when the binary is gone.
fn run_dir() -> Result<PathBuf> {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    if let Some(dir) = DIR.get() {
        return Ok(dir.clone());
    }
    let base = super::jars::cache_dir()?.join("runs");
    fs::create_dir_all(&base)?;
    let dir = DIR.get_or_init(|| {
        let dir = base.join(std::process::id().to_string());
        process::remove_at_exit(&dir);
        dir
    });
    Ok(dir.clone())
}
