//! Values that must not be seen, and where they come from.

use std::fmt;
use std::path::PathBuf;

use zeroize::Zeroizing;

/// Text that is never shown: neither `Debug` nor `Display` nor serde give it away.
///
/// Whoever needs it calls [`expose`](Self::expose), which is easy to find in a review. The memory is wiped when it is
/// dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for handing it to the peer that has to know it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where the text of a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the topology file or in a properties file.
    Inline,
    /// In an environment variable, `{ env = "NAME" }`.
    Env(String),
    /// In a file of its own, `{ file = "PATH" }`; the path is resolved against the topology file.
    File(PathBuf),
}

/// A secret together with where it was found, so that it can be read again when it was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub origin: Origin,
    /// As it was when the topology was loaded.
    pub value: Secret,
}

impl Text {
    pub fn inline(text: impl Into<String>) -> Self {
        Self {
            origin: Origin::Inline,
            value: Secret::new(text),
        }
    }

    /// The secret as it is now: a file is read again, without one trailing newline.
    ///
    /// # Errors
    /// The file cannot be read any more, or is no UTF-8.
    pub fn current(&self) -> std::io::Result<Secret> {
        match &self.origin {
            Origin::File(path) => read_secret(path),
            Origin::Inline | Origin::Env(_) => Ok(self.value.clone()),
        }
    }
}

/// Larger files are no passwords, keys or certificates.
pub const LARGEST_SECRET: u64 = 1 << 20;

/// Reads a secret from its file: the whole text but for one trailing newline.
///
/// # Errors
/// The file cannot be read, is larger than 1 MiB, or is no UTF-8.
pub fn read_secret(path: &std::path::Path) -> std::io::Result<Secret> {
    use std::io::{Error, ErrorKind, Read};
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(LARGEST_SECRET + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_SECRET {
        return Err(Error::new(ErrorKind::FileTooLarge, "larger than 1 MiB"));
    }
    secret_of(bytes)
}

/// What the bytes of a secret's file mean.
///
/// # Errors
/// They are no UTF-8.
pub fn secret_of(bytes: Vec<u8>) -> std::io::Result<Secret> {
    use std::io::{Error, ErrorKind};
    // The bytes are not repeated in the error.
    let mut text = String::from_utf8(bytes)
        .map_err(|_| Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_seen_in_a_debug_line() {
        let text = Text::inline("hunter2");
        assert!(!format!("{text:?}").contains("hunter2"));
        assert_eq!(text.current().expect("is inline").expose(), "hunter2");
    }

    #[test]
    fn a_secret_file_is_read_anew_and_loses_one_newline() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("west.pw");
        std::fs::write(&path, "one\n\n").expect("is written");
        let text = Text {
            value: read_secret(&path).expect("is read"),
            origin: Origin::File(path.clone()),
        };
        assert_eq!(text.value.expose(), "one\n");
        std::fs::write(&path, "two\r\n").expect("is written");
        assert_eq!(text.current().expect("is read").expose(), "two");
    }
}
