//! The client properties of a cluster: its `client` table and the properties file that it names,
//! turned into settings by [`crate::client::interpret`].

use std::io;
use std::ops::Range;

use toml::de::DeTable;

use super::reader::{Node, Reader, Table, with_article};
use super::references::{self, Given, Sensitivity};
use super::{address, config, properties};
use crate::client::interpret::{self, Entry, Finding, From, Interpreted, Part, Spot};
use crate::client::keys;
use crate::client::secret::Text;
use crate::client::settings::{ClientSettings, Place, SecurityProtocol, TlsSettings};
use crate::client::written::Written;
use crate::topology::codes::Code;
use crate::topology::diagnostic::{Diagnostic, Places};
use crate::topology::model::{FileId, Span, Spanned};

/// How a cluster is reached.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) settings: ClientSettings,
    /// From the properties file.
    pub(super) bootstrap_servers: Option<Vec<Spanned<String>>>,
    /// A properties file is named and could not be read, so it may hold anything.
    pub(super) file_unknown: bool,
}

/// An entry with what is needed to point into it.
struct Source<'n, 'd> {
    entry: Entry,
    key: Span,
    value: Span,
    inside: Inside<'n, 'd>,
}

/// Where parts of a value are written.
enum Inside<'n, 'd> {
    /// In a string of the topology file.
    Node(&'n Node<'d>),
    /// In the properties file with this index.
    Written(usize, Written),
    /// Behind a reference.
    Nowhere,
}

/// Reads `client` and `properties_file` of a cluster's table.
pub(super) fn read(table: &Table<'_, '_>, reader: &mut Reader<'_>) -> Read {
    let mut sources = Vec::new();
    let mut file_unknown = false;
    if let Some(node) = table.get("properties_file") {
        match properties::read(reader, node) {
            Some(index) => sources.extend(of_file(reader, index)),
            None => file_unknown = true,
        }
    }
    if let Some(node) = table.get("client") {
        match node.get_ref().as_table() {
            Some(entries) => {
                let mut flat = config::Keys::default();
                of_table(reader, &mut flat, "", entries, &|_| true, &mut sources);
            }
            None => {
                let help = "write client = { security.protocol = \"SASL_SSL\" }".to_owned();
                reader.wrong_type("client", node, "a table", Some(help));
            }
        }
    }
    let mut interpreted = interpret::interpret(&entries(&sources));
    if file_unknown {
        // A key that the file may hold is not missing for certain.
        interpreted
            .findings
            .retain(|finding| finding.kind != interpret::Kind::Missing);
    }
    let bootstrap_servers = interpreted.bootstrap_servers;
    let settings = judge(reader, &sources, interpreted);
    let bootstrap_servers = bootstrap_servers.map(|index| servers(reader, &sources, index));
    Read {
        settings,
        bootstrap_servers,
        file_unknown,
    }
}

/// The `ssl.` properties in the table of an endpoint.
pub(super) fn read_tls(
    table: &Table<'_, '_>,
    reader: &mut Reader<'_>,
    protocol: SecurityProtocol,
) -> TlsSettings {
    let mut sources = Vec::new();
    let mut flat = config::Keys::default();
    let is_property = |key: &str| key == "ssl" || key.starts_with("ssl.");
    of_table(
        reader,
        &mut flat,
        "",
        table.entries(),
        &is_property,
        &mut sources,
    );
    let interpreted = interpret::interpret_tls(&entries(&sources), protocol);
    judge(reader, &sources, interpreted).tls
}

fn entries(sources: &[Source<'_, '_>]) -> Vec<Entry> {
    sources.iter().map(|source| source.entry.clone()).collect()
}

/// Says what was found, and shows and looks for what the entries allow.
fn judge(
    reader: &mut Reader<'_>,
    sources: &[Source<'_, '_>],
    interpreted: Interpreted,
) -> ClientSettings {
    for finding in interpreted.findings {
        let diagnostic = diagnostic(reader, sources, finding);
        reader.report(diagnostic);
    }
    for spot in interpreted.harmless {
        reveal(reader, sources, &spot);
    }
    for file in interpreted.files {
        look(reader, sources, &file);
    }
    interpreted.settings
}

