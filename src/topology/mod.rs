//! The topology file: text to spanned document to resolved [`model::Topology`].
//!
//! [`parse`] reads everything and judges everything in one run; what it finds is data
//! ([`diagnostic`]) with stable [`codes`], turned into text by [`render`]. Nothing here knows a
//! cluster: what depends on the topics that exist is [`resolve`]'s, given their names.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

pub mod broker_link;
mod check;
pub mod codes;
pub mod diagnostic;
pub mod diff;
pub mod engines;
pub mod explain;
pub mod format;
mod mask;
pub mod model;
pub mod names;
mod read;
pub mod rename;
pub mod render;
pub mod resolve;
pub mod schema;
pub mod selector;
#[cfg(test)]
mod tests;

pub use codes::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use model::Topology;
pub use read::FORMAT_VERSION;

use crate::client::surroundings::{Machine, Nowhere, Surroundings};
use diagnostic::{HiddenWords, Places, SourceFile};
use mask::Mask;
use model::FileId;

/// A device or somebody's log is not read to its end.
const LARGEST_FILE: u64 = 16 << 20;

/// A topology without mistakes, and what is nevertheless worth a look.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub topology: Topology,
    /// With the text they point into, ready to be rendered.
    pub warnings: Diagnostics,
}

/// Reads and checks a topology file.
///
/// # Errors
/// Every mistake in it, warnings among them; or why it cannot be read.
pub fn load(path: &Path) -> Result<Loaded, Diagnostics> {
    load_in(path, &Machine)
}

/// The same, with references looked up elsewhere than on this machine.
///
/// # Errors
/// Every mistake in it, warnings among them; or why it cannot be read.
pub fn load_in(path: &Path, surroundings: &dyn Surroundings) -> Result<Loaded, Diagnostics> {
    let text = read_file(path)?;
    parse_in(path, &text, surroundings)
}

/// The text of a topology file, unchecked.
///
/// # Errors
/// Why it cannot be read.
pub fn read_file(path: &Path) -> Result<String, Diagnostics> {
    std::fs::File::open(path)
        .map_err(|error| unreadable(path, &error))
        .and_then(|file| read_bytes(path, file))
        .map_err(|problem| Diagnostics::of_unreadable(path, problem))
        .and_then(|bytes| into_text(path, bytes))
}

/// The text of a topology that comes from a stream, unchecked. `path` is only cited.
///
/// # Errors
/// Why it cannot be read.
pub fn read_stream(path: &Path, stream: impl Read) -> Result<String, Diagnostics> {
    read_bytes(path, stream)
        .map_err(|problem| Diagnostics::of_unreadable(path, problem))
        .and_then(|bytes| into_text(path, bytes))
}

fn into_text(path: &Path, bytes: Vec<u8>) -> Result<String, Diagnostics> {
    String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))
}

/// Whether a text is TOML at all. `path` is only cited.
///
/// # Errors
/// Every mistake against TOML's own rules.
pub fn check_syntax(path: &Path, text: &str) -> Result<(), Diagnostics> {
    let read::SyntaxErrors { found, mask } = read::syntax_errors(path, text);
    if found.is_empty() {
        return Ok(());
    }
    let source = SourceFile::new(path, text, &mask);
    Err(Diagnostics::new(source, Vec::new(), found))
}

/// Checks the text of a topology file that refers to nothing outside of it. `path` is only cited.
///
/// # Errors
/// Every mistake in it, warnings among them.
pub fn parse(path: &Path, text: &str) -> Result<Loaded, Diagnostics> {
    parse_in(path, text, &Nowhere)
}

