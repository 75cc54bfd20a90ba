//! docs/ci.md: its workflow and its hooks are taken out of the page and run against two clusters, so that the page can't
//! go stale.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

use crate::formats::assert_sarif;
use crate::outputs::set;
use crate::sandboxes::TwoClusters;

const PAGE: &str = include_str!("../../docs/ci.md");

const FIRST: &str = r#"
[clusters.west.topics.audit]
partitions = 1
config = { "retention.ms" = 604800000 }

[links.copy]
source = "east"
destination = "west"
topics = ["orders"]
"#;

/// The block of the page that begins with this line.
fn block(first: &str) -> String {
    let mut blocks = PAGE.split("\n```").skip(1).step_by(2);
    let found = blocks.find_map(|block| {
        let (_, text) = block.split_once('\n')?;
        text.starts_with(first).then(|| text.to_owned())
    });
    found.unwrap_or_else(|| panic!("no block begins with {first}"))
}

fn yaml(first: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(&block(first)).expect("it is YAML");
    documents.remove(0)
}

/// A repository with the file, a program `gh` that notes what it is told, and the program under test on the `PATH`.
struct Repository {
    clusters: TwoClusters,
    workflow: Yaml,
}

/// What a job has left behind.
#[derive(Debug, Default)]
struct Job {
    failed: Option<String>,
    stdout: String,
    summary: String,
    output: String,
    comments: String,
}

impl Repository {
    fn new() -> Self {
        let clusters = TwoClusters::start(1, FIRST);
        clusters.create(&clusters.east, "orders", 2, &[]);
        clusters.create(&clusters.east, "payments", 1, &[]);
        let repository = Self {
            clusters,
            workflow: yaml("# .github/workflows/kmirror.yml"),
        };
        repository.install();
        repository.sh(
            "git init -q -b main . && printf 'bin/\\ncame/\\n' > .gitignore && kmirror fmt mirror.toml \
             && git add . && git commit -qm first && git update-ref refs/remotes/origin/main main",
        );
        repository
    }

    fn install(&self) {
        let scenario = &self.clusters.scenario;
        for folder in ["bin", "came"] {
            std::fs::create_dir(scenario.path(folder)).expect("the folder is writable");
        }
        let program = scenario.path("bin/kmirror");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kmirror"), program).expect("a link");
        let gh = "#!/bin/bash\nset -eu\ntest -n \"$GH_TOKEN\"\n[ \"$1 $2 $3 $4\" = 'pr comment 7 --body-file' ]\n\
                  cat \"$5\" >> came/comments\n";
        scenario.file("bin/gh", gh);
        self.make_executable("bin/gh");
    }

