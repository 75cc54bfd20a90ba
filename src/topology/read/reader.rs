//! Typed access to the parsed document. A value of another type is reported where it stands and
//! reading goes on, so that one run finds every mistake.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::keys::{self, Kind};
use super::properties::PropertiesFile;
use crate::client::surroundings::Surroundings;
use crate::nearest::nearest;
use crate::topology::codes::Code;
use crate::topology::diagnostic::{Diagnostic, Places};
use crate::topology::mask::Mask;
use crate::topology::model::{FileId, Span, Spanned};

pub(super) type Node<'d> = toml::Spanned<DeValue<'d>>;

/// Collects what is found while a document is read.
pub(super) struct Reader<'t> {
    text: &'t str,
    /// What of it is not to be repeated.
    pub(super) mask: Mask,
    places: Places<'t>,
    pub(super) found: Vec<Diagnostic>,
    /// The file's name, as it is cited.
    pub(super) name: String,
    /// Where relative paths start.
    pub(super) folder: PathBuf,
    pub(super) surroundings: &'t dyn Surroundings,
    /// Properties files that were named, from `FileId(1)` on.
    pub(super) others: Vec<PropertiesFile>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(
        path: &Path,
        text: &'t str,
        mask: Mask,
        surroundings: &'t dyn Surroundings,
    ) -> Self {
        Self {
            text,
            mask,
            places: Places::new(FileId::TOPOLOGY, text),
            found: Vec::new(),
            name: path.display().to_string(),
            folder: path.parent().unwrap_or(Path::new("")).to_owned(),
            surroundings,
            others: Vec::new(),
        }
    }

    pub(super) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.push(diagnostic);
    }

    pub(super) fn span(&self, range: Range<usize>) -> Span {
        self.places.span(range)
    }

    /// What is written there; nothing where that is outside.
    pub(super) fn text_at(&self, range: Range<usize>) -> &'t str {
        let end = range.end.min(self.text.len());
        self.text.get(range.start..end).unwrap_or_default()
    }

    /// What is written there, to be repeated in a message; nothing where it may be a secret.
    pub(super) fn cited(&self, range: Range<usize>) -> Option<&'t str> {
        let end = range.end.min(self.text.len());
        let written = self.text.get(range.start..end)?;
        (!self.mask.touches(&range)).then_some(written)
    }

    /// The line that begins there, without its end.
    pub(super) fn line_at(&self, start: usize) -> &'t str {
        let rest = self.text.get(start..).unwrap_or_default();
        rest.lines().next().unwrap_or_default()
    }

    /// The place of some bytes of a string's value, or of the whole string where escapes make
    /// that unknowable.
    pub(super) fn inside(&self, node: &Node<'_>, range: Range<usize>) -> Span {
        match self.exactly_inside(node, range) {
            Some(range) => self.span(range),
            None => self.span(node.span()),
        }
    }

    /// The same, as bytes of the file; `None` where escapes make it unknowable.
    pub(super) fn exactly_inside(
        &self,
        node: &Node<'_>,
        range: Range<usize>,
    ) -> Option<Range<usize>> {
        let whole = node.span();
        let written = self.text_at(whole.clone());
        let value = node.get_ref().as_str()?;
        for quote in ["\"\"\"", "'''", "\"", "'"] {
            let Some(body) = written
                .strip_prefix(quote)
                .and_then(|rest| rest.strip_suffix(quote))
            else {
                continue;
            };
            // A line break right after the opening quotes is no part of the value.
            let skipped = match quote.len() {
                3 if body.starts_with("\r\n") => 2,
                3 if body.starts_with('\n') => 1,
                _ => 0,
            };
            if body.get(skipped..) == Some(value) {
                let first = whole.start + quote.len() + skipped;
                return Some(first + range.start..first + range.end);
            }
        }
        None
    }

    pub(super) fn wrong_type(
        &mut self,
        key: &str,
        node: &Node<'_>,
        expected: &str,
        help: Option<String>,
    ) {
        let found = with_article(node.get_ref().type_str());
        let mut diagnostic =
            Diagnostic::error(Code::WrongType, format!("`{key}` has to be {expected}"))
                .at(self.span(node.span()), format!("this is {found}"));
        diagnostic.help = help;
        self.report(diagnostic);
    }

    pub(super) fn string(&mut self, key: &str, node: &Node<'_>) -> Option<Spanned<String>> {
        if let Some(text) = node.get_ref().as_str() {
            return Some(Spanned {
                value: text.to_owned(),
                span: self.span(node.span()),
            });
        }
        let help = match node.get_ref() {
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) => {
                let written = self.cited(node.span()).unwrap_or("…");
                Some(format!("write it in quotes: {key} = \"{written}\""))
            }
            _ => None,
        };
        self.wrong_type(key, node, "a string", help);
        None
    }

    pub(super) fn bool(&mut self, key: &str, node: &Node<'_>) -> Option<bool> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            let help = match node.get_ref().as_str() {
                Some(text @ ("true" | "false")) => {
                    Some(format!("write it without quotes: {key} = {text}"))
                }
                _ => None,
            };
            self.wrong_type(key, node, "true or false", help);
        }
        value
    }

    /// A whole number from 1 to `most`.
    pub(super) fn count(&mut self, key: &str, node: &Node<'_>, most: i64) -> Option<Spanned<i64>> {
        let span = self.span(node.span());
        let Some(integer) = node.get_ref().as_integer() else {
            let help = node
                .get_ref()
                .as_str()
                .filter(|text| text.parse::<i64>().is_ok() && self.cited(node.span()).is_some())
                .map(|text| format!("write it without quotes: {key} = {text}"));
            self.wrong_type(key, node, "a whole number", help);
            return None;
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(value) if (1..=most).contains(&value) => Some(Spanned { value, span }),
            _ => {
                self.report(
                    Diagnostic::error(Code::InvalidValue, format!("`{key}` is out of range"))
                        .at(span, format!("has to be from 1 to {most}"))
                        .help(format!("leave `{key}` out for the default")),
                );
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        node: &Node<'_>,
        words: &[(&str, T)],
    ) -> Option<Spanned<T>> {
        let text = self.string(key, node)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Spanned {
                value: *value,
                span: text.span,
            });
        }
        let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let nearest = nearest(&text.value, words.iter().map(|(word, _)| *word));
        self.report(
            Diagnostic::error(
                Code::InvalidValue,
                format!("`{}` is no value of `{key}`", text.value),
            )
            .at(text.span, format!("has to be {}", known.join(" or ")))
            .help(match nearest {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("write {key} = {}", known.join(" or ").replace('`', "\"")),
            }),
        );
        None
    }

    pub(super) fn array<'n, 'd>(
        &mut self,
        key: &str,
        node: &'n Node<'d>,
        of: &str,
    ) -> Option<&'n [Node<'d>]> {
        let array = node.get_ref().as_array();
        if array.is_none() {
            let help = node
                .get_ref()
                .as_str()
                .filter(|_| self.cited(node.span()).is_some())
                .map(|text| format!("write it in brackets: {key} = [\"{text}\"]"));
            self.wrong_type(key, node, &format!("an array of {of}"), help);
        }
        array.map(|array| &array[..])
    }
}

