//! What an editor is told agrees with what the reader does and with what the documentation says.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{document, schema};
use crate::topology::Code;
use crate::topology::engines::{Engine, Support};
use crate::topology::explain;
use crate::topology::read::key_table::{Key, Takes, Without};
use crate::topology::read::keys::Kind;
use crate::topology::tests::EVERYTHING;

const REFERENCE: &str = include_str!("../../../docs/topology.md");

struct Schema {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
}

impl Schema {
    fn new() -> Self {
        let mut schemas = boon::Schemas::new();
        let mut compiler = boon::Compiler::new();
        let url = "mem:///topology.schema.json";
        compiler
            .add_resource(url, schema())
            .expect("it is a schema");
        let index = compiler
            .compile(url, &mut schemas)
            .expect("it is consistent");
        Self { schemas, index }
    }

    /// Why the schema does not take a text; `None` for what is no TOML at all.
    fn judge(&self, text: &str) -> Option<Result<(), String>> {
        let table: toml::Table = text.parse().ok()?;
        let value = as_json(toml::Value::Table(table));
        let result = self.schemas.validate(&value, self.index);
        Some(result.map_err(|error| format!("{error:#}")))
    }
}

/// As taplo does it: times become strings.
fn as_json(value: toml::Value) -> Value {
    match value {
        toml::Value::Table(table) => table
            .into_iter()
            .map(|(key, value)| (key, as_json(value)))
            .collect(),
        toml::Value::Array(array) => array.into_iter().map(as_json).collect(),
        toml::Value::Datetime(time) => json!(time.to_string()),
        toml::Value::String(text) => json!(text),
        toml::Value::Integer(number) => json!(number),
        toml::Value::Float(number) => json!(number),
        toml::Value::Boolean(value) => json!(value),
    }
}

#[test]
fn the_schema_in_the_repository_is_the_one_that_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/topology.schema.json");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == document(),
        "run: kmirror schema > schemas/topology.schema.json"
    );
}

#[test]
fn every_key_is_described() {
    for kind in Kind::ALL {
        for key in kind.table() {
            let words = key.about.split_whitespace().count();
            assert!(
                words > 3 && key.about.ends_with('.'),
                "{kind:?} {}",
                key.name
            );
        }
    }
    assert_described(&schema(), "");
}

/// Editors show a description at every key, however deep.
fn assert_described(value: &Value, place: &str) {
    let Value::Object(parts) = value else { return };
    for (name, part) in parts {
        if name == "properties" {
            for (key, property) in part.as_object().expect("properties are a table") {
                let about = property["description"].as_str().unwrap_or_default();
                assert!(!about.is_empty(), "{place}.{key}");
            }
        }
        match part {
            Value::Array(list) => list.iter().for_each(|part| assert_described(part, place)),
            part => assert_described(part, &format!("{place}.{name}")),
        }
    }
}

#[test]
fn every_default_can_be_read() {
    for kind in Kind::ALL {
        for key in kind.table() {
            if let Without::Value(value) = key.without {
                super::default(value);
            }
        }
    }
}

fn topologies() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
    std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("the folder is readable").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .collect()
}

