//! Whatever is wrong with a file, its secrets are not shown.

use std::path::Path;

use proptest::prelude::*;

use super::clients::Shelf;
use super::properties::cases;
use super::{EVERYTHING, check};
use crate::report::diagnostics::{Checked, Form, document};
use crate::topology::{Diagnostics, Loaded, check_syntax, parse_in, render};

const SECRET: &str = "hunter2";

/// Everything that can be said about the text, in every form.
fn everything_said(text: &str) -> String {
    let of_syntax = match check_syntax(Path::new("t.toml"), text) {
        Ok(()) => String::new(),
        Err(diagnostics) => shown(&diagnostics, false),
    };
    said(check(text)) + &of_syntax
}

/// The same about a properties file.
fn everything_said_of_properties(text: &str) -> String {
    let topology =
        "kmirror = 1\n[clusters.a]\nbootstrap_servers = \"a:1\"\nproperties_file = \"p\"\n";
    let shelf = Shelf::default().file("p", text);
    said(parse_in(Path::new("t.toml"), topology, &shelf))
}

fn said(result: Result<Loaded, Diagnostics>) -> String {
    match result {
        Ok(loaded) => shown(&loaded.warnings, true) + &format!("{loaded:?}"),
        Err(diagnostics) => shown(&diagnostics, false),
    }
}

/// For people, for programs, in logs.
fn shown(diagnostics: &Diagnostics, is_valid: bool) -> String {
    let checked = Checked {
        path: Path::new("t.toml"),
        is_valid,
        diagnostics,
    };
    let mut text = render::text(diagnostics, false, 200);
    for form in [Form::Json, Form::Github, Form::Sarif] {
        text += &document(&[checked], form);
    }
    text + &format!("\n{diagnostics}\n{diagnostics:?}\n")
}

/// Two clusters and a link, with room for more keys of the first cluster and for more tables.
fn with(keys: &str, tables: &str) -> String {
    format!(
        "kmirror = 1\n[clusters.a]\nbootstrap_servers = \"a:1\"\n{keys}\n\
         [clusters.b]\nbootstrap_servers = \"b:1\"\n{tables}\n\
         [links.l]\nsource = \"a\"\ndestination = \"b\"\ntopics = [\"x\"]\n"
    )
}

/// A secret in each of the shapes that it can have.
const SHAPES: &[(&str, &str)] = &[
    ("client.\"sasl.password\" = \"hunter2\"", ""),
    ("client.sasl.password = 'hunter2'", ""),
    ("client = { sasl.password = \"hunter2\", x = 1 }", ""),
    ("client = { sasl.password = \"\"\"\nhunter2\"\"\" }", ""),
    ("client = { sasl.pasword = \"hunter2\" }", ""),
    ("rest = { password = \"hunter2\", ulr = \"x\" }", ""),
    ("rest = { url = \"https://bob:hunter2@b:1\" }", ""),
    (
        "connect = { url = \"https://b\", ssl.key.password = \"hunter2\" }",
        "",
    ),
    ("connect.url = \"https://b/?password=hunter2\"", ""),
    (
        "client.sasl.oauthbearer.token.endpoint.url = \"https://bob:hunter2@b/\"",
        "",
    ),
    ("# client.\"sasl.password\" = \"hunter2\"", ""),
    ("password = [\"hunter2\"]", ""),
    ("password = { hunter2 = \"hunter2\" }", ""),
    (
        "",
        "[clusters.a.client]\nsasl.jaas.config = \"password='hunter2'\"",
    ),
    (
        "",
        "[clusters.a.client]\n\"ssl.keystore.key\" = '''\n-----BEGIN PRIVATE KEY-----\nhunter2\n'''",
    ),
    ("", "[clusters.a.client]\npasswort = \"hunter2\""),
];

#[test]
fn a_secret_in_any_shape_is_never_shown() {
    for (keys, tables) in SHAPES {
        let valid = with(keys, tables);
        for text in [
            valid.clone(),
            // The same in a file that breaks before, after and at the secret.
            format!("a b\n{valid}"),
            valid.replace("[links.l]", "[links.l"),
            valid.replace(".client]\n", ".client"),
            valid.replace(".client]\n", ".client "),
            valid.replace("hunter2", "hunter2\" \"hunter2"),
            valid.replace("'hunter2", "hunter2"),
            valid.replace("\"hunter2", "hunter2"),
            valid.replacen("kmirror = 1", "kmirror = \"\"\"1", 1),
        ] {
            let said = everything_said(&text);
            assert!(!said.contains(SECRET), "{text}\n\n{said}");
        }
    }
}