/// Checks the text of a topology file. `path` is cited, and its folder is put before relative
/// paths; what lies there is asked of the surroundings.
///
/// # Errors
/// Every mistake in it, warnings among them.
pub fn parse_in(
    path: &Path,
    text: &str,
    surroundings: &dyn Surroundings,
) -> Result<Loaded, Diagnostics> {
    // Editors on Windows put a byte order mark first. It stays in the text, so that offsets hold.
    let read::Read {
        draft,
        mut found,
        mask,
        others,
    } = read::read(path, text, surroundings);
    let syntax_broken = found.iter().any(is_about_syntax);
    found.extend(
        check::check(&draft).into_iter().filter(|diagnostic| {
            !(syntax_broken && read::is_about_something_absent(diagnostic.code))
        }),
    );
    let source = SourceFile::new(path, text, &mask);
    let hidden = HiddenWords::new(text, source.text(), []);
    if syntax_broken {
        // A string that is not closed swallows what follows it, secrets among it.
        found.retain(|diagnostic| {
            is_about_syntax(diagnostic)
                || !(diagnostic.touches(FileId::TOPOLOGY, &mask) || diagnostic.says(&hidden))
        });
    }
    for diagnostic in &mut found {
        if syntax_broken || diagnostic.touches(FileId::TOPOLOGY, &mask) {
            diagnostic.conceal(&hidden);
        }
    }
    let other_files = others.iter().map(|other| other.path.clone()).collect();
    let diagnostics = Diagnostics::new(source, others, found);
    if diagnostics.has_errors() {
        return Err(diagnostics);
    }
    let topology = Topology {
        path: path.to_owned(),
        other_files,
        clusters: draft.clusters,
        links: draft
            .links
            .into_iter()
            .map(|draft| (draft.link.name.clone(), draft.link))
            .collect(),
        adopts: false,
        rewrites: BTreeSet::new(),
    };
    Ok(Loaded {
        topology,
        warnings: diagnostics,
    })
}

/// Such a message repeats nothing of the text that may be a secret.
fn is_about_syntax(diagnostic: &Diagnostic) -> bool {
    matches!(diagnostic.code, Code::Syntax | Code::DuplicateKey)
}

/// Reads to the end, unless there is so much that it can be no topology.
fn read_bytes(path: &Path, stream: impl Read) -> Result<Vec<u8>, Diagnostic> {
    let mut bytes = Vec::new();
    stream
        .take(LARGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        let problem = format!("it is larger than {}", bytesize::ByteSize(LARGEST_FILE));
        return Err(Diagnostic::error(Code::Unreadable, problem)
            .help("a topology file is text; is this the right one?"));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    use std::io::ErrorKind;
    let (problem, help) = match error.kind() {
        ErrorKind::NotFound => (
            "there is no such file".to_owned(),
            Some("check the path; it is relative to the current directory"),
        ),
        ErrorKind::PermissionDenied => ("it may not be read".to_owned(), None),
        ErrorKind::IsADirectory => (
            "it is a directory".to_owned(),
            Some("name the topology file in it"),
        ),
        _ => (error.to_string(), None),
    };
    let mut diagnostic = Diagnostic::error(Code::Unreadable, problem);
    if path == Path::new("-") {
        diagnostic = diagnostic.help("standard input is not read: name a file");
    } else if let Some(help) = help {
        diagnostic = diagnostic.help(help);
    }
    diagnostic
}

/// Shows the line with the first bad byte, with replacement characters.
fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Diagnostics {
    let bytes = error.as_bytes();
    let valid = error.utf8_error().valid_up_to();
    let mut text = String::from_utf8_lossy(&bytes[..valid]).into_owned();
    let at = text.len();
    text.push_str(&String::from_utf8_lossy(&bytes[valid..]));
    let span = Places::new(FileId::TOPOLOGY, &text).span(at..at + '\u{fffd}'.len_utf8());
    let diagnostic = Diagnostic::error(Code::NotUtf8, "the file is not UTF-8")
        .at(span, format!("the byte 0x{:02x}", bytes[valid]))
        .help("save the file as UTF-8");
    let source = SourceFile::new(path, &text, &Mask::of_toml(&text, true));
    Diagnostics::new(source, Vec::new(), vec![diagnostic])
}