/// The entries of a properties file.
fn of_file<'n, 'd>(reader: &mut Reader<'_>, index: usize) -> Vec<Source<'n, 'd>> {
    let file = &reader.others[index];
    let places = Places::new(file_id(index), &file.text);
    let mut placeholders = Vec::new();
    let mut sources = Vec::new();
    for property in &file.properties.properties {
        let key = places.span(property.key.whole());
        let name = property.key.as_str().to_owned();
        let text = property.value.as_str();
        if let Some(start) = text.find("${") {
            let end = text[start..]
                .find('}')
                .map_or(text.len(), |end| start + end + 1);
            let range = property.value.source(start..end);
            let written = (!file.mask.touches(&range)).then(|| text[start..end].to_owned());
            placeholders.push((written, places.span(range), name.clone()));
        }
        sources.push(Source {
            entry: Entry {
                value: Some(Text::inline(text)),
                place: Place {
                    key: name.clone(),
                    at: format!("{}:{}", file.path.display(), key.line),
                },
                key: name,
                from: From::PropertiesFile,
                folder: file.folder().to_owned(),
            },
            key,
            value: places.span(property.value.whole()),
            inside: Inside::Written(index, property.value.clone()),
        });
    }
    for (written, span, key) in placeholders {
        let key = format!("client.{key}");
        references::warn_placeholder(reader, written.as_deref(), span, &key);
    }
    sources
}

fn file_id(index: usize) -> FileId {
    FileId(u32::try_from(index + 1).unwrap_or(u32::MAX))
}

/// The place of a whole dotted key, if it is written in one piece; otherwise of its last part.
fn key_range(reader: &Reader<'_>, key: &str, last: Range<usize>) -> Range<usize> {
    let start = last.end.saturating_sub(key.len());
    if reader.text_at(start..last.end) == key {
        start..last.end
    } else {
        last
    }
}

/// The entries of the `client` table, dotted keys flattened.
fn of_table<'n, 'd>(
    reader: &mut Reader<'_>,
    flat: &mut config::Keys,
    prefix: &str,
    entries: &'n DeTable<'d>,
    wanted: &dyn Fn(&str) -> bool,
    sources: &mut Vec<Source<'n, 'd>>,
) {
    for (name, node) in entries {
        if !wanted(name.get_ref()) {
            continue;
        }
        let key = config::dotted(prefix, name.get_ref());
        if let Some(inner) = inner_table(&key, node) {
            of_table(reader, flat, &key, inner, &|_| true, sources);
            continue;
        }
        let span = reader.span(key_range(reader, &key, name.span()));
        if !flat.add(reader, &key, span) {
            continue;
        }
        let sensitivity = match keys::find(&key) {
            Some(key) if key.is_secret() => Sensitivity::Secret,
            _ => Sensitivity::Open,
        };
        let (given, inside) = if references::is_reference(node) {
            let text = references::reference(reader, &key, node, sensitivity);
            let span = reader.span(node.span());
            (Given { text, span }, Inside::Nowhere)
        } else {
            let Some(text) = plain(reader, &key, node) else {
                continue;
            };
            let given = references::inline(reader, &key, node, &text, sensitivity);
            (given, Inside::Node(node))
        };
        sources.push(Source {
            entry: Entry {
                value: given.text,
                place: Place {
                    key: key.clone(),
                    at: format!("{}:{}", reader.name, span.line),
                },
                key,
                from: From::ClientTable,
                folder: reader.folder.clone(),
            },
            key: span,
            value: given.span,
            inside,
        });
    }
}

/// The table at a key that is only the first part of a dotted one.
fn inner_table<'n, 'd>(key: &str, node: &'n Node<'d>) -> Option<&'n DeTable<'d>> {
    let table = node
        .get_ref()
        .as_table()
        .filter(|table| !table.is_empty())?;
    // `…assertion.file = "x"` is a key of its own.
    let is_key = |last: &str| keys::find(&config::dotted(key, last)).is_some();
    let is_reference = references::is_reference(node)
        && (keys::find(key).is_some() || !table.keys().any(|last| is_key(last.get_ref())));
    (!is_reference).then_some(table)
}

