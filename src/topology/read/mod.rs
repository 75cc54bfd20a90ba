//! Text to a draft of the topology: every key looked at, every value typed, nothing judged yet
//! that takes more than one table to see (that is [`super::check`]).

use std::path::Path;

use indexmap::IndexMap;
use toml::de::DeTable;

use super::codes::Code;
use super::diagnostic::{Diagnostic, SourceFile};
use super::mask::Mask;
use super::model::{Cluster, FileId, Link, Span, Spanned};
use crate::client::surroundings::{Nowhere, Surroundings};

mod address;
mod broker_link;
mod client;
mod cluster;
mod config;
mod endpoint;
pub(super) mod key_table;
pub(super) mod keys;
mod link;
mod policies;
mod properties;
mod reader;
mod references;
mod rename;
mod selectors;
mod syntax;

pub(super) use address::canonical as canonical_address;
use keys::Kind;
pub(super) use reader::header;
use reader::{Reader, Table};

/// The format version that this build reads.
pub const FORMAT_VERSION: i64 = 1;

/// What a file says, as far as it could be read.
#[derive(Debug)]
pub(super) struct Draft {
    /// Every table under `clusters`, also those with mistakes.
    pub(super) cluster_names: IndexMap<String, Span>,
    pub(super) clusters: IndexMap<String, Cluster>,
    pub(super) links: Vec<DraftLink>,
    /// Bootstrap servers with their places: cluster, address, place.
    pub(super) addresses: Vec<(String, Spanned<String>)>,
}

/// A link with what only the checks need to know.
#[derive(Debug)]
pub(super) struct DraftLink {
    /// `source` and `destination` are empty where they could not be read.
    pub(super) link: Link,
    pub(super) source: Option<Spanned<String>>,
    pub(super) destination: Option<Spanned<String>>,
    /// Where the rename rule stands.
    pub(super) rename_span: Option<Span>,
    /// False when a mistake hides which topics are taken or what they are called.
    pub(super) names_known: bool,
}

/// What came out of reading a text.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) draft: Draft,
    pub(super) found: Vec<Diagnostic>,
    pub(super) mask: Mask,
    /// The properties files that it names, from `FileId(1)` on.
    pub(super) others: Vec<SourceFile>,
}

/// Reads the whole text. Mistakes are collected, not returned at the first.
pub(super) fn read(path: &Path, text: &str, surroundings: &dyn Surroundings) -> Read {
    tracing::debug!(path = %path.display(), bytes = text.len(), "reading topology");
    let (document, errors) = DeTable::parse_recoverable(text);
    let mask = Mask::of_toml(text, !errors.is_empty());
    let mut reader = Reader::new(path, text, mask, surroundings);
    let broken_lines = syntax::report(&mut reader, document.get_ref(), &errors);
    let syntax_errors = reader.found.len();
    let start = reader.span(0..0);
    let root = Table::new(Kind::Root, Vec::new(), start, document.get_ref());
    let draft = read_root(&root, &mut reader);
    let mut found = std::mem::take(&mut reader.found);
    if syntax_errors > 0 {
        // What follows from a part that could not be read is no mistake of the user's.
        let rest = found.split_off(syntax_errors);
        found.extend(rest.into_iter().filter(|diagnostic| {
            let on_broken_line = diagnostic.labels.first().is_some_and(|label| {
                label.span.file == FileId::TOPOLOGY && broken_lines.contains(&label.span.line)
            });
            !on_broken_line && !is_about_something_absent(diagnostic.code)
        }));
    }
    let mut others = Vec::new();
    for (id, other) in (1..).map(FileId).zip(&reader.others) {
        let source = other.as_source();
        other.conceal(id, &source, &mut found);
        others.push(source);
    }
    Read {
        draft,
        found,
        others,
        mask: reader.mask,
    }
}

/// What breaks TOML's own rules, whatever the keys mean.
#[derive(Debug)]
pub(super) struct SyntaxErrors {
    pub(super) found: Vec<Diagnostic>,
    pub(super) mask: Mask,
}

pub(super) fn syntax_errors(path: &Path, text: &str) -> SyntaxErrors {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mask = Mask::of_toml(text, !errors.is_empty());
    let mut reader = Reader::new(path, text, mask, &Nowhere);
    syntax::report(&mut reader, document.get_ref(), &errors);
    let Reader { found, mask, .. } = reader;
    SyntaxErrors { found, mask }
}

/// Whether the diagnostic may be there only because a part of the file could not be read.
pub(super) fn is_about_something_absent(code: Code) -> bool {
    matches!(
        code,
        Code::MissingKey
            | Code::FormatVersion
            | Code::NoTopics
            | Code::UnknownCluster
            | Code::MissingProperty
            | Code::UnusedProperty
    )
}

fn read_root(root: &Table<'_, '_>, reader: &mut Reader<'_>) -> Draft {
    root.finish(reader, &[]);
    read_version(root, reader);
    let mut draft = Draft {
        cluster_names: IndexMap::new(),
        clusters: IndexMap::new(),
        links: Vec::new(),
        addresses: Vec::new(),
    };
    for table in root.named(reader, "clusters", Kind::Cluster) {
        cluster::read(&table, reader, &mut draft);
    }
    for table in root.named(reader, "links", Kind::Link) {
        if let Some(link) = link::read(&table, reader) {
            draft.links.push(link);
        }
    }
    draft
}

fn read_version(root: &Table<'_, '_>, reader: &mut Reader<'_>) {
    let Some(node) = root.get("kmirror") else {
        reader.report(
            Diagnostic::error(Code::FormatVersion, "the format version is absent")
                .at(root.span, "expected `kmirror = 1` before the first table")
                .help(format!("start the file with: kmirror = {FORMAT_VERSION}")),
        );
        return;
    };
    let version = node
        .get_ref()
        .as_integer()
        .and_then(|integer| i64::from_str_radix(integer.as_str(), integer.radix()).ok());
    match version {
        Some(FORMAT_VERSION) => {}
        Some(version) => {
            let span = reader.span(node.span());
            reader.report(
                Diagnostic::error(
                    Code::FormatVersion,
                    format!("format version {version} is unknown to this build"),
                )
                .at(span, format!("this build reads version {FORMAT_VERSION}"))
                .help(if version > FORMAT_VERSION {
                    "use a newer kmirror".to_owned()
                } else {
                    format!("write kmirror = {FORMAT_VERSION}")
                }),
            );
        }
        None => {
            let help = format!("write kmirror = {FORMAT_VERSION}");
            reader.wrong_type(
                "kmirror",
                node,
                "the number of a format version",
                Some(help),
            );
        }
    }
}

/// Cluster and link names are typed on command lines and shown in addresses.
fn check_label(table: &Table<'_, '_>, reader: &mut Reader<'_>) {
    const LONGEST: usize = 100;
    let name = table.name();
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if let Some(illegal) = name.chars().find(|char| !is_allowed(*char)) {
        format!("`{}` is not allowed", illegal.escape_debug())
    } else if name.len() > LONGEST {
        format!("more than {LONGEST} characters")
    } else {
        return;
    };
    reader.report(
        Diagnostic::error(
            Code::IllegalLabel,
            format!("`{name}` cannot be the name of {}", table.kind.noun()),
        )
        .at(table.span, problem)
        .help("use letters, digits, `-` and `_`"),
    );
}
