//! `--rewrite-secrets` against kmirror's own API: what nobody can read back reaches the server again, and stands in no plan.

use std::process::Command;

use kmirror::control::{self, records::StoredConfig};

use crate::assert_shown;
use crate::sandboxes::TwoClusters;
use crate::serve;
use crate::support::Ran;

const SECRET: &str = "ssl.key.password";

/// What a file says besides the clusters of [`TwoClusters`].
fn link(address: &str) -> String {
    format!(
        "rest = {{ url = \"http://{address}/kafka\" }}\n\
         [links.dr]\nsource = \"east\"\ndestination = \"west\"\nengine = \"cluster-link\"\ntopics = [\"orders\"]\n\
         replication_factor = 1\n\
         [links.dr.config]\n\"{SECRET}\" = {{ env = \"DR_PASSWORD\" }}\n\
         [links.own]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"other\"]\n"
    )
}

fn with_password(clusters: &TwoClusters, password: &str, arguments: &[&str]) -> Ran {
    let mut command = clusters.scenario.command(arguments);
    let output = command.env("DR_PASSWORD", password).output();
    let output = output.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        command: format!("kmirror {}", arguments.join(" ")),
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The secret as it is stored.
fn stored(clusters: &TwoClusters) -> StoredConfig {
    let west = clusters.client(&clusters.west);
    let state = clusters.block_on(control::read(&west));
    let state = state.expect("readable").expect("made");
    let mut configs = state.configs.into_values();
    let config = configs.find_map(|record| record.configs.get(SECRET).cloned());
    config.expect("the link has a secret")
}

#[test]
fn a_rotated_password_reaches_the_brokers_and_no_plan() {
    let clusters = TwoClusters::start(1, "");
    clusters.create(&clusters.east, "orders", 1, &[]);
    let key = clusters.run(&["key", "new"]);
    let serve = ["serve", "mirror.toml", "--http", "west=127.0.0.1:0"];
    let mut command: Command = clusters.scenario.command(&serve);
    command.env("KMIRROR_KEY", key.stdout.trim());
    let serving = serve::start_command(command, &serve);
    clusters.write(&link(&serving.addresses[0]));
    let only = ["--target", "link.dr"];
    let run = |password: &str, arguments: &[&str]| {
        let ran = with_password(&clusters, password, arguments);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(!text.contains(password), "{ran}");
        }
        ran
    };
    let made = run(
        "pw-alpha",
        &[&["apply", "--yes", "mirror.toml"], &only[..]].concat(),
    );
    assert_eq!(made.code, Some(0), "{made}");
    let first = stored(&clusters);

    // Nobody sees that it is another one.
    let plan = [&["plan", "mirror.toml", "--detailed-exitcode"], &only[..]].concat();
    let unseen = run("pw-beta", &plan);
    assert_eq!(unseen.code, Some(0), "{unseen}");
    let rewrite = ["--rewrite-secrets", "dr", "--out", "plan.json"];
    let seen = run("pw-beta", &[&plan[..], &rewrite].concat());
    assert_eq!(seen.code, Some(2), "{seen}");
    let anew = "(sensitive value, sent anew)";
    assert!(seen.stdout.contains(anew), "{seen}");
    assert_eq!(stored(&clusters), first);
    let plan = std::fs::read_to_string(clusters.scenario.path("plan.json")).expect("saved");
    assert!(plan.contains(anew) && !plan.contains("pw-beta"), "{plan}");
    let done = run("pw-beta", &["apply", "--yes", "plan.json"]);
    assert_eq!(done.code, Some(0), "{done}");
    let second = stored(&clusters);
    assert_ne!(second, first);

    let again = [
        "apply",
        "--yes",
        "--rewrite-secrets",
        "link.dr",
        "mirror.toml",
    ];
    let done = run("pw-gamma", &[&again[..], &only].concat());
    assert_eq!(done.code, Some(0), "{done}");
    assert_ne!(stored(&clusters), second);
    for (name, arguments) in [
        (
            "rewrite_secrets_unknown",
            &["plan", "mirror.toml", "--rewrite-secrets", "rd"][..],
        ),
        (
            "rewrite_secrets_own_engine",
            &["apply", "mirror.toml", "--rewrite-secrets", "own"],
        ),
        (
            "rewrite_secrets_saved",
            &["apply", "plan.json", "--rewrite-secrets", "dr"],
        ),
    ] {
        assert_shown(name, &run("pw-delta", arguments));
    }
    assert_eq!(serving.end("-INT").1, Some(0));
}
