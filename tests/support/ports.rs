//! Ports for test brokers.
//!
//! They lie below 32768: the kernel hands out higher ones to outgoing connections, which makes a broker's bind fail
//! now and then. A port is ours while we hold the lock on its file, so that test processes that run at the same time
//! (several checkouts, several users) never pick the same one; the kernel drops the lock even if we are killed.

use std::fs::{self, File, OpenOptions};
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rand::Rng;

const LOWEST: u16 = 12_000;
const HIGHEST: u16 = 32_000;

/// A loopback port that nobody else uses while this value lives.
#[derive(Debug)]
pub struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Any free port.
    pub fn free() -> Result<Self> {
        let mut rng = rand::rng();
        for _ in 0..2_000 {
            if let Some(port) = Self::claim(rng.random_range(LOWEST..HIGHEST))? {
                return Ok(port);
            }
        }
        bail!("no free port between {LOWEST} and {HIGHEST}");
    }

    /// Exactly this port, if it is free now.
    pub fn claim(number: u16) -> Result<Option<Self>> {
        let path = registry()?.join(format!("{number}.lock"));
        let lock = match OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
        {
            Ok(file) => file,
            // Another user's lock file: theirs.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if lock.try_lock().is_err() || TcpListener::bind(("127.0.0.1", number)).is_err() {
            return Ok(None);
        }
        Ok(Some(Self {
            number,
            _lock: lock,
        }))
    }

    pub fn number(&self) -> u16 {
        self.number
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }
}

fn registry() -> Result<PathBuf> {
    let dir = std::env::temp_dir().join("kmirror-test-ports");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}
