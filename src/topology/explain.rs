//! What each code means: the sections of docs/errors.md, which is part of the program.
//!
//! A section has the meaning first, then an example that brings the code about, then a paragraph
//! that begins with `Remedy:` and may show the example put right. Tests hold the page to that, and
//! run the examples.

use std::sync::LazyLock;

use super::codes::Code;

/// The page as it is in docs/.
const PAGE: &str = include_str!("../../docs/errors.md");

/// How a section says that its code does not make a file invalid.
const WARNING: &str = "*Warning.*";

/// What is printed below a section whose examples are parts of a file.
const PART_OF_A_FILE: &str =
    "The examples stand below `kmirror = 1` and the tables of two clusters, `east` and `west`.";

/// One section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    pub code: Code,
    /// A few words in lower case.
    pub title: &'static str,
    /// Markdown, without the heading.
    pub body: &'static str,
}

impl Section {
    /// Whether the code leaves a file valid.
    pub fn is_warning(&self) -> bool {
        self.body.starts_with(WARNING)
    }

    /// What the code means: the text before the example.
    pub fn meaning(&self) -> &'static str {
        let body = self.body.strip_prefix(WARNING).unwrap_or(self.body);
        body.split("\n```").next().unwrap_or_default().trim()
    }

    /// The section below its heading, to be read on its own.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n", self.body);
        if toml_of(self.body).any(|example| !is_whole_file(example)) {
            text.push('\n');
            text.push_str(PART_OF_A_FILE);
            text.push('\n');
        }
        text
    }

    /// One line: what the code is about.
    pub fn summary(&self) -> String {
        let warning = if self.is_warning() { " (warning)" } else { "" };
        format!("{}{warning}", self.title)
    }
}

/// The section of a code.
pub fn section(code: Code) -> &'static Section {
    sections()
        .iter()
        .find(|section| section.code == code)
        .expect("a test compares the page's headings with the codes")
}

/// All sections, in the order of their codes.
pub fn sections() -> &'static [Section] {
    static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
        PAGE.split("\n## ")
            .skip(1)
            .filter_map(|section| {
                let (heading, body) = section.split_once('\n')?;
                let (code, title) = heading.split_once(": ")?;
                Some(Section {
                    code: parse(code)?,
                    title,
                    body: body.trim(),
                })
            })
            .collect()
    });
    &SECTIONS
}

/// The code that was written as `K0123`, `k123` or `123`, if there is one.
pub fn parse(written: &str) -> Option<Code> {
    let number = number(written)?;
    Code::ALL
        .iter()
        .copied()
        .find(|code| *code as u16 == number)
}

/// Codes that may have been meant by what is none: neighbours of a number, titles with a word.
pub fn suggest(written: &str) -> Vec<Code> {
    const MOST: usize = 3;
    let mut found: Vec<Code> = match number(written) {
        Some(number) => {
            let mut codes = Code::ALL.to_vec();
            codes.sort_by_key(|code| (*code as u16).abs_diff(number));
            codes
        }
        None => {
            let word = written.to_lowercase();
            sections()
                .iter()
                .filter(|section| !word.is_empty() && section.title.contains(&word))
                .map(|section| section.code)
                .collect()
        }
    };
    found.truncate(MOST);
    found
}

