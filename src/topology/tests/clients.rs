//! Client properties in the topology file and in properties files, and what they refer to.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use crate::client::settings::{Pem, SaslSettings, Trust};
use crate::client::surroundings::{Elsewhere, File, NotUnicode, Surroundings};
use crate::client::{ClientSettings, Origin, SecurityProtocol};
use crate::topology::diagnostic::Diagnostics;
use crate::topology::{Loaded, parse_in, render};

/// Variables and files that a test makes up.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    pub(super) variables: HashMap<&'static str, &'static str>,
    pub(super) files: HashMap<PathBuf, File>,
}

impl Shelf {
    pub(super) fn variable(mut self, name: &'static str, value: &'static str) -> Self {
        self.variables.insert(name, value);
        self
    }

    /// A file that only its owner can read.
    pub(super) fn file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let file = File {
            bytes: bytes.into(),
            readable_by_others: false,
        };
        self.files.insert(path.into(), file);
        self
    }

    pub(super) fn open_file(mut self, path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let file = File {
            bytes: bytes.into(),
            readable_by_others: true,
        };
        self.files.insert(path.into(), file);
        self
    }
}

impl Surroundings for Shelf {
    fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
        if name == "BROKEN" {
            return Err(NotUnicode);
        }
        Ok(self.variables.get(name).map(|value| (*value).to_owned()))
    }

    fn file(&self, path: &Path, most: u64) -> io::Result<File> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        if file.bytes.len() as u64 > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(file.clone())
    }

    fn look(&self, path: &Path) -> io::Result<bool> {
        let file = self.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(file.readable_by_others)
    }
}

/// A file with one cluster, whose table has these lines from line 3 on.
fn load(lines: &str, surroundings: &dyn Surroundings) -> Result<Loaded, Diagnostics> {
    let text = format!("kmirror = 1\n[clusters.a]\n{lines}\n");
    parse_in(Path::new("in/t.toml"), &text, surroundings)
}