pub(super) fn with_article(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'i']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {type_name}")
}

/// A table together with what it is and where it stands.
#[derive(Debug)]
pub(super) struct Table<'n, 'd> {
    pub(super) kind: Kind,
    /// From the root: `["links", "east-to-west", "mirrors", "orders"]`.
    pub(super) path: Vec<String>,
    /// Of the name in the header, or of the whole of an inline table.
    pub(super) span: Span,
    entries: &'n DeTable<'d>,
}

impl<'n, 'd> Table<'n, 'd> {
    pub(super) fn new(kind: Kind, path: Vec<String>, span: Span, entries: &'n DeTable<'d>) -> Self {
        Self {
            kind,
            path,
            span,
            entries,
        }
    }

    /// Its own name, for tables that have one.
    pub(super) fn name(&self) -> &str {
        self.path.last().map_or("", String::as_str)
    }

    pub(super) fn entries(&self) -> &'n DeTable<'d> {
        self.entries
    }

    pub(super) fn get(&self, key: &str) -> Option<&'n Node<'d>> {
        debug_assert!(self.kind.knows(key), "{key} is not in the list");
        self.entries.get(key)
    }

    /// The tables inside the table at `key`, each with its name and the name's place.
    pub(super) fn named(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        kind: Kind,
    ) -> Vec<Table<'n, 'd>> {
        let Some(node) = self.get(key) else {
            return Vec::new();
        };
        let mut path = self.path.clone();
        path.push(key.to_owned());
        let Some(entries) = node.get_ref().as_table() else {
            let help = format!("write {}", header(&path, kind_placeholder(kind)));
            reader.wrong_type(key, node, "a table of tables", Some(help));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (name, value) in entries {
            let span = reader.span(name.span());
            let Some(inner) = value.get_ref().as_table() else {
                let help = format!("write {} and its keys below", header(&path, name.get_ref()));
                reader.wrong_type(name.get_ref(), value, "a table", Some(help));
                continue;
            };
            let mut path = path.clone();
            path.push(name.get_ref().to_string());
            let table = Table::new(kind, path, span, inner);
            let unquoted = table.unquoted(reader);
            tables.push(table);
            tables.extend(unquoted);
        }
        tables
    }

    /// Topics whose dotted names were written without quotes, under the names that were meant, so
    /// that mistakes in them are found in the same run.
    fn unquoted(&self, reader: &Reader<'_>) -> Vec<Table<'n, 'd>> {
        if !matches!(self.kind, Kind::OwnedTopic | Kind::Mirror) {
            return Vec::new();
        }
        let mut tables = Vec::new();
        for (key, value) in self.entries {
            let Some(mut inner) = value.get_ref().as_table() else {
                continue;
            };
            if self.kind.knows(key.get_ref()) || keys::suggest(self.kind, key.get_ref()).is_some() {
                continue;
            }
            let name = self.meant_name(key.get_ref(), &mut inner);
            let mut path = self.path.clone();
            path.pop();
            path.push(name);
            tables.push(Table::new(self.kind, path, reader.span(key.span()), inner));
        }
        tables
    }

    /// A name with several dots is a table in a table in a table. `inner` ends at the last one.
    fn meant_name(&self, key: &str, inner: &mut &'n DeTable<'d>) -> String {
        let mut name = format!("{}.{key}", self.name());
        while inner.len() == 1 {
            let Some((next, value)) = inner.iter().next() else {
                break;
            };
            match value.get_ref().as_table() {
                Some(deeper) if !self.kind.knows(next.get_ref()) => {
                    name = format!("{name}.{}", next.get_ref());
                    *inner = deeper;
                }
                _ => break,
            }
        }
        name
    }

    /// Reports keys that do not exist here, then required ones that are absent. `None` when the
    /// table is only there because a name with a dot was written without quotes; otherwise the
    /// keys that misspelt ones were probably meant to be.
    pub(super) fn finish(
        &self,
        reader: &mut Reader<'_>,
        required: &[&str],
    ) -> Option<Vec<&'static str>> {
        let mut meant = Vec::new();
        let mut unquoted = false;
        for (key, value) in self.entries {
            if self.kind.knows(key.get_ref()) {
                continue;
            }
            let written = self.flattened(key.get_ref(), value);
            let suggestion = keys::suggest(self.kind, &written);
            let nested = value.get_ref().as_table();
            match nested.filter(|_| suggestion.is_none() && self.kind.is_named()) {
                Some(nested) => {
                    unquoted = true;
                    self.report_unquoted(reader, key, nested);
                }
                None => {
                    meant.extend(suggestion);
                    let cited = reader.cited(key.span()).map_or("…", |_| &written);
                    self.report_unknown(reader, key, cited);
                }
            }
        }
        let phantom = unquoted
            && !self
                .entries
                .keys()
                .any(|key| self.kind.knows(key.get_ref()));
        if phantom {
            return None;
        }
        for key in required {
            if !self.entries.contains_key(*key) && !meant.contains(key) {
                self.report_missing(reader, key);
            }
        }
        Some(meant)
    }

