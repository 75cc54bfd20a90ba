//! Values that may lie outside of the file: `{ env = "NAME" }` and `{ file = "PATH" }`.
//!
//! They are looked up while the file is read, so that an absent one is a mistake at its line.

use std::io;
use std::path::{Path, PathBuf};

use super::Kind;
use super::reader::{Node, Reader, Table};
use crate::client::secret::{LARGEST_SECRET, Origin, Secret, Text, secret_of};
use crate::topology::codes::Code;
use crate::topology::diagnostic::Diagnostic;
use crate::topology::model::Span;

/// What a value is to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sensitivity {
    /// Shown to everybody.
    Open,
    /// Belongs elsewhere than in the file.
    Secret,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// `None` when it could not be, or was not to be, looked up.
    pub(super) text: Option<Text>,
    pub(super) span: Span,
}

/// Whether the node is a reference and no table of further keys.
pub(super) fn is_reference(node: &Node<'_>) -> bool {
    node.get_ref().as_table().is_some_and(|table| {
        !table.is_empty() && table.keys().all(|key| Kind::Reference.knows(key.get_ref()))
    })
}

/// A string or a reference to one.
pub(super) fn string(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    sensitivity: Sensitivity,
) -> Option<Given> {
    if is_reference(node) {
        return Some(Given {
            text: reference(reader, key, node, sensitivity),
            span: reader.span(node.span()),
        });
    }
    let Some(text) = node.get_ref().as_str() else {
        let help = format!("write {key} = \"…\", or {key} = {{ env = \"NAME\" }}");
        reader.wrong_type(key, node, "a string or a reference", Some(help));
        return None;
    };
    Some(inline(reader, key, node, text, sensitivity))
}

/// A value that stands in the topology file.
pub(super) fn inline(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    text: &str,
    sensitivity: Sensitivity,
) -> Given {
    let span = reader.span(node.span());
    if sensitivity == Sensitivity::Secret {
        reader.mask.hide(node.span());
    }
    if let Some(start) = text.find("${") {
        let end = text[start..]
            .find('}')
            .map_or(text.len(), |end| start + end + 1);
        let at = reader.inside(node, start..end);
        let is_hidden = reader.mask.touches(&(at.start..at.end));
        let written = Some(&text[start..end]).filter(|_| !is_hidden);
        warn_placeholder(reader, written, at, key);
    } else if sensitivity == Sensitivity::Secret && !text.is_empty() {
        reader.report(
            Diagnostic::warning(
                Code::InlineSecret,
                format!("`{key}` is a secret and stands in the topology file"),
            )
            .at(span, "everybody who reads the file can see it")
            .help(format!(
                "write {key} = {{ env = \"NAME\" }} or {key} = {{ file = \"PATH\" }}"
            )),
        );
    }
    Given {
        text: Some(Text::inline(text)),
        span,
    }
}

/// Says that `${…}` stays as it is. `written` is absent where it may be a part of a secret.
pub(super) fn warn_placeholder(
    reader: &mut Reader<'_>,
    written: Option<&str>,
    span: Span,
    key: &str,
) {
    let inside = written.map(|written| written.trim_start_matches("${").trim_end_matches('}'));
    let name = inside
        .map(|inside| inside.strip_prefix("env:").unwrap_or(inside))
        .filter(|name| is_variable(name))
        .unwrap_or("NAME");
    reader.report(
        Diagnostic::warning(Code::Placeholder, "`${…}` is never expanded")
            .at(span, "taken as it stands here")
            .help(format!(
                "in the topology file write {key} = {{ env = \"{name}\" }}, or {key} = {{ file = \
                 \"PATH\" }} for a file that holds the value alone"
            )),
    );
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_')
        && name.len() <= 100
        && name
            .chars()
            .all(|char| char.is_ascii_alphanumeric() || char == '_')
}