fn settings(lines: &str, shelf: &Shelf) -> ClientSettings {
    match load(lines, shelf) {
        Ok(loaded) => {
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
            loaded.topology.clusters["a"].client.clone()
        }
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// `K0010@5:1` for a place in the topology file, `K0010@p:5:1` for one in a properties file.
fn codes(lines: &str, shelf: &Shelf) -> Vec<String> {
    let diagnostics = match load(lines, shelf) {
        Ok(loaded) => loaded.warnings,
        Err(diagnostics) => diagnostics,
    };
    diagnostics
        .iter()
        .map(|diagnostic| {
            let span = diagnostic.labels[0].span;
            let file = if span.file.0 == 0 { "" } else { "p:" };
            format!("{}@{file}{}:{}", diagnostic.code, span.line, span.column)
        })
        .collect()
}

const SERVERS: &str = "bootstrap_servers = \"a:1\"\n";

#[test]
fn client_properties_reach_the_cluster_however_they_are_written() {
    let shelf = Shelf::default()
        .variable("USER", "alice")
        .file("in/west.pw", "hunter2\n")
        .file("in/ca.pem", "")
        .file("in/secure/ca.pem", "")
        .file(
            "in/secure/west.properties",
            "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.ca.location=ca.pem\n\
             bootstrap.servers=p1:9092,p2:9092\nclient.id=from-file\n",
        );
    for lines in [
        "bootstrap_servers = \"a:1\"\n[clusters.a.client]\n\"security.protocol\" = \"SASL_SSL\"\n\
         sasl.mechanism = \"SCRAM-SHA-512\"\nsasl.username = { env = \"USER\" }\n\
         \"sasl.password\" = { file = \"west.pw\" }\nssl.ca.location = \"ca.pem\"",
        "bootstrap_servers = \"a:1\"\nproperties_file = \"secure/west.properties\"\n\
         client = { sasl.username.env = \"USER\", sasl.password.file = \"west.pw\" }",
    ] {
        let settings = settings(lines, &shelf);
        assert_eq!(settings.protocol.value, SecurityProtocol::SaslSsl);
        let Some(SaslSettings::Scram { credentials, .. }) = settings.sasl.map(|sasl| sasl.value)
        else {
            panic!("SCRAM");
        };
        assert_eq!(credentials.username.value.value.expose(), "alice");
        assert_eq!(
            credentials.username.value.origin,
            Origin::Env("USER".to_owned())
        );
        // One trailing newline is no part of it.
        assert_eq!(credentials.password.value.value.expose(), "hunter2");
        assert_eq!(
            credentials.password.value.origin,
            Origin::File("in/west.pw".into())
        );
        assert!(credentials.password.place.at.starts_with("in/t.toml:"));
    }
    // Relative paths start at the file they stand in, and the table wins over the file.
    let lines = "properties_file = \"secure/west.properties\"\n\
                 client = { sasl.username = \"bob\", sasl.password.file = \"west.pw\", client.id = \"mine\" }";
    let loaded = load(lines, &shelf).unwrap_or_else(|error| panic!("{error}"));
    let cluster = &loaded.topology.clusters["a"];
    assert_eq!(cluster.bootstrap_servers, ["p1:9092", "p2:9092"]);
    assert_eq!(cluster.client.client_id.as_deref(), Some("mine"));
    assert!(matches!(
        cluster.client.tls.trust.as_ref().map(|trust| &trust.value),
        Some(Trust::Pem(Pem::File(path))) if path == Path::new("in/secure/ca.pem")
    ));
    let place = &cluster.client.protocol.place;
    assert_eq!(
        place.to_string(),
        "`security.protocol` (in/secure/west.properties:1)"
    );
}

#[test]
fn addresses_may_be_references_whole_or_in_part() {
    let shelf = Shelf::default()
        .variable("ALL", "b1:1, b2:2")
        .variable("BAD", "b1")
        .file("in/more", "b3:3\n");
    let servers = |lines: &str| {
        let loaded = load(lines, &shelf).unwrap_or_else(|error| panic!("{error}"));
        loaded.topology.clusters["a"].bootstrap_servers.clone()
    };
    assert_eq!(
        servers("bootstrap_servers = { env = \"ALL\" }"),
        ["b1:1", "b2:2"]
    );
    assert_eq!(
        servers("bootstrap_servers = [\"x:9\", { env = \"ALL\" }, { file = \"more\" }]"),
        ["x:9", "b1:1", "b2:2", "b3:3"]
    );
    assert_eq!(
        codes("bootstrap_servers = [{ env = \"BAD\" }]", &shelf),
        ["K0020@3:22"]
    );
}

#[test]
fn each_mistake_with_a_reference_is_found_where_it_is() {
    let shelf = Shelf::default()
        .open_file("in/open", "hunter2")
        .file("in/binary", b"\xff\xfe")
        .file("in/big", vec![b'x'; (1 << 20) + 1]);
    let mut wrong = Vec::new();
    for (line, expected) in [
        (
            "client.client.id = { env = \"UNSET\" }",
            &["K0024@4:28"][..],
        ),
        ("client.client.id = { env = \"BROKEN\" }", &["K0024@4:28"]),
        ("client.client.id = { env = \"$HOME\" }", &["K0013@4:28"]),
        ("client.client.id = { env = 1 }", &["K0012@4:28"]),
        ("client.client.id = { file = \"absent\" }", &["K0024@4:29"]),
        ("client.client.id = { file = \"binary\" }", &["K0024@4:29"]),
        ("client.client.id = { file = \"big\" }", &["K0024@4:29"]),
        ("client.client.id = { file = \"\" }", &["K0013@4:29"]),
        ("client.client.id = { file = \"open\" }", &[]),
        (
            "client.client.id = { env = \"A\", file = \"B\" }",
            &["K0013@4:20"],
        ),
        ("client.client.id = [\"a\"]", &["K0074@4:20"]),
        ("client.client.id = 5", &[]),
        ("client.client.id = \"${HOME}\"", &["K0027@4:21"]),
        ("client.sasl.password = \"x\"", &["K0025@4:24", "K0077@4:8"]),
        (
            "client.sasl.password = { file = \"open\" }",
            &["K0026@4:33", "K0077@4:8"],
        ),
        ("client.sasl.passwrd = \"x\"", &["K0070@4:8"]),
        ("client.bootstrap.servers = \"a:1\"", &["K0073@4:8"]),
        ("client = \"x\"", &["K0012@4:10"]),
        (
            "client = { client.id = \"a\", \"client.id\" = \"b\" }",
            &["K0004@4:29"],
        ),
        ("properties_file = \"absent\"", &["K0024@4:19"]),
        ("properties_file = \"\"", &["K0013@4:19"]),
        ("properties_file = { env = \"X\" }", &["K0012@4:19"]),
        (
            "client = { security.protocol = \"SSL\", ssl.ca.location = \"absent\" }",
            &["K0024@4:57"],
        ),
        ("client = { ssl.ca.location = \"absent\" }", &["K0077@4:12"]),
        ("title = 5", &["K0012@4:9"]),
    ] {
        super::compare(
            &mut wrong,
            line,
            codes(&format!("{SERVERS}{line}"), &shelf),
            expected,
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_mistake_in_a_properties_file_is_found_there() {
    let mut wrong = Vec::new();
    for (text, expected) in [
        ("# nothing\n", &[][..]),
        ("acks=all\n", &["K0072@p:1:1"]),
        ("security.protocl=SSL\n", &["K0071@p:1:1"]),
        ("\nsecurity.protocol=TLS\n", &["K0074@p:2:19"]),
        ("client.id=a\nclient.id=b\n", &["K0081@p:2:1"]),
        ("client.id=a\\u12\n", &["K0080@p:1:12"]),
        ("client.id=gr\u{fc}n\n", &["K0082@p:1:13"]),
        ("# gr\u{fc}n\nclient.id=gr\\u00fcn\n", &[]),
        ("client.id=${X}\n", &["K0027@p:1:11"]),
        ("sasl.username=a\nsasl.mechanism=PLAIN\n", &["K0077@p:1:1"]),
        (
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n\
             sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \\\n   \
             required username='a' \\\n   pasword='b';\n",
            &["K0072@p:5:4", "K0075@p:3:18"],
        ),
    ] {
        let shelf = Shelf::default().file("in/p", text);
        let lines = format!("{SERVERS}properties_file = \"p\"");
        super::compare(&mut wrong, text, codes(&lines, &shelf), expected);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let latin = Shelf::default().file("in/p", b"client.id=gr\xfcn\n");
    assert_eq!(
        codes(&format!("{SERVERS}properties_file = \"p\""), &latin),
        ["K0082@p:1:13"]
    );
    let open = Shelf::default().open_file("in/p", "client.id=a\n");
    assert_eq!(
        codes(&format!("{SERVERS}properties_file = \"p\""), &open),
        [""; 0]
    );
    let open = Shelf::default().open_file("in/p", "ssl.key.password=a\n");
    assert_eq!(
        codes(&format!("{SERVERS}properties_file = \"p\""), &open),
        ["K0026@4:19", "K0077@p:1:1"]
    );
}

#[test]
fn a_machine_without_the_references_checks_everything_else() {
    let lines = "bootstrap_servers = { env = \"UNSET\" }\nproperties_file = \"absent\"\n\
                 [clusters.a.client]\nsecurity.protocol = \"SASL_SSL\"\nsasl.username = { env = \"UNSET\" }\n\
                 sasl.password = { file = \"absent\" }\nssl.ca.location = \"absent\"\nssl.protokol = \"x\"";
    let Err(diagnostics) = load(lines, &Elsewhere) else {
        panic!("there is a mistake");
    };
    let codes: Vec<_> = diagnostics.iter().map(|one| one.code.to_string()).collect();
    assert_eq!(codes, ["K0070"]);
    assert!(
        load(lines, &Shelf::default())
            .expect_err("nothing is there")
            .iter()
            .len()
            > 4
    );
}

#[test]
fn one_file_of_several_clusters_is_read_and_shown_once() {
    let text = "kmirror = 1\n[clusters.a]\nproperties_file = \"p\"\n[clusters.b]\nproperties_file = \"p\"\n";
    let shelf = Shelf::default().file("p", "bootstrap.servers=x:1\nnonsense.key=1\n");
    let loaded =
        parse_in(Path::new("t.toml"), text, &shelf).unwrap_or_else(|error| panic!("{error}"));
    let codes: Vec<_> = loaded
        .warnings
        .iter()
        .map(|one| one.code.to_string())
        .collect();
    // The address is shared, of course.
    assert_eq!(codes, ["K0021", "K0071"]);
    assert_eq!(loaded.topology.other_files, [PathBuf::from("p")]);
}

#[test]
fn what_is_wrong_in_a_properties_file_is_shown_with_its_lines_and_without_secrets() {
    let shelf = Shelf::default().file(
        "in/west.properties",
        "# the old one: ssl.key.password=hunter1\n\
         security.protocol=SASL_PLAINTEXT\n\
         sasl.mechanism=PLAIN\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
         usernam=\"alice\" \\\n  password=\"hunter2\";\n\
         sasl.pasword=hunter3\n\
         ssl.truststore.location=trust.jks\n",
    );
    let lines = "bootstrap_servers = \"a:1\"\nproperties_file = \"west.properties\"\n\
                 client = { security.protocol = \"SASL_PLAINTEXT\" }";
    let diagnostics = load(lines, &shelf).expect_err("there are mistakes");
    let shown = render::text(&diagnostics, false, 100);
    assert!(!shown.contains("hunter"), "{shown}");
    insta::with_settings!({
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
        prepend_module_to_snapshot => false,
    }, {
        insta::assert_snapshot!("diagnostics_in_properties", shown);
    });
}
