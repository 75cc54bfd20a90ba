//! Files that are imported: their bytes, bounded, and the names under which they are cited.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::{ImportError, Place};

/// A device or somebody's log is not read to its end.
const LARGEST: u64 = 16 << 20;

/// A file of the user's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Input {
    /// As the user typed it; the address of what is no file.
    pub path: PathBuf,
    pub bytes: Vec<u8>,
    is_remote: bool,
}

impl Input {
    pub fn new(path: impl Into<PathBuf>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            path: path.into(),
            bytes: bytes.into(),
            is_remote: false,
        }
    }

    /// What a server answered.
    pub fn of_remote(address: &str, bytes: Vec<u8>) -> Self {
        Self {
            is_remote: true,
            ..Self::new(address, bytes)
        }
    }

    pub fn is_remote(&self) -> bool {
        self.is_remote
    }

    /// The path or address for people.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, or is too large to be what it is taken for.
    pub fn read(path: &Path) -> Result<Self, ImportError> {
        let problem = |problem: String| ImportError::new(Place::file(path, 0), problem);
        let mut bytes = Vec::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
            .map_err(|error| {
                let what = match error.kind() {
                    std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                    std::io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
                    std::io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
                    _ => error.to_string(),
                };
                problem(what).hint("check the path; it is relative to the current directory")
            })?;
        if bytes.len() as u64 > LARGEST {
            let limit = bytesize::ByteSize(LARGEST);
            return Err(problem(format!("it is larger than {limit}"))
                .hint("a configuration is text; is this the right file?"));
        }
        Ok(Self::new(path, bytes))
    }

    pub fn place(&self, line: usize) -> Place {
        if self.is_remote {
            return Place::Remote(self.name());
        }
        Place::file(&self.path, line)
    }

    /// The text of a file that has to be UTF-8.
    ///
    /// # Errors
    /// It is not.
    pub fn text(&self) -> Result<&str, ImportError> {
        let text = std::str::from_utf8(&self.bytes)
            .map_err(|_| ImportError::new(self.place(0), "the file is not UTF-8"))?;
        Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
    }
}

/// How a topology file in `folder` has to spell a path that is relative to the current directory,
/// whose absolute path is `here`.
pub fn spelled_from(folder: &Path, here: &Path, path: &Path) -> PathBuf {
    let is_here = folder.as_os_str().is_empty() || folder == Path::new(".");
    if path.is_absolute() || is_here {
        return path.to_owned();
    }
    let (folder, target) = (plain(&here.join(folder)), plain(&here.join(path)));
    let shared = folder
        .components()
        .zip(target.components())
        .take_while(|(one, other)| one == other)
        .count();
    let up = folder
        .components()
        .skip(shared)
        .map(|_| Component::ParentDir);
    up.chain(target.components().skip(shared)).collect()
}

/// Without `.` and, as far as names tell, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_the_same_file_from_the_folder_of_the_result() {
        let spelled = |folder: &str, path: &str| {
            spelled_from(Path::new(folder), Path::new("/home/me"), Path::new(path))
                .display()
                .to_string()
        };
        assert_eq!(spelled("", "c.properties"), "c.properties");
        assert_eq!(spelled(".", "etc/c.properties"), "etc/c.properties");
        assert_eq!(spelled("out", "etc/c.properties"), "../etc/c.properties");
        assert_eq!(spelled("etc", "etc/c.properties"), "c.properties");
        assert_eq!(spelled("../x", "./c.properties"), "../me/c.properties");
        assert_eq!(spelled("out", "/etc/c.properties"), "/etc/c.properties");
        assert_eq!(
            spelled("/tmp/a", "c.properties"),
            "../../home/me/c.properties"
        );
    }
}
