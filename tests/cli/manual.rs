//! `kmirror completions` and `kmirror man`: everything there is, is in them.

use std::fs;
use std::process::{Command, Stdio};

use crate::assert_shown;
use crate::support::Scenario;

/// The names of the commands, as `--help` lists them.
fn commands() -> Vec<String> {
    let help = Scenario::new().run(&["--help"]).stdout;
    let (_, list) = help
        .split_once("Commands:\n")
        .expect("help lists the commands");
    let list = list.split("\n\n").next().unwrap_or_default();
    list.lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_shell_completes_every_command() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:?}");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let ran = Scenario::new().run(&["completions", shell]);
        assert_eq!(ran.code, Some(0), "{ran}");
        for command in &commands {
            assert!(ran.stdout.contains(command), "{shell}: {command}");
        }
    }
    let ran = Scenario::new().run(&["completions", "tcsh"]);
    assert_eq!(ran.code, Some(1), "{ran}");
}

#[test]
fn the_completions_for_bash_are_a_script() {
    let scenario = Scenario::new();
    scenario.file(
        "kmirror.bash",
        scenario.run(&["completions", "bash"]).stdout,
    );
    let Ok(checked) = Command::new("bash")
        .arg("-n")
        .arg(scenario.path("kmirror.bash"))
        .stdin(Stdio::null())
        .output()
    else {
        return;
    };
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

#[test]
fn every_command_has_a_page() {
    let scenario = Scenario::new();
    let ran = scenario.run(&["man", "--out", "share/man1"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran}");
    let page = |name: &str| {
        let path = scenario.path(&format!("share/man1/{name}.1"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    let main = page("kmirror");
    assert_eq!(main, scenario.run(&["man"]).stdout);
    for command in commands() {
        assert!(
            main.contains(&format!("kmirror\\-{command}(1)")),
            "{command}"
        );
        let page = page(&format!("kmirror-{command}"));
        for section in [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "OPTIONS",
            "\"EXIT STATUS\"",
        ] {
            assert!(
                page.contains(&format!(".SH {section}\n")),
                "{command}: {section}"
            );
        }
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let scenario = Scenario::new();
    scenario.file("taken", "");
    let ran = scenario.run(&["man", "--out", "taken"]);
    assert_shown("man_taken", &ran);
}
