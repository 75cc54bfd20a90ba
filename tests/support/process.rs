//! Processes that do not outlive their test.
//!
//! A dropped [`Process`] is killed. For the case in which nothing is dropped (the test binary itself is killed), a
//! small shell, the reaper, holds the other end of a pipe: when the pipe closes it kills whatever was announced and
//! not withdrawn, and removes the run's folder. It sits in a process group of its own, so that Ctrl-C does not reach it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A running child whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its stdout and stderr are appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let out = open_log(log)?;
        let err = out.try_clone()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("cannot start {name}: {command:?}"))?;
        reaper().announce(child.id());
        Ok(Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, once it has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            reaper().withdraw(self.child.id());
        }
        Ok(status)
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, at_most: Duration) -> Result<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if start.elapsed() > at_most {
                bail!(
                    "{} did not end within {at_most:?}; its log ends with\n{}",
                    self.name,
                    tail(&self.log, 20)
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL, and the process is gone when this returns.
    pub fn kill(&mut self) -> Result<()> {
        if self.exited()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
            reaper().withdraw(self.child.id());
        }
        Ok(())
    }

    /// Sends a signal by name (`TERM`, `INT`, `STOP`, `CONT`).
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        if self.exited()?.is_some() {
            bail!("{} has already ended", self.name);
        }
        // The shell's own kill: no extra package is needed, and the child is not reaped, so its pid is still its own.
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{signal} {}", self.pid()))
            .status()?;
        if !status.success() {
            bail!("kill -{signal} {} failed", self.pid());
        }
        Ok(())
    }

    /// SIGTERM, then SIGKILL if that was not enough.
    pub fn stop(&mut self, patience: Duration) -> Result<()> {
        if self.exited()?.is_some() {
            return Ok(());
        }
        self.signal("TERM")?;
        let start = Instant::now();
        while self.exited()?.is_none() {
            if start.elapsed() > patience {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.kill().is_err() {
            eprintln!("could not kill {} (pid {})", self.name, self.pid());
        }
    }
}

/// What a finished command said.
#[derive(Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Both streams, for messages.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a command to its end, feeding it `input`; killed after `at_most`.
pub fn run(command: &mut Command, input: Option<&[u8]>, at_most: Duration) -> Result<Output> {
    let mut child = command
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let pid = child.id();
    reaper().announce(pid);
    // One thread per pipe: a child that fills one of them must not wait for us to read another.
    let writer = child.stdin.take().map(|mut pipe| {
        let bytes = input.unwrap_or_default().to_vec();
        std::thread::spawn(move || pipe.write_all(&bytes))
    });
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if start.elapsed() > at_most {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    reaper().withdraw(pid);
    let stdout = stdout.join().unwrap_or_default();
    let stderr = stderr.join().unwrap_or_default();
    if let Some(writer) = writer {
        // A child that ends without reading everything breaks the pipe; its exit status tells what matters.
        let _ = writer.join();
    }
    match status {
        Some(status) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        None => bail!("{command:?} did not end within {at_most:?}\n{stdout}{stderr}"),
    }
}

fn reader<R: std::io::Read + Send + 'static>(pipe: Option<R>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The last lines of a file.
pub fn tail(path: &Path, lines: usize) -> String {
    let bytes = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// User and system seconds that a process has used so far.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command name may hold spaces; fields are counted from after its closing parenthesis.
    let rest = stat
        .rsplit_once(')')
        .context("unexpected /proc/PID/stat")?
        .1;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    // USER_HZ is 100 on every Linux architecture that Rust supports.
    Ok(ticks as f64 / 100.0)
}

/// Peak resident memory of a process in MiB.
pub fn peak_memory_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|l| l.starts_with("VmHWM:"))
        .context("no VmHWM")?;
    let kib: f64 = line
        .split_whitespace()
        .nth(1)
        .context("no figure")?
        .parse()?;
    Ok(kib / 1024.0)
}

fn open_log(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| path.display().to_string())
}

struct Reaper(Mutex<Option<ChildStdin>>);

impl Reaper {
    fn say(&self, line: &str) {
        let mut pipe = self.0.lock().expect("no panic while the lock is held");
        if let Some(pipe) = pipe.as_mut() {
            // A reaper that is gone is not worth failing a test for: Drop still kills.
            let _ = writeln!(pipe, "{line}");
        }
    }

    fn announce(&self, pid: u32) {
        self.say(&format!("+ {pid}"));
    }

    fn withdraw(&self, pid: u32) {
        self.say(&format!("- {pid}"));
    }
}

/// Has `dir` removed when this process is gone, however it ends.
pub fn remove_at_exit(dir: &Path) {
    reaper().say(&format!("d {}", dir.display()));
}

/// Has whatever is mounted at `dir` unmounted when this process is gone, however it ends.
pub fn unmount_at_exit(dir: &Path) {
    reaper().say(&format!("m {}", dir.display()));
}

fn reaper() -> &'static Reaper {
    static REAPER: OnceLock<Reaper> = OnceLock::new();
    REAPER.get_or_init(|| {
        let script = r#"
            trap '' INT TERM HUP
            pids=" "; dirs=""; mounts=""
            while read -r what arg; do
                case $what in
                    +) pids="$pids$arg " ;;
                    -) pids=$(printf '%s' "$pids" | sed "s/ $arg / /") ;;
                    d) dirs="$dirs $arg" ;;
                    m) mounts="$mounts $arg" ;;
                esac
            done
            for pid in $pids; do kill -9 "$pid" 2>/dev/null; done
            sleep 0.3
            for dir in $mounts; do umount --lazy "$dir" 2>/dev/null; done
            for dir in $dirs; do rm -rf "$dir"; done
        "#;
        let pipe = Command::new("sh")
            .arg("-c")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .ok()
            .and_then(|mut child| child.stdin.take());
        Reaper(Mutex::new(pipe))
    })
}
