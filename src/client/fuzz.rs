//! Properties that hold for any text: nothing panics, every place is inside, no secret is repeated.

use proptest::prelude::*;

use super::interpret::{Entry, From, Part, interpret};
use super::secret::Text;
use super::settings::Place;
use super::{jaas, keys, properties};

/// Few enough for every build; PROPTEST_CASES asks for more.
fn cases() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(100),
    }
}

/// Characters that mean something in properties files and login modules.
const MEANINGFUL: &str = "[a-c0-7 \t\u{c}\n\r=:#!;/*'\"\\\\u{}$äü€😀.-]{0,60}";

fn check_properties(text: &str) {
    let found = properties::parse(text);
    let inside = |range: &std::ops::Range<usize>| {
        assert!(text.get(range.clone()).is_some(), "{range:?} of {text:?}");
    };
    for property in &found.properties {
        inside(&property.value_lines);
        for written in [&property.key, &property.value] {
            inside(&written.whole());
            let decoded = written.as_str();
            for (at, char) in decoded.char_indices() {
                let source = written.source(at..at + char.len_utf8());
                inside(&source);
                assert!(!source.is_empty(), "{at} of {text:?}");
            }
        }
    }
    found
        .comments
        .iter()
        .chain(&found.bad_escapes)
        .for_each(inside);
}

fn check_jaas(text: &str) {
    let inside = |range: &std::ops::Range<usize>| {
        assert!(text.get(range.clone()).is_some(), "{range:?} of {text:?}");
    };
    match jaas::parse(text) {
        Ok(jaas) => {
            inside(&jaas.module.range);
            inside(&jaas.flag.range);
            for (name, value) in &jaas.options {
                inside(&name.range);
                inside(&value.range);
            }
        }
        Err(error) => inside(&error.range),
    }
}

/// A line of a properties file that means the text to Java.
fn escaped(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '\n' => "\\n".to_owned(),
            '\r' => "\\r".to_owned(),
            '\t' => "\\t".to_owned(),
            ' ' | '=' | ':' | '#' | '!' | '\\' => format!("\\{char}"),
            ' '..='~' => char.to_string(),
            _ => {
                let mut units = [0; 2];
                char.encode_utf16(&mut units)
                    .iter()
                    .map(|unit| format!("\\u{unit:04X}"))
                    .collect()
            }
        })
        .collect()
}

fn entry() -> impl Strategy<Value = (String, Option<String>, bool)> {
    let names: Vec<&'static str> = keys::all().map(|key| key.name).collect();
    let value = prop_oneof![
        Just("SASL_SSL".to_owned()),
        Just("OAUTHBEARER".to_owned()),
        Just("SCRAM-SHA-512".to_owned()),
        Just("PLAIN".to_owned()),
        Just("PEM".to_owned()),
        Just("false".to_owned()),
        Just("https://idp/hunter2".to_owned()),
        Just("file:///hunter2".to_owned()),
        Just(
            "org.apache.kafka.common.security.scram.ScramLoginModule required \
             username=\"u\" password=\"hunter2\";"
                .to_owned()
        ),
        Just(
            "x.org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             clientId=\"u\" clientSecret='hunter2' extension_a='hunter2';"
                .to_owned()
        ),
        ".{0,12}".prop_map(|text| format!("{text}hunter2")),
        MEANINGFUL,
    ];
    let name = prop_oneof![
        // What settings hang on most.
        Just("security.protocol"),
        Just("sasl.mechanism"),
        Just("sasl.jaas.config"),
        prop::sample::select(names),
    ];
    (
        name.prop_map(str::to_owned),
        prop::option::weighted(0.9, value),
        any::<bool>(),
    )
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn no_bytes_break_the_reader_of_properties(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check_properties(&properties::decode(bytes).text);
    }

    #[test]
    fn no_properties_like_text_breaks_the_reader(text in MEANINGFUL) {
        check_properties(&text);
        check_jaas(&text);
        check_jaas(&format!("org.X required {text}"));
    }

    #[test]
    fn what_is_escaped_is_read_as_it_was(
        pairs in prop::collection::vec((".{1,8}", ".{0,8}"), 0..5)
    ) {
        let text: String = pairs
            .iter()
            .map(|(key, value)| format!("{} = {}\n", escaped(key), escaped(value)))
            .collect();
        let found = properties::parse(&text);
        prop_assert!(found.bad_escapes.is_empty());
        let read: Vec<_> = found
            .properties
            .into_iter()
            .map(|property| (property.key.into_string(), property.value.into_string()))
            .collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn a_quoted_option_is_read_as_it_was(value in "[ -~äü€\n\t]{0,20}") {
        let written = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let jaas = jaas::parse(&format!("org.X required a=\"{written}\";")).expect("is legal");
        prop_assert_eq!(&jaas.option("a").expect("is set").text, &value);
    }

    #[test]
    fn no_client_properties_break_their_meaning(lines in prop::collection::vec(entry(), 0..12)) {
        let entries: Vec<Entry> = lines
            .into_iter()
            .map(|(key, value, in_file)| Entry {
                place: Place { key: key.clone(), at: "t:1".to_owned() },
                key,
                value: value.map(Text::inline),
                from: if in_file { From::PropertiesFile } else { From::ClientTable },
                folder: "in".into(),
            })
            .collect();
        let interpreted = interpret(&entries);
        let spots = interpreted
            .findings
            .iter()
            .flat_map(|finding| {
                std::iter::once(&finding.at).chain(finding.also.iter().map(|(spot, _)| spot))
            })
            .chain(&interpreted.harmless);
        for spot in spots {
            let entry = &entries[spot.entry];
            if let Part::Within(range) = &spot.part {
                let value = entry.value.as_ref().expect("it was read").value.expose();
                prop_assert!(value.get(range.clone()).is_some(), "{:?} of {:?}", range, value);
            }
        }
        for spot in &interpreted.harmless {
            if let Part::Within(range) = &spot.part {
                let value = entries[spot.entry].value.as_ref().expect("it was read");
                prop_assert!(!value.value.expose()[range.clone()].contains("hunter2"));
            }
        }
        for finding in &interpreted.findings {
            let said = format!("{}{}{:?}", finding.message, finding.label, finding.help);
            prop_assert!(!said.contains("hunter2"), "{said}");
        }
        let settings = format!("{:?}", interpreted.settings.sasl);
        // A path is no secret.
        prop_assert!(!settings.replace("/hunter2", "").contains("hunter2"), "{settings}");
    }
}
