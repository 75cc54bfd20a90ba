//! The documentation's references to itself: a reader who follows one arrives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).expect("there are docs");
    let docs = docs.map(|file| file.expect("readable").path());
    let pages = docs.filter(|path| path.extension().is_some_and(|it| it == "md"));
    pages.chain([root().join("README.md")]).collect()
}

/// The text without examples.
fn prose(page: &Path) -> String {
    let text = fs::read_to_string(page).expect("readable");
    let mut in_example = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_example = !in_example;
        } else if !in_example {
            prose.push_str(line);
            prose.push('\n');
        }
    }
    prose
}

/// The anchor that GitHub gives a heading.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'))
        .map(|char| if char == ' ' { '-' } else { char })
        .collect()
}

#[test]
fn every_reference_of_the_documentation_leads_somewhere() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").expect("a regex");
    let pages: BTreeMap<PathBuf, String> = pages()
        .into_iter()
        .map(|page| (page.canonicalize().expect("it exists"), prose(&page)))
        .collect();
    let anchors: BTreeMap<&PathBuf, BTreeSet<String>> = pages
        .iter()
        .map(|(page, text)| {
            let headings = text.lines().filter(|line| line.starts_with('#'));
            (page, headings.map(anchor).collect())
        })
        .collect();
    let mut broken = Vec::new();
    let mut followed = 0;
    for (page, text) in &pages {
        for target in link.captures_iter(text).map(|found| found[1].to_owned()) {
            if target.contains("://") {
                continue;
            }
            followed += 1;
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let file = match file {
                "" => Ok(page.clone()),
                file => page.with_file_name(file).canonicalize(),
            };
            let leads = file.is_ok_and(|file| {
                heading.is_empty() || anchors.get(&file).is_none_or(|it| it.contains(heading))
            });
            if !leads {
                broken.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(followed > 50, "only {followed} references were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
