//! What lies outside of a topology file: environment variables and other files.
//!
//! They are looked up while the file is loaded, through a trait, so that reading a topology stays a
//! function of what it is given.

use std::io::{self, Read};
use std::path::Path;

/// Where references are looked up.
pub trait Surroundings {
    /// The environment variable of this name; `None` when it is not set.
    ///
    /// # Errors
    /// It is set and is no Unicode.
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode>;

    /// A file's bytes, up to `most` of them.
    ///
    /// # Errors
    /// Why it cannot be read; [`io::ErrorKind::FileTooLarge`] when it has more.
    fn file(&self, path: &Path, most: u64) -> io::Result<File>;

    /// Whether the file is there and may be read, and whether others may read it, too. Of a folder
    /// that is an error, as of any file whose content is needed.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn look(&self, path: &Path) -> io::Result<bool>;

    /// Whether references are looked up at all. If not, what they stand for is unknown and no
    /// mistake.
    fn are_known(&self) -> bool {
        true
    }
}

/// An environment variable that is no Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnicode;

/// A file as it was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub bytes: Vec<u8>,
    /// Whether its group or everybody may read it.
    pub readable_by_others: bool,
}

/// The machine that kmirror runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

impl Surroundings for Machine {
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(NotUnicode),
        }
    }

    fn file(&self, path: &Path, most: u64) -> io::Result<File> {
        let (file, readable_by_others) = open(path)?;
        let mut bytes = Vec::new();
        file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(File {
            bytes,
            readable_by_others,
        })
    }

    fn look(&self, path: &Path) -> io::Result<bool> {
        open(path).map(|(_, readable_by_others)| readable_by_others)
    }
}

fn open(path: &Path) -> io::Result<(std::fs::File, bool)> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let readable_by_others = others_may_read(&metadata);
    Ok((file, readable_by_others))
}

#[cfg(unix)]
fn others_may_read(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt;
    metadata.is_file() && metadata.permissions().mode() & 0o044 != 0
}

#[cfg(not(unix))]
fn others_may_read(_: &std::fs::Metadata) -> bool {
    false
}

/// Nowhere: no variable is set and no file is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nowhere;

impl Surroundings for Nowhere {
    fn variable(&self, _: &str) -> Result<Option<String>, NotUnicode> {
        Ok(None)
    }

    fn file(&self, _: &Path, _: u64) -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn look(&self, _: &Path) -> io::Result<bool> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A machine that does not hold what references stand for, such as one that only checks files.
/// Properties files are read where they are there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Elsewhere;

impl Surroundings for Elsewhere {
    fn variable(&self, _: &str) -> Result<Option<String>, NotUnicode> {
        Ok(None)
    }

    fn file(&self, path: &Path, most: u64) -> io::Result<File> {
        Machine.file(path, most)
    }

    fn look(&self, _: &Path) -> io::Result<bool> {
        Ok(false)
    }

    fn are_known(&self) -> bool {
        false
    }
}