/// Looks a reference up.
pub(super) fn reference(
    reader: &mut Reader<'_>,
    key: &str,
    node: &Node<'_>,
    sensitivity: Sensitivity,
) -> Option<Text> {
    let entries = node.get_ref().as_table()?;
    let span = reader.span(node.span());
    let table = Table::new(Kind::Reference, vec![key.to_owned()], span, entries);
    table.finish(reader, &[]);
    match (table.get("env"), table.get("file")) {
        (Some(env), None) => variable(reader, env),
        (None, Some(file)) => file_text(reader, file, sensitivity),
        (Some(_), Some(_)) => {
            reader.report(
                Diagnostic::error(Code::InvalidValue, format!("`{key}` refers to two places"))
                    .at(span, "`env` or `file`, not both")
                    .help("keep one of them"),
            );
            None
        }
        (None, None) => {
            reader.report(
                Diagnostic::error(Code::MissingKey, format!("`{key}` refers to nothing"))
                    .at(span, "`env` or `file` is required")
                    .help(format!("write {key} = {{ env = \"NAME\" }}")),
            );
            None
        }
    }
}

fn variable(reader: &mut Reader<'_>, node: &Node<'_>) -> Option<Text> {
    let name = reader.string("env", node)?;
    if !is_variable(&name.value) {
        // Perhaps the secret itself.
        reader.mask.hide(node.span());
        reader.report(
            Diagnostic::error(
                Code::InvalidValue,
                "this is no name of an environment variable",
            )
            .at(name.span, "letters, digits and `_` are allowed")
            .help("write the variable's name, not its value, and without `$`"),
        );
        return None;
    }
    if !reader.surroundings.are_known() {
        return None;
    }
    let problem = match reader.surroundings.variable(&name.value) {
        Ok(Some(value)) => {
            return Some(Text {
                origin: Origin::Env(name.value),
                value: Secret::new(value),
            });
        }
        Ok(None) => "is not set",
        Err(_) => "is no Unicode text",
    };
    reader.report(
        Diagnostic::error(
            Code::UnresolvedReference,
            format!("the environment variable `{}` {problem}", name.value),
        )
        .at(name.span, problem)
        .help(format!(
            "set it where kmirror runs: export {}=…; a machine that only checks files can leave \
             references aside with kmirror validate --skip-references",
            name.value
        )),
    );
    None
}

fn file_text(reader: &mut Reader<'_>, node: &Node<'_>, sensitivity: Sensitivity) -> Option<Text> {
    let (path, span) = path(reader, "file", node)?;
    if !reader.surroundings.are_known() {
        return None;
    }
    let read = reader.surroundings.file(&path, LARGEST_SECRET);
    let read = read.and_then(|file| Ok((file.readable_by_others, secret_of(file.bytes)?)));
    match read {
        Ok((readable_by_others, value)) => {
            if sensitivity == Sensitivity::Secret && readable_by_others {
                warn_readable(reader, &path, span);
            }
            Some(Text {
                origin: Origin::File(path),
                value,
            })
        }
        Err(error) => {
            report_unreadable(reader, &path, span, &error);
            None
        }
    }
}

/// A path, put below the folder of the topology file.
pub(super) fn path(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<(PathBuf, Span)> {
    let path = reader.string(key, node)?;
    if path.value.is_empty() {
        reader.report(
            Diagnostic::error(Code::InvalidValue, format!("`{key}` is empty"))
                .at(path.span, "a path is needed")
                .help("a relative path starts at the folder of the topology file"),
        );
        return None;
    }
    Some((reader.folder.join(path.value), path.span))
}

pub(super) fn report_unreadable(
    reader: &mut Reader<'_>,
    path: &Path,
    span: Span,
    error: &io::Error,
) {
    let problem = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "it may not be read".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::FileTooLarge => "it is too large".to_owned(),
        _ => error.to_string(),
    };
    let relative = if path.is_absolute() {
        ""
    } else {
        "relative paths start at the folder of the file they stand in; "
    };
    reader.report(
        Diagnostic::error(
            Code::UnresolvedReference,
            format!("{} cannot be read", path.display()),
        )
        .at(span, problem)
        .help(format!(
            "{relative}a machine that does not hold it can leave it aside with kmirror validate \
             --skip-references"
        )),
    );
}

pub(super) fn warn_readable(reader: &mut Reader<'_>, path: &Path, span: Span) {
    reader.report(
        Diagnostic::warning(
            Code::ReadableSecret,
            format!("others can read the secrets in {}", path.display()),
        )
        .at(span, "its group or everybody may read it")
        .help(format!("run: chmod 600 {}", quoted(path))),
    );
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+@:,".contains(char);
    if text.chars().all(is_plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