#[test]
fn a_file_that_kmirror_takes_has_no_mistakes_in_an_editor() {
    let schema = Schema::new();
    let mut texts: Vec<(String, String)> = topologies()
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a file");
            (path.display().to_string(), text)
        })
        .collect();
    assert!(!texts.is_empty());
    texts.push(("everything".to_owned(), EVERYTHING.to_owned()));
    for section in explain::sections() {
        for (index, text) in section.remedies().into_iter().enumerate() {
            texts.push((format!("remedy {index} of {}", section.code), text));
        }
        if section.is_warning() {
            texts.extend(
                section
                    .example()
                    .map(|text| (section.code.to_string(), text)),
            );
        }
    }
    let mut wrong = Vec::new();
    for (name, text) in texts {
        match schema.judge(&text) {
            None => wrong.push(format!("{name}: no TOML")),
            Some(Err(error)) => wrong.push(format!("{name}: {error}")),
            Some(Ok(())) => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn mistakes_that_a_schema_can_see_show_in_an_editor() {
    let visible = [
        Code::UnknownKey,
        Code::MissingKey,
        Code::WrongType,
        Code::InvalidValue,
        Code::FormatVersion,
        Code::UnquotedName,
        Code::IllegalLabel,
        Code::ConfigValue,
        Code::BadAddress,
        Code::ConstantRename,
        Code::NotCarriedOut,
    ];
    let schema = Schema::new();
    for code in visible {
        let example = explain::section(code).example().expect("it has an example");
        let judged = schema.judge(&example).expect("it is TOML");
        assert!(judged.is_err(), "{code}");
    }
    let clusters = "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\n";
    let link = "links.l.source = \"a\"\nlinks.l.destination = \"a\"\n";
    for (wrong, right) in [
        (
            "links.l.replication_factor = 0",
            "links.l.replication_factor = 1",
        ),
        (
            "links.l.auto_create = \"yes\"",
            "links.l.auto_create = false",
        ),
        (
            "links.l.start = \"now\"",
            "links.l.start = 2026-01-31T18:00:00+01:00",
        ),
        (
            "links.l.start = 2026-01-31",
            "links.l.start = \"2026-01-31T18:00:00Z\"",
        ),
        (
            "links.l.exclude = [1]",
            "links.l.exclude = [{ regex = \"a\" }]",
        ),
        (
            "links.l.rename = { suffix = \"x\" }",
            "links.l.rename = { prefix = \"x\" }",
        ),
        (
            "links.l.mirrors.x.config = { a = [1] }",
            "links.l.mirrors.x.config = { a.b = 1, \"c.d\" = true }",
        ),
        (
            "clusters.a.rest = {}",
            "clusters.a.rest = { url = \"https://a\", \"ssl.ca.location\" = \"x\" }",
        ),
        (
            "clusters.a.rest = { url = \"https://a\", uri = \"https://a\" }",
            "clusters.a.rest = { url = { env = \"A\" }, ssl.ca.location = \"x\" }",
        ),
        (
            "clusters.a.topics.x.state = \"paused\"",
            "clusters.a.topics.x.state = \"active\"",
        ),
        (
            "clusters.a.topics.\"a b\" = {}",
            "clusters.a.topics.\"a.b\" = {}",
        ),
    ] {
        let judge = |rest| {
            schema
                .judge(&format!("{clusters}{link}{rest}"))
                .expect(rest)
        };
        assert!(judge(wrong).is_err(), "{wrong}");
        assert_eq!(judge(right), Ok(()), "{right}");
    }
}

/// The rows of the table below a heading of the reference: key, value, default.
fn documented(heading: &str) -> Vec<Vec<String>> {
    let (_, section) = REFERENCE
        .split_once(&format!("# {heading}\n"))
        .unwrap_or_else(|| panic!("docs/topology.md has no section {heading}"));
    section
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            line.trim_matches('|')
                .replace("\\|", "¦")
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn is_documented(key: &Key) -> bool {
    match key.takes {
        Takes::Table(kind) => {
            key.refusal().is_none() && kind.table().iter().any(|key| key.refusal().is_none())
        }
        _ => key.refusal().is_none(),
    }
}

/// The codes of everything that is said about a link with one more line.
fn codes_of_link(line: &str) -> Vec<Code> {
    let text = format!(
        "kmirror = 1\nclusters.a.bootstrap_servers = \"a:1\"\nclusters.b.bootstrap_servers = \"b:1\"\n\
         [links.l]\nsource = \"a\"\ndestination = \"b\"\ntopics = [\"x\"]\n{line}\n"
    );
    match crate::topology::parse(Path::new("t.toml"), &text) {
        Ok(loaded) => loaded.warnings.iter().map(|one| one.code).collect(),
        Err(diagnostics) => diagnostics.iter().map(|one| one.code).collect(),
    }
}

#[test]
fn the_words_of_the_table_are_those_that_the_reader_takes() {
    let mut wrong = Vec::new();
    for (kind, place) in [(Kind::Link, ""), (Kind::Mirror, "mirrors.x.")] {
        for key in kind.table() {
            let Takes::Words(words) = key.takes else {
                continue;
            };
            let mut expect = |word: &str, expected: &[Code]| {
                let line = format!("{place}{} = \"{word}\"", key.name);
                // Where others write, offsets cannot be kept.
                let beside = match key.name {
                    "on_foreign_write" => "\noffsets = \"translate\"",
                    _ => "",
                };
                let found = codes_of_link(&format!("{line}{beside}"));
                if found != expected {
                    wrong.push(format!("{line}: {found:?}"));
                }
            };
            for word in words {
                let refuses = |setting| Engine::Kmirror.support(setting) != Support::Yes;
                let expected: &[Code] = match word.text {
                    _ if word.asks.is_some_and(refuses) => &[Code::NotCarriedOut],
                    // The destination has no `rest`.
                    "cluster-link" => &[Code::MissingKey],
                    _ => &[],
                };
                expect(word.text, expected);
            }
            expect("nonsense", &[Code::InvalidValue]);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_no_engine_carries_out_is_refused_by_the_reader_too() {
    for (line, expected) in [
        ("on_hole = { larger_than = 5, then = \"stop\" }", &[][..]),
        ("acls = { sync = false }", &[]),
        ("limit = { bytes_per_second = \"200MB\" }", &[]),
        ("config = { acks = \"1\" }", &[]),
        ("config = { acks = \"0\" }", &[Code::InvalidValue]),
        ("config = {}", &[]),
        ("check_interval = \"30s\"", &[Code::NotCarriedOut]),
    ] {
        assert_eq!(codes_of_link(line), expected, "{line}");
        let judged = Schema::new().judge(&format!(
            "kmirror = 1\n[links.l]\nsource = \"a\"\ndestination = \"b\"\n{line}\n"
        ));
        let judged = judged.expect("it is TOML");
        assert_eq!(judged.is_ok(), expected.is_empty(), "{line}: {judged:?}");
    }
}

#[test]
fn what_only_brokers_carry_out_is_refused_with_the_engine_that_does_it() {
    for line in [
        "groups = { include = [\"*\"], interval = \"10s\" }",
        "acls = { sync = true }",
        "properties_file = \"x\"",
        "initiated_by = \"source\"",
        "bidirectional = \"both\"",
        "at_source = {}",
    ] {
        assert_eq!(codes_of_link(line), [Code::NotCarriedOut], "{line}");
    }
    assert_eq!(codes_of_link("config = { a = 1 }"), [Code::UnknownKey]);
}

#[test]
fn the_reference_documents_every_key_with_its_default() {
    let mut wrong = Vec::new();
    for (kind, heading) in [
        (Kind::Root, "Top of the file"),
        (Kind::Cluster, "`[clusters.NAME]`"),
        (Kind::OwnedTopic, "`[clusters.NAME.topics.TOPIC]`"),
        (Kind::Link, "`[links.NAME]`"),
        (Kind::OnHole, "Offsets"),
        (Kind::EngineConfig, "Acknowledgements"),
        (Kind::Mirror, "`[links.NAME.mirrors.TOPIC]`"),
        (Kind::Endpoint, "Endpoints"),
    ] {
        let rows = documented(heading);
        let names: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
        // What no engine carries out is documented with K0060.
        let keys: Vec<_> = kind
            .table()
            .iter()
            .filter(|key| is_documented(key))
            .collect();
        let expected: Vec<_> = keys.iter().map(|key| key.name).collect();
        if names != expected {
            wrong.push(format!(
                "{heading}: documented {names:?}, keys {expected:?}"
            ));
            continue;
        }
        for (row, key) in rows.iter().zip(keys) {
            let said = row.last().map(String::as_str).unwrap_or_default();
            let agrees = match key.without {
                Without::Required => said.starts_with("required"),
                Without::Value(value) => said == format!("`{value}`"),
                Without::Words(words) => kind == Kind::Root || said == words,
            };
            if !agrees {
                wrong.push(format!(
                    "{heading} {}: {:?}, not {said:?}",
                    key.name, key.without
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