    fn make_executable(&self, name: &str) {
        let path = self.clusters.scenario.path(name);
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(path, mode).expect("it is ours");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.clusters.scenario.path(name)).unwrap_or_default()
    }

    /// Replaces the file by this and puts it into the layout that it is to have.
    fn edit(&self, more: &str) {
        self.clusters.write(more);
        self.sh("kmirror fmt mirror.toml");
    }

    fn bash(&self, script: &str, environment: &BTreeMap<String, String>) -> Output {
        let scenario = &self.clusters.scenario;
        let path = std::env::var("PATH").expect("there is one");
        // As GitHub does for `shell: bash`.
        Command::new("bash")
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", script])
            .current_dir(scenario.path("."))
            .env_remove("KMIRROR_LOG")
            .env("PATH", format!("{}:{path}", scenario.path("bin").display()))
            .env("GITHUB_STEP_SUMMARY", scenario.path("came/summary"))
            .env("GITHUB_OUTPUT", scenario.path("came/output"))
            .env("XDG_STATE_HOME", scenario.path("came"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_SYSTEM", "/dev/null")
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_NAME"), "a")))
            .envs(["AUTHOR", "COMMITTER"].map(|who| (format!("GIT_{who}_EMAIL"), "a@example")))
            .envs(environment)
            .stdin(Stdio::null())
            .output()
            .expect("bash is there")
    }

    fn sh(&self, script: &str) -> Output {
        let output = self.bash(script, &BTreeMap::new());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {stderr}");
        output
    }

    /// Carries out the steps of a job that are scripts, as a runner does.
    fn run(&self, name: &str) -> Job {
        for came in ["summary", "output", "comments"] {
            self.clusters.scenario.file(&format!("came/{came}"), "");
        }
        let job = &self.workflow["jobs"][name];
        let mut left = Job::default();
        for step in job["steps"].as_vec().expect("a job has steps") {
            let Some(script) = step["run"].as_str() else {
                assert!(step["uses"].as_str().is_some_and(|it| it.contains("@v")));
                continue;
            };
            assert!(!script.contains("${{"), "text in a command: {script}");
            let wanted = match (step["if"].as_str(), &left.failed) {
                (Some("${{ !cancelled() }}"), _) | (None, None) => true,
                (Some("failure()"), failed) => failed.is_some(),
                (None, Some(_)) => false,
                (Some(other), _) => panic!("a condition that this test does not know: {other}"),
            };
            if !wanted {
                continue;
            }
            let mut environment = BTreeMap::new();
            for scope in [&self.workflow["env"], &job["env"], &step["env"]] {
                for (key, value) in scope.as_hash().into_iter().flatten() {
                    let key = key.as_str().expect("a name").to_owned();
                    environment.insert(key, value_of(value.as_str().expect("text")));
                }
            }
            let output = self.bash(script, &environment);
            left.stdout
                .push_str(&String::from_utf8_lossy(&output.stdout));
            if !output.status.success() && left.failed.is_none() {
                let title = step["name"].as_str().expect("a script has a name");
                let said = String::from_utf8_lossy(&output.stderr);
                left.failed = Some(format!("{title}: {:?} {said}", output.status.code()));
            }
        }
        left.summary = self.read("came/summary");
        left.output = self.read("came/output");
        left.comments = self.read("came/comments");
        left
    }
}

/// What GitHub makes of an expression.
fn value_of(text: &str) -> String {
    let Some(expression) = text
        .strip_prefix("${{ ")
        .and_then(|rest| rest.strip_suffix(" }}"))
    else {
        return text.to_owned();
    };
    match expression {
        "github.token" => "token".to_owned(),
        "github.event.number" => "7".to_owned(),
        "github.base_ref" => "main".to_owned(),
        secret if secret.starts_with("secrets.") => "a secret".to_owned(),
        other => panic!("an expression that this test does not know: {other}"),
    }
}

#[test]
fn the_steps_for_a_pull_request_show_what_it_does() {
    let repository = Repository::new();
    repository.edit(&FIRST.replace("\"orders\"", "\"orders\", \"payments\""));
    let validated = repository.run("validate");
    assert_eq!(validated.failed, None);
    assert!(validated.comments.contains("payments"), "{validated:?}");
    assert_eq!(validated.comments, validated.summary);

    let planned = repository.run("plan");
    assert_eq!(planned.failed, None);
    assert!(
        planned.stdout.contains("::notice file=mirror.toml,line="),
        "{planned:?}"
    );
    assert!(
        planned
            .comments
            .contains("mirror.copy/payments will be created"),
        "{planned:?}"
    );
    assert_eq!(planned.comments, planned.summary);
    let sarif: Value = serde_json::from_str(&repository.read("plan.sarif")).expect("JSON");
    assert_sarif(&sarif);

    // The first pull request of all: nothing to compare with.
    repository.sh("git update-ref -d refs/remotes/origin/main");
    let first = repository.run("validate");
    assert_eq!((first.failed, first.comments.as_str()), (None, ""));

    // Blocked: the job fails, and the comment says why all the same.
    repository.edit(&FIRST.replace("\"orders\"", "\"orders\", \"nowhere\""));
    let blocked = repository.run("plan");
    assert!(
        blocked
            .failed
            .as_ref()
            .is_some_and(|it| it.starts_with("Plan: Some(3)")),
        "{blocked:?}"
    );
    assert!(
        blocked.stdout.contains("::error file=mirror.toml"),
        "{blocked:?}"
    );
    assert!(
        blocked.comments.contains("`east` has no topic `nowhere`"),
        "{blocked:?}"
    );

    repository.edit(&FIRST.replace("topics =", "topcis ="));
    let mistaken = repository.run("validate");
    assert!(
        mistaken
            .failed
            .as_ref()
            .is_some_and(|it| it.starts_with("Mistakes: Some(1)")),
        "{mistaken:?}"
    );
    assert!(
        mistaken.stdout.contains("::error file=mirror.toml,line="),
        "{mistaken:?}"
    );
}

#[test]
fn the_steps_for_the_main_branch_apply_what_was_reviewed_and_the_nightly_ones_tell_drift() {
    let repository = Repository::new();
    let clusters = &repository.clusters;
    let saved = repository.run("save");
    assert_eq!(
        (&saved.failed, saved.output.as_str()),
        (&None, "changes=2\n"),
        "{saved:?}"
    );
    assert!(
        saved.summary.contains("mirror.copy/orders will be created"),
        "{saved:?}"
    );
    assert_eq!(clusters.west.topics(), [""; 0]);
    let applied = repository.run("apply");
    assert_eq!(applied.failed, None);
    assert!(clusters.west.topics().contains(&"orders".to_owned()));
    // The next push finds nothing to do, so that nobody has to approve anything.
    let saved = repository.run("save");
    assert_eq!(
        (&saved.failed, saved.output.as_str()),
        (&None, "changes=0\n"),
        "{saved:?}"
    );
    let condition = &repository.workflow["jobs"]["apply"]["if"];
    assert_eq!(
        condition.as_str(),
        Some("needs.save.outputs.changes == '2'")
    );

    let quiet = repository.run("drift");
    assert_eq!(quiet.failed, None);
    assert_eq!(quiet.summary, "");
    set(clusters, "audit", "retention.ms", "1000");
    let drifted = repository.run("drift");
    assert!(
        drifted
            .failed
            .as_ref()
            .is_some_and(|it| it.starts_with("Drift: Some(2)")),
        "{drifted:?}"
    );
    assert!(drifted.summary.contains("1000 (1s)"), "{drifted:?}");
    assert!(repository.read("drift.xml").contains("<failure"));

    // Somebody touches the cluster between the plan and its approval.
    repository.run("save");
    set(clusters, "audit", "retention.ms", "2000");
    let stale = repository.run("apply");
    assert!(
        stale
            .failed
            .as_ref()
            .is_some_and(|it| it.starts_with("Apply what was reviewed: Some(1)")),
        "{stale:?}"
    );
}

#[test]
fn the_hooks_refuse_a_commit_with_mistakes() {
    let repository = Repository::new();
    let scenario = &repository.clusters.scenario;
    scenario.file(".git/hooks/pre-commit", block("#!/bin/sh"));
    repository.make_executable(".git/hooks/pre-commit");
    let commit = |title: &str| {
        repository.sh("git add mirror.toml");
        let script = format!("git commit -qm '{title}'");
        let output = repository.bash(&script, &BTreeMap::new());
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        (output.status.success(), said)
    };
    repository.edit(&FIRST.replace("\"orders\"", "\"payments\""));
    let (done, said) = commit("good");
    assert!(done, "{said}");
    repository.edit(&FIRST.replace("topics =", "topcis ="));
    let (done, said) = commit("mistaken");
    assert!(!done && said.contains("did you mean `topics`?"), "{said}");
    repository.edit(FIRST);
    let file = repository.read("mirror.toml");
    scenario.file("mirror.toml", file.replace("source = ", "source   =   "));
    let (done, said) = commit("crooked");
    assert!(!done && said.contains("mirror.toml"), "{said}");

    let config = yaml("# .pre-commit-config.yaml");
    let hooks = config["repos"][0]["hooks"].as_vec().expect("hooks");
    let entry = |hook: &Yaml| hook["entry"].as_str().expect("a command").to_owned();
    for (hook, good) in hooks.iter().zip([false, true]) {
        let script = format!("{} mirror.toml", entry(hook));
        let output = repository.bash(&script, &BTreeMap::new());
        assert_eq!(output.status.success(), good, "{script}");
        let files = regex::Regex::new(hook["files"].as_str().expect("a pattern"));
        assert!(files.expect("a regex").is_match("mirror.toml"));
    }
}

/// Jobs that need each other exist, and whoever writes to GitHub may.
#[test]
fn the_workflow_is_one_that_github_can_run() {
    let workflow = yaml("# .github/workflows/kmirror.yml");
    let jobs = workflow["jobs"].as_hash().expect("jobs");
    assert_eq!(jobs.len(), 5);
    for (name, job) in jobs {
        if let Some(needed) = job["needs"].as_str() {
            assert!(
                jobs.contains_key(&Yaml::String(needed.to_owned())),
                "{name:?}"
            );
        }
        let steps = job["steps"].as_vec().expect("steps");
        assert_eq!(steps[0]["uses"].as_str(), Some("actions/checkout@v4"));
        let comments = steps.iter().any(|step| {
            let script = step["run"].as_str();
            script.is_some_and(|it| it.contains("gh pr comment"))
        });
        let may_comment = job["permissions"]["pull-requests"].as_str() == Some("write");
        assert_eq!(comments, may_comment, "{name:?}");
        let scans = steps.iter().any(|step| {
            let action = step["uses"].as_str();
            action.is_some_and(|it| it.contains("upload-sarif"))
        });
        let may_scan = job["permissions"]["security-events"].as_str() == Some("write");
        assert_eq!(scans, may_scan, "{name:?}");
    }
}