#[test]
fn a_secret_that_slipped_out_of_its_place_is_never_shown() {
    for text in [
        "[clusters.a]\npassword = { hunter2 =\n'' \"hunter2\"{clusters.b]\n",
        "[clusters.a]\n# client.\"sasl.password\"\na = \"hunter2\"\n",
        "[clusters.a]\n# client.\"sasl.password\"\n\"hunter2\" = 1\n",
        "[clusters.a]\nclient = { sasl.paswordaa \"hunter2\" }\n",
        "[clusters.a]\nclient.\"sasl.password\" \n[,[ \"hunter2\"\n[clusters.b]\n",
        "[clusters.a]\nconnect.url = \"https://b/?passwor#d=hunter2\"\n",
        "[clusters.a]\nconnect.url = \"https://bob\n:hunter2@b/\"\n",
        "[clusters.a]\nconnect.url = \"https://bob:hunter2\"\n",
        "[clusters.a]\nconnect.url = \"https://bob\"\n:hunter2@b/\"\n",
        "[clusters.a]\nconnect.url = \"https://bob\"\n\":hunter2@b/\" = 1\n",
        "[clusters.a]\nclient.sasl.oauthbearer.token.endpoint.url = \"https://bob\"\n:hunter2@b/\"\n",
    ] {
        let said = everything_said(text);
        assert!(!said.contains(SECRET), "{text}\n\n{said}");
    }
    for text in [
        "sasl.mechanism=PLAINsasl.jaas.config=x.PlainLoginModule required password=\"hunter2\";",
        "sasl.mechanism=PLAIN ssl.key.password hunter2",
        "ssl.key.password :\n hunter2",
        "ssl.keystore.password\\\n hunter2",
        "acks=all\nssl.keystore.password\\\n=hunter2\\\n",
        "ssl.keystore.password\\hunter2",
        "ssl.keystore.passwordhunter2",
        "ssl.keystore.pasword\\\n hunter2",
        "confluent.license\\\n hunter2",
        "a=${b}\nssl.keystore.password\\\n hunter2 ${b}\nssl.keystore.password\\\n hunter2 ${b}",
        "ssl.key.password :\n a.hunter2 =",
        "ssl.key.password :\n# hunter2",
        "# ssl.key.password\nhunter2",
        "sasl.oauthbearer.token.endpoint.url=https://bob:hunter2\n@idp/",
        "sasl.oauthbearer.token.endpoint.url=https://bob\n#:hunter2@idp/",
        "sasl.oauthbearer.token.endpoint.url=https://bob:${hunter2}@idp/",
        "sasl.oauthbearer.token.endpoint.url=https://idp/?hunter2",
    ] {
        let said = everything_said_of_properties(text);
        assert!(!said.contains(SECRET), "{text}\n\n{said}");
    }
}

/// A properties file with every kind of secret.
const PROPERTIES: &str = "\
# ssl.key.password=hunter2
security.protocol=SASL_SSL
sasl.mechanism=PLAIN
sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
    username=\"alice\" \\
    password=\"hunter2\";
ssl.truststore.password : hunter2
ssl.keystore.password hunter2
ssl.keystore.key=-----BEGIN PRIVATE KEY-----\\n\\
hunter2\\n\\
-----END PRIVATE KEY-----
sasl.pasword=hunter2
sasl.oauthbearer.token.endpoint.url=https://bob:hunter2@idp/
acks=all
";

#[test]
fn a_secret_in_a_properties_file_is_never_shown() {
    for text in [
        PROPERTIES.to_owned(),
        PROPERTIES.replace("\\\n", "\n"),
        PROPERTIES.replace('\n', "\r\n"),
        PROPERTIES.replace(['=', ':'], " "),
        PROPERTIES.replace("hunter2\"", "hunter2"),
        PROPERTIES.replace("hunter2", "\\u00 hunter2"),
        PROPERTIES.replace("hunter2", "${hunter2} hunter2"),
        PROPERTIES.replace("hunter2", "ü hunter2"),
    ] {
        let said = everything_said_of_properties(&text);
        assert!(!said.contains(SECRET), "{text}\n\n{said}");
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_change_of_a_whole_file_brings_a_secret_to_light(cuts in cuts()) {
        let text = cut(EVERYTHING, &cuts);
        let said = everything_said(&text);
        prop_assert!(!said.contains(SECRET), "{}\n\n{}", text, said);
    }

    #[test]
    fn no_change_of_a_properties_file_brings_a_secret_to_light(cuts in cuts()) {
        let text = cut(PROPERTIES, &cuts);
        let said = everything_said_of_properties(&text);
        prop_assert!(!said.contains(SECRET), "{}\n\n{}", text, said);
    }

    #[test]
    fn no_change_of_a_file_brings_a_secret_to_light(
        shape in prop::sample::select(SHAPES),
        cuts in cuts(),
    ) {
        let text = cut(&with(shape.0, shape.1), &cuts);
        let said = everything_said(&text);
        prop_assert!(!said.contains(SECRET), "{}\n\n{}", text, said);
    }
}

/// Where to cut, how much, and what to put there.
type Cut = (prop::sample::Index, usize, String);

fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            0usize..6,
            "[\"'=\\[\\]{}#,.:;$\\\\\n a-]{0,3}",
        ),
        1..5,
    )
}

/// The text with cuts that leave the secrets and what tells that they are some.
fn cut(text: &str, cuts: &[Cut]) -> String {
    let mut text = text.to_owned();
    for (at, length, insert) in cuts {
        let places: Vec<usize> = harmless_places(&text);
        let at = places[at.index(places.len())];
        let end = places
            .iter()
            .copied()
            .filter(|end| (at..=at + length).contains(end))
            .max();
        let end = end.unwrap_or(at);
        if text[at..end].contains(SECRET) || harmful(&text[at..end]) {
            continue;
        }
        text.replace_range(at..end, insert);
    }
    text
}

/// Places that are not inside the name that gives a secret away, nor inside the secret.
fn harmless_places(text: &str) -> Vec<usize> {
    let names = [
        "passwor",
        "pasword",
        "jaas",
        "keystore.key",
        "-----BEGIN",
        SECRET,
        "://",
        "@b",
        "bob",
    ];
    let mut inside = vec![false; text.len() + 1];
    for name in names {
        for (start, name) in text.match_indices(name) {
            inside[start..start + name.len()].fill(true);
        }
    }
    (0..=text.len())
        .filter(|at| text.is_char_boundary(*at) && !inside[*at])
        .collect()
}

/// Whether taking this out would take the name of a secret out.
fn harmful(text: &str) -> bool {
    !text.chars().all(|char| " \"'=\n{}[],.1".contains(char))
}