    /// `bootstrap.servers = …` is a table `bootstrap`: what was written is the dotted key.
    fn flattened(&self, key: &str, value: &Node<'_>) -> String {
        let dotted = value
            .get_ref()
            .as_table()
            .filter(|table| table.len() == 1)
            .and_then(|table| table.keys().next())
            .map(|inner| format!("{key}.{}", inner.get_ref()));
        match dotted {
            Some(dotted) if keys::is_spelling(self.kind, &dotted) => dotted,
            _ => key.to_owned(),
        }
    }

    fn report_unknown(
        &self,
        reader: &mut Reader<'_>,
        key: &toml::Spanned<toml::de::DeString<'_>>,
        written: &str,
    ) {
        let place = match self.kind {
            Kind::Root => String::new(),
            _ if self.kind.is_named() => {
                format!(" in {} `{}`", bare(self.kind.noun()), self.name())
            }
            _ => format!(" in {}", self.kind.noun()),
        };
        let span = reader.span(key.span());
        reader.report(
            Diagnostic::error(Code::UnknownKey, format!("unknown key `{written}`{place}"))
                .at(span, format!("no key of {}", self.kind.noun()))
                .help(keys::help(self.kind, written)),
        );
    }

    fn report_unquoted(
        &self,
        reader: &mut Reader<'_>,
        key: &toml::Spanned<toml::de::DeString<'_>>,
        mut nested: &'n DeTable<'d>,
    ) {
        let name = self.meant_name(key.get_ref(), &mut nested);
        let parent = &self.path[..self.path.len().saturating_sub(1)];
        let noun = bare(self.kind.noun());
        let help = match self.kind {
            Kind::Cluster | Kind::Link => format!(
                "a {noun} name has no dots: {}; or, if `{}` was meant as a key: {}",
                header(parent, &name.replace('.', "-")),
                key.get_ref(),
                keys::help(self.kind, key.get_ref()),
            ),
            _ => format!("quote the name: {}", header(parent, &name)),
        };
        let span = reader.span(key.span());
        reader.report(
            Diagnostic::error(
                Code::UnquotedName,
                format!(
                    "`{}` is read as a table inside {noun} `{}`",
                    key.get_ref(),
                    self.name()
                ),
            )
            .at(span, "a dot without quotes starts a new table")
            .help(help),
        );
    }