/// The value as Kafka's text.
fn plain(reader: &mut Reader<'_>, key: &str, node: &Node<'_>) -> Option<String> {
    if let Some(text) = config::scalar(node) {
        return Some(text);
    }
    let found = with_article(node.get_ref().type_str());
    let span = reader.span(node.span());
    let help = if node.get_ref().as_array().is_some() {
        "Kafka's lists are one string with commas".to_owned()
    } else {
        format!("write {key:?} = \"VALUE\", or {key:?} = {{ env = \"NAME\" }}")
    };
    reader.report(
        Diagnostic::error(
            Code::BadPropertyValue,
            format!("the client property `{key}` has to be a plain value"),
        )
        .at(span, format!("this is {found}"))
        .help(help),
    );
    None
}

/// The place of a spot.
fn place(reader: &Reader<'_>, sources: &[Source<'_, '_>], spot: &Spot) -> Span {
    let source = &sources[spot.entry];
    match &spot.part {
        Part::Key => source.key,
        Part::Value => source.value,
        Part::Within(range) => match &source.inside {
            Inside::Node(node) => reader.inside(node, range.clone()),
            Inside::Written(index, written) => {
                let text = &reader.others[*index].text;
                Places::new(file_id(*index), text).span(written.source(range.clone()))
            }
            Inside::Nowhere => source.value,
        },
    }
}

fn diagnostic(reader: &Reader<'_>, sources: &[Source<'_, '_>], finding: Finding) -> Diagnostic {
    use interpret::Kind;
    let from = sources[finding.at.entry].entry.from;
    let message = finding.message;
    let mut diagnostic = match finding.kind {
        Kind::Unknown => match from {
            From::ClientTable => Diagnostic::error(Code::UnknownClientKey, message),
            From::PropertiesFile => Diagnostic::warning(Code::UnknownProperty, message),
        },
        Kind::NoEffect => Diagnostic::warning(Code::PropertyWithoutEffect, message),
        Kind::Refused => Diagnostic::error(Code::UnsupportedProperty, message),
        Kind::BadValue => Diagnostic::error(Code::BadPropertyValue, message),
        Kind::BadJaas => Diagnostic::error(Code::BadLoginModule, message),
        Kind::Missing => Diagnostic::error(Code::MissingProperty, message),
        Kind::Unused => Diagnostic::warning(Code::UnusedProperty, message),
        Kind::Insecure => Diagnostic::warning(Code::InsecureConnection, message),
        Kind::Conflict => Diagnostic::error(Code::ConflictingProperties, message),
    }
    .at(place(reader, sources, &finding.at), finding.label);
    for (spot, text) in finding.also {
        diagnostic = diagnostic.at(place(reader, sources, &spot), text);
    }
    diagnostic.help = finding.help;
    diagnostic
}

/// Shows a part of a value whose rest stays hidden, if it is known where that part is written.
fn reveal(reader: &mut Reader<'_>, sources: &[Source<'_, '_>], spot: &Spot) {
    let Part::Within(range) = &spot.part else {
        return;
    };
    match &sources[spot.entry].inside {
        Inside::Node(node) => {
            if let Some(range) = reader.exactly_inside(node, range.clone()) {
                reader.mask.reveal(range);
            }
        }
        Inside::Written(index, written) => {
            let range: Range<usize> = written.source(range.clone());
            reader.others[*index].mask.reveal(range);
        }
        Inside::Nowhere => {}
    }
}

/// Whether a file that the properties name is there. What is in it is seen when it is used.
fn look(reader: &mut Reader<'_>, sources: &[Source<'_, '_>], file: &interpret::NamedFile) {
    if !reader.surroundings.are_known() {
        return;
    }
    let span = sources[file.entry].value;
    match reader.surroundings.look(&file.path) {
        Ok(readable_by_others) => {
            if file.is_secret && readable_by_others {
                references::warn_readable(reader, &file.path, span);
            }
        }
        Err(error) => {
            let error: io::Error = error;
            references::report_unreadable(reader, &file.path, span, &error);
        }
    }
}

/// The addresses of `bootstrap.servers` in a properties file.
fn servers(
    reader: &mut Reader<'_>,
    sources: &[Source<'_, '_>],
    index: usize,
) -> Vec<Spanned<String>> {
    let source = &sources[index];
    let Some(text) = &source.entry.value else {
        return Vec::new();
    };
    let mut servers = Vec::new();
    for (range, server) in address::split(text.value.expose()) {
        let spot = Spot {
            entry: index,
            part: Part::Within(range),
        };
        let span = place(reader, sources, &spot);
        address::read(reader, server, span, &mut servers);
    }
    servers
}
