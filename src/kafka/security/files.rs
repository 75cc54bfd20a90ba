//! Files that security depends on, and whether they have changed since.

use std::io::{Error, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::client::secret::Origin;
use crate::client::{Secret, Text};

use super::problem::MaterialProblem;

/// Larger files are no stores, certificates or keys.
const LARGEST: u64 = 16 << 20;

/// What tells a file from its successor without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    /// A file that was moved over another has the other's name and perhaps its time, but not its number.
    inode: u64,
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(path).ok()?;
    Some(Stamp {
        size: data.len(),
        modified: (data.mtime(), data.mtime_nsec()),
        inode: data.ino(),
    })
}

/// Reads files and remembers what they were like.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl Files {
    pub fn read(&mut self, path: &Path) -> Result<Vec<u8>, MaterialProblem> {
        // Looked at before it is read: a change in between is noticed the next time.
        self.note(path);
        let read = || {
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path)?;
            if file.metadata()?.is_dir() {
                return Err(Error::new(ErrorKind::IsADirectory, "it is a folder"));
            }
            file.take(LARGEST + 1).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > LARGEST {
                return Err(Error::new(ErrorKind::FileTooLarge, "larger than 16 MiB"));
            }
            Ok(bytes)
        };
        read().map_err(|error| unreadable(path, &error))
    }

    /// A secret as it is now.
    pub fn secret(&mut self, text: &Text) -> Result<Secret, MaterialProblem> {
        if let Origin::File(path) = &text.origin {
            self.note(path);
        }
        text.current().map_err(|error| match &text.origin {
            Origin::File(path) => unreadable(path, &error),
            Origin::Inline | Origin::Env(_) => MaterialProblem::Settings(error.to_string()),
        })
    }

    /// Remembers what a file is like, read or not.
    pub fn note(&mut self, path: &Path) {
        if !self.seen.iter().any(|(seen, _)| seen == path) {
            self.seen.push((path.to_owned(), stamp(path)));
        }
    }

    /// Whether no file is another one now than it was when it was read.
    pub fn are_unchanged(&self) -> bool {
        self.seen.iter().all(|(path, was)| stamp(path) == *was)
    }
}

fn unreadable(path: &Path, error: &Error) -> MaterialProblem {
    let cause = match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    };
    MaterialProblem::Unreadable {
        path: path.to_owned(),
        cause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewed_file_is_noticed_even_with_the_same_size_and_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, "one").unwrap();
        let mut files = Files::default();
        assert_eq!(files.read(&path).unwrap(), b"one");
        assert!(files.are_unchanged());

        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let other = folder.path().join("other.pem");
        std::fs::write(&other, "two").unwrap();
        let file = std::fs::File::options().write(true).open(&other).unwrap();
        file.set_modified(time).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!files.are_unchanged());
    }

    #[test]
    fn a_file_that_appears_or_goes_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let mut files = Files::default();
        let error = files.read(&path).unwrap_err();
        assert!(error.to_string().ends_with("there is no such file"));
        assert!(files.are_unchanged());
        std::fs::write(&path, "one").unwrap();
        assert!(!files.are_unchanged());
    }
}
