//! Deletions on embedded clusters: two words are needed, and on a terminal each name.

use kmirror::control;

use crate::assert_shown;
use crate::sandboxes::TwoClusters;

const LINK: &str = "[links.copy]\nsource = \"east\"\ndestination = \"west\"\ntopics = [\"*\"]\n\
                    rename = \"${topic}.replica\"\n";

/// Two topics mirrored, and the file asks for one mirror to be gone.
fn clusters() -> TwoClusters {
    let clusters = TwoClusters::start(1, LINK);
    for topic in ["audit", "orders"] {
        clusters.create(&clusters.east, topic, 2, &[]);
    }
    let ran = clusters.run(&["apply", "--yes", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    clusters.write(&format!(
        "{LINK}\n[links.copy.mirrors.orders]\nstate = \"absent\"\n"
    ));
    clusters
}

/// Without kmirror's own.
fn mirrors(clusters: &TwoClusters) -> Vec<String> {
    let mut topics = clusters.west.topics();
    topics.retain(|topic| !topic.starts_with("_kmirror."));
    topics
}

const BOTH: [&str; 2] = ["audit.replica", "orders.replica"];

/// A mirror and all that it holds would be gone for a word in a file.
#[test]
fn check_6_a_tombstone_alone_deletes_nothing() {
    let clusters = clusters();
    let ran = clusters.run(&["plan", "mirror.toml"]);
    assert_shown("cli_delete_blocked", &ran);
    for arguments in [
        &["apply", "--yes", "mirror.toml"][..],
        &["apply", "mirror.toml"],
    ] {
        let ran = clusters.run(arguments);
        assert_eq!(ran.code, Some(3), "{ran}");
        assert!(ran.stderr.contains("--allow-delete"), "{ran}");
    }
    assert_eq!(mirrors(&clusters), BOTH);
}

#[test]
fn with_the_flag_it_is_deleted_once_and_stays_deleted() {
    let clusters = clusters();
    let ran = clusters.run(&["plan", "--allow-delete", "mirror.toml"]);
    assert_shown("cli_delete_planned", &ran);
    let ran = clusters.run(&["apply", "--yes", "--allow-delete", "mirror.toml"]);
    assert_shown("cli_delete_applied", &ran);
    assert_eq!(mirrors(&clusters), ["audit.replica"]);
    let ran = clusters.run(&["apply", "mirror.toml"]);
    assert_shown("cli_delete_second", &ran);
    // A pattern still matches the topic; workers must not make the mirror again.
    let ran = clusters.run(&["run", "--until-caught-up", "mirror.toml"]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(mirrors(&clusters), ["audit.replica"]);
}

/// Somebody looks at the plan, types the names, and one of them is wrong.
#[test]
fn on_a_terminal_each_name_has_to_be_typed() {
    let clusters = clusters();
    let apply = ["apply", "--allow-delete", "mirror.toml"];
    let question = "To delete west/orders.replica for good, type its name:";
    let terminal = |answers: &[_]| clusters.scenario.run_on_terminal(&apply, answers);
    let ran = terminal(&[(question, "orders.replica")]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert!(
        ran.stderr
            .contains("nothing was done: the answer was not `west/orders.replica`"),
        "{ran}"
    );
    let yes = "Apply this plan? Only `yes` is taken for an answer:";
    let ran = terminal(&[(question, "west/orders.replica"), (yes, "y")]);
    assert_eq!(ran.code, Some(1), "{ran}");
    assert_eq!(mirrors(&clusters), BOTH);
    let ran = terminal(&[(question, "west/orders.replica"), (yes, "yes")]);
    assert_eq!(ran.code, Some(0), "{ran}");
    assert_eq!(mirrors(&clusters), ["audit.replica"]);
}

/// The clean-up at the end of a tutorial: everything that was made, in one apply.
#[test]
fn everything_that_was_made_can_be_deleted_again() {
    let clusters = clusters();
    clusters.write(&format!(
        "[clusters.east.topics.orders]\nstate = \"absent\"\n[clusters.east.topics.audit]\nstate = \"absent\"\n\
         {LINK}state = \"absent\"\n[links.copy.mirrors.orders]\nstate = \"absent\"\n\
         [links.copy.mirrors.audit]\nstate = \"absent\"\n"
    ));
    let ran = clusters.run(&["apply", "--yes", "--allow-delete", "mirror.toml"]);
    assert_shown("cli_delete_everything", &ran);
    assert_eq!(clusters.east.topics(), [""; 0]);
    assert_eq!(mirrors(&clusters), [""; 0]);
    let west = clusters.client(&clusters.west);
    let state = clusters.block_on(control::read(&west)).expect("readable");
    let state = state.expect("the internal topics stay");
    assert!(state.links.is_empty() && state.mirrors.is_empty());
}
