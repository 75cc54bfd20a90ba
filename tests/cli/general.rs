//! What all commands have in common.

use std::process::Stdio;

use crate::support::Scenario;

#[test]
fn a_mistake_on_the_command_line_is_an_error_and_no_change() {
    // clap's own exit code would be 2, which says "changes present".
    for arguments in [
        &["validat"][..],
        &["validate"],
        &["validate", "--nope"],
        &[],
    ] {
        let ran = Scenario::new().run(arguments);
        assert_eq!(ran.code, Some(1), "{ran}");
        assert_eq!(ran.stdout, "", "{ran}");
    }
}

#[test]
fn help_and_version_are_documents() {
    for arguments in [&["--help"][..], &["--version"], &["validate", "--help"]] {
        let ran = Scenario::new().run(arguments);
        assert_eq!(ran.code, Some(0), "{ran}");
        assert_eq!(ran.stderr, "", "{ran}");
        assert!(ran.stdout.contains("kmirror"), "{ran}");
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error() {
    let scenario = Scenario::new();
    scenario.file("good.toml", "kmirror = 1\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = scenario
        .command(&["validate", "--format", "json", "good.toml"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = std::fs::OpenOptions::new().write(true).open("/dev/full") else {
        return;
    };
    let scenario = Scenario::new();
    scenario.file("good.toml", "kmirror = 1\n");
    let output = scenario
        .command(&["validate", "--format", "json", "good.toml"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error:"));
}

#[test]
fn a_log_filter_that_means_nothing_is_refused() {
    let scenario = Scenario::new();
    let output = scenario
        .command(&["validate", "x.toml"])
        .env("KMIRROR_LOG", "kmirror=loud")
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("KMIRROR_LOG"));
}
