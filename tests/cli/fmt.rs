//! `kmirror fmt`: what is printed, and what becomes of the files.

use std::fs;

use crate::assert_shown;
use crate::support::Scenario;

const UNTIDY: &str = "kmirror=1   # format\n[clusters.east]\n  bootstrap_servers=\"east-1:9092\"\n";
const TIDY: &str = "kmirror = 1 # format\n\n[clusters.east]\nbootstrap_servers = \"east-1:9092\"\n";

#[test]
fn files_are_formatted_and_the_changed_ones_named() {
    let scenario = Scenario::new();
    scenario.file("untidy.toml", UNTIDY).file("tidy.toml", TIDY);
    let ran = scenario.run(&["fmt", "untidy.toml", "tidy.toml"]);
    assert_shown("fmt_files", &ran);
    assert_eq!(
        fs::read_to_string(scenario.path("untidy.toml")).unwrap(),
        TIDY
    );
    assert_eq!(
        fs::read_to_string(scenario.path("tidy.toml")).unwrap(),
        TIDY
    );
}

#[test]
fn a_check_writes_nothing_and_fails() {
    let scenario = Scenario::new();
    scenario.file("untidy.toml", UNTIDY).file("tidy.toml", TIDY);
    let ran = scenario.run(&["fmt", "--check", "untidy.toml", "tidy.toml"]);
    assert_shown("fmt_check", &ran);
    assert_eq!(
        fs::read_to_string(scenario.path("untidy.toml")).unwrap(),
        UNTIDY
    );
    let ran = scenario.run(&["fmt", "--check", "tidy.toml"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran}");
}

#[test]
fn a_file_that_is_no_toml_is_left_alone_and_the_others_are_formatted() {
    let broken = "kmirror=1\n[clusters.east\n";
    let scenario = Scenario::new();
    scenario
        .file("broken.toml", broken)
        .file("untidy.toml", UNTIDY);
    let ran = scenario.run(&["fmt", "broken.toml", "absent.toml", "untidy.toml"]);
    assert_shown("fmt_broken", &ran);
    assert_eq!(
        fs::read_to_string(scenario.path("broken.toml")).unwrap(),
        broken
    );
    assert_eq!(
        fs::read_to_string(scenario.path("untidy.toml")).unwrap(),
        TIDY
    );
}

#[test]
fn half_a_topology_has_a_layout_too() {
    let scenario = Scenario::new();
    scenario.file("draft.toml", "[links.a]\nsource=\"b\"\nnonsense=true\n");
    let ran = scenario.run(&["fmt", "draft.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
}

#[test]
fn stdin_is_formatted_to_stdout() {
    let scenario = Scenario::new();
    let ran = scenario.run_with_input(&["fmt", "-"], UNTIDY);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), TIDY), "{ran}");
    let ran = scenario.run_with_input(&["fmt", "--check", "-"], UNTIDY);
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (Some(1), "<stdin>\n"),
        "{ran}"
    );
    let ran = scenario.run_with_input(&["fmt", "-"], "[a");
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{ran}");
    assert!(ran.stderr.contains("<stdin>:1:"), "{ran}");
    let ran = scenario.run(&["fmt", "-", "x.toml"]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(ran.stderr.contains("cannot be combined"), "{ran}");
}

#[cfg(unix)]
#[test]
fn a_write_protected_file_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let scenario = Scenario::new();
    scenario.file("locked.toml", UNTIDY);
    let path = scenario.path("locked.toml");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let ran = scenario.run(&["fmt", "locked.toml"]);
    assert_shown("fmt_locked", &ran);
    assert_eq!(fs::read_to_string(&path).unwrap(), UNTIDY);
}

#[test]
fn the_topologies_of_this_repository_are_formatted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies");
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("the folder is readable").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let ran = Scenario::new().run(&["fmt", "--check", &path.display().to_string()]);
            assert_eq!(ran.code, Some(0), "{ran}");
        }
    }
}

#[test]
fn the_examples_of_the_documentation_are_formatted() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("the folder is there");
    let pages = docs.map(|entry| entry.expect("the folder is readable").path());
    let mut wrong = Vec::new();
    for page in pages.chain([root.join("README.md")]) {
        let Ok(text) = fs::read_to_string(&page) else {
            continue;
        };
        for rest in text.split("```toml\n").skip(1) {
            let example = rest.split("```").next().unwrap_or_default();
            let ran = Scenario::new().run_with_input(&["fmt", "-"], example);
            // Some examples show what is no TOML.
            if ran.code == Some(0) && ran.stdout != example {
                wrong.push(format!("{}:\n{}", page.display(), ran.stdout));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