    pub(super) fn report_missing(&self, reader: &mut Reader<'_>, key: &str) {
        let place = if self.kind.is_named() {
            format!("{} `{}`", bare(self.kind.noun()), self.name())
        } else {
            bare(self.kind.noun()).to_owned()
        };
        let help = match key {
            "bootstrap_servers" => "add bootstrap_servers = \"HOST:9092\"".to_owned(),
            "source" | "destination" => {
                format!("add {key} = \"NAME\" with the NAME of a [clusters.NAME]")
            }
            _ => format!("add {key} = \"…\""),
        };
        reader.report(
            Diagnostic::error(Code::MissingKey, format!("{place} has no `{key}`"))
                .at(self.span, format!("`{key}` is required"))
                .help(help),
        );
    }
}

fn bare(noun: &str) -> &str {
    noun.split_once(' ').map_or(noun, |(_, noun)| noun)
}

fn kind_placeholder(kind: Kind) -> &'static str {
    match kind {
        Kind::OwnedTopic | Kind::Mirror => "TOPIC",
        _ => "NAME",
    }
}

/// A table header as it has to be written, with quotes where they are needed.
pub(in crate::topology) fn header(path: &[String], name: &str) -> String {
    let parts: Vec<_> = path
        .iter()
        .map(String::as_str)
        .chain([name])
        .map(|part| {
            let is_bare = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
            if !part.is_empty() && part.chars().all(is_bare) {
                part.to_owned()
            } else {
                format!("{part:?}")
            }
        })
        .collect();
    format!("[{}]", parts.join("."))
}