fn number(written: &str) -> Option<u16> {
    let digits = written.strip_prefix(['K', 'k']).unwrap_or(written);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
impl Section {
    /// The example as a whole file; `None` for codes whose example takes more than one.
    pub(in crate::topology) fn example(&self) -> Option<String> {
        let (before, _) = self.body.split_once(REMEDY).unwrap_or_default();
        toml_of(before).next().map(whole)
    }

    /// The examples put right, as whole files.
    pub(in crate::topology) fn remedies(&self) -> Vec<String> {
        let (_, remedy) = self.body.split_once(REMEDY).unwrap_or_default();
        toml_of(remedy).map(whole).collect()
    }
}

#[cfg(test)]
const REMEDY: &str = "\n\nRemedy: ";

/// An example below the lines that the page begins with, unless it has its own.
#[cfg(test)]
fn whole(example: &str) -> String {
    let preamble = toml_of(PAGE).next().expect("the page begins with it");
    if is_whole_file(example) {
        example.to_owned()
    } else {
        format!("{preamble}\n{example}")
    }
}

fn is_whole_file(example: &str) -> bool {
    example.starts_with("kmirror = ")
}

/// What is fenced as TOML in a piece of Markdown.
fn toml_of(markdown: &str) -> impl Iterator<Item = &str> {
    markdown
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::client::surroundings::{File, NotUnicode, Surroundings};
    use crate::topology::{Diagnostics, Severity};

    /// Codes whose example takes more than the text of one file, and is a console session instead.
    const NOT_ONE_FILE: &[Code] = &[
        Code::Unreadable,
        Code::NotUtf8,
        Code::ReadableSecret,
        Code::UnknownProperty,
        Code::PropertiesSyntax,
        Code::DuplicateProperty,
        Code::PropertiesEncoding,
    ];

    /// What the examples refer to.
    struct Examples;

    impl Surroundings for Examples {
        fn variable(&self, name: &str) -> Result<Option<String>, NotUnicode> {
            Ok((name != "WEST_CLIENT").then(|| "x".to_owned()))
        }

        fn file(&self, _: &Path, _: u64) -> io::Result<File> {
            Ok(File::default())
        }

        fn look(&self, _: &Path) -> io::Result<bool> {
            Ok(false)
        }
    }

    /// The code and severity of everything that is said about a file.
    fn found(text: &str) -> Vec<(Code, Severity)> {
        let parsed = crate::topology::parse_in(Path::new("t.toml"), text, &Examples);
        let diagnostics: Diagnostics = match parsed {
            Ok(loaded) => loaded.warnings,
            Err(diagnostics) => diagnostics,
        };
        diagnostics
            .iter()
            .map(|diagnostic| (diagnostic.code, diagnostic.severity))
            .collect()
    }

    #[test]
    fn every_code_has_a_section() {
        let codes: Vec<_> = sections().iter().map(|section| section.code).collect();
        assert_eq!(codes, Code::ALL);
    }

    #[test]
    fn every_section_has_a_meaning_an_example_and_a_remedy() {
        let mut wrong = Vec::new();
        for section in sections() {
            let Some((before, remedy)) = section.body.split_once(REMEDY) else {
                wrong.push(format!("{}: no paragraph `Remedy: …`", section.code));
                continue;
            };
            let meaning = before.trim_start_matches(WARNING).trim_start();
            if !meaning.starts_with(|char: char| char.is_alphabetic() || char == '`') {
                wrong.push(format!("{}: does not begin with a meaning", section.code));
            }
            let fence = if NOT_ONE_FILE.contains(&section.code) {
                "```console\n"
            } else {
                "```toml\n"
            };
            if before.matches(fence).count() != 1 {
                wrong.push(format!("{}: not one example in {fence}", section.code));
            }
            if remedy.split_whitespace().count() < 3 {
                wrong.push(format!("{}: no remedy", section.code));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_example_brings_about_its_code_and_nothing_else() {
        let mut wrong = Vec::new();
        for section in sections() {
            if let Some(example) = section.example() {
                let severity = if section.is_warning() {
                    Severity::Warning
                } else {
                    Severity::Error
                };
                let found = found(&example);
                if found.is_empty() || found.iter().any(|one| *one != (section.code, severity)) {
                    wrong.push(format!("{}: {found:?}", section.code));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn every_remedy_that_is_shown_leaves_nothing_to_say() {
        let mut wrong = Vec::new();
        for section in sections() {
            for example in section.remedies() {
                let found = found(&example);
                if !found.is_empty() {
                    wrong.push(format!("{}: {found:?}", section.code));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for written in ["K0031", "k0031", "k31", "31", "0031"] {
            assert_eq!(parse(written), Some(Code::BadRegex), "{written}");
        }
        for written in [
            "",
            "K",
            "K0000",
            "K99999999",
            "-31",
            "+31",
            "K31x",
            "KK31",
            "३१",
        ] {
            assert_eq!(parse(written), None, "{written}");
        }
    }

    #[test]
    fn what_is_no_code_gets_its_neighbours_or_namesakes() {
        assert_eq!(suggest("k32000").len(), 3);
        assert_eq!(suggest("Regex"), [Code::BadRegex]);
        assert_eq!(suggest("19")[0], Code::SuspiciousConfig);
        assert_eq!(suggest("xyz"), []);
        assert_eq!(suggest(""), []);
    }
}
