//! `kmirror serve` in front of a guarded cluster, itself guarded: TLS and passwords on both sides of it, asked by curl.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{Way, text};
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::{self, Process};
use crate::support::runner::{Test, Tier};
use crate::support::secured::acl::{On, Right};
use crate::support::secured::pki::{Validity, keep};
use crate::support::secured::{Door, KMIRROR, Realm, User};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "secured::served_to_curl",
        tier: Tier::Readme,
        brokers: 1,
        seconds: 30,
        body: served_to_curl,
    }]
}

/// What `app-` topics are served with; groups are left out.
const RIGHTS: [&str; 6] = [
    "Create",
    "Delete",
    "Describe",
    "DescribeConfigs",
    "Alter",
    "AlterConfigs",
];

fn served_to_curl(lab: &Lab) -> Result<()> {
    if Command::new("curl").arg("--version").output().is_err() {
        lab.note("there is no curl here");
        return Ok(());
    }
    let realm = Realm::new(lab)?;
    let cluster = realm.start(lab, Spec::new("west", Version::V4_3), &[Door::Sasl])?;
    cluster.scram_user(KMIRROR.name, KMIRROR.password)?;
    cluster.allow(
        KMIRROR.name,
        &[Right::new(On::Topics("app-".to_owned()), &RIGHTS)],
    )?;
    let way = Way::to(cluster.door(Door::Sasl))
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", KMIRROR.name)
        .refer("sasl.password", "{ env = \"PASSWORD\" }")
        .set("ssl.ca.location", text(&realm.authority.certificate));
    let file = format!("kmirror = 1\n\n{}", way.cluster("west"));
    let kmirror = Kmirror::new(lab, &file)?.env("PASSWORD", KMIRROR.password);
    let users = lab.dir().join("users");
    let ada = |password| {
        let ada = User {
            name: "ada",
            password,
        };
        give_password(lab, &users, ada)
    };
    ada("lovelace")?;
    let certificate = realm
        .authority
        .issue("rest", "rest", &["127.0.0.1"], Validity::Valid)?;
    let flags = [
        "--http",
        "127.0.0.1:0",
        "--http-users",
        text(&users),
        "--http-certificate",
        text(&certificate.chain),
        "--http-key",
        text(&certificate.key),
    ];
    let server = kmirror.start_command("serve", &flags)?;
    let curl = Curl {
        base: base(&server)?,
        trusted: &realm.authority.certificate,
    };
    let outcome = talk(&curl, &server, ada);
    let log = server.log_text();
    for secret in ["lovelace", "byron", KMIRROR.password, "86400000"] {
        ensure!(!log.contains(secret), "{secret} is in the log: {log}");
    }
    outcome
}

fn talk(curl: &Curl<'_>, server: &Process, ada: impl Fn(&'static str) -> Result<()>) -> Result<()> {
    let clusters = curl.ok("ada:lovelace", &["/clusters"])?;
    let id = clusters["data"][0]["cluster_id"]
        .as_str()
        .context("an id")?;
    let topics = format!("/clusters/{id}/topics");
    let body = |name: &str| {
        format!(
            r#"{{"topic_name": "{name}", "partitions_count": 2, "configs": [{{"name": "retention.ms", "value": "86400000"}}]}}"#
        )
    };
    let create = |pair: &str, name: &str| {
        let json = "content-type: application/json";
        curl.ask(pair, &[&topics, "-d", &body(name), "-H", json])
    };
    ensure!(create("ada:byron", "app-orders")?.0 == 401);
    ensure!(create("eve:lovelace", "app-orders")?.0 == 401);
    ensure!(create("ada:lovelace", "app-orders")?.0 == 201);
    let topic = curl.ok("ada:lovelace", &[&format!("{topics}/app-orders")])?;
    ensure!(topic["partitions_count"] == 2, "{topic}");
    let configs = curl.ok(
        "ada:lovelace",
        &[&format!("{topics}/app-orders/configs/retention.ms")],
    )?;
    ensure!(configs["value"] == "86400000", "{configs}");

    // What the cluster does not allow to kmirror is allowed to nobody who asks it.
    let (status, refusal) = create("ada:lovelace", "other")?;
    ensure!(
        status == 403 && refusal["error_code"] == 40301,
        "{status} {refusal}"
    );

    // Another password, without a restart.
    ada("byron")?;
    ensure!(create("ada:lovelace", "app-more")?.0 == 401);
    ensure!(create("ada:byron", "app-more")?.0 == 201);
    let log = server.log_text();
    let audited = log.lines().any(|line| {
        line.contains("audit user=ada")
            && line.contains("topic app-more")
            && line.contains("status=201")
    });
    ensure!(audited, "no audit line in {log}");

    // Who trusts another authority does not even send a password.
    let stranger = Curl {
        base: curl.base.clone(),
        trusted: Path::new("/dev/null"),
    };
    ensure!(stranger.ask("ada:byron", &["/clusters"]).is_err());
    Ok(())
}

/// Lets a user in with a password.
pub fn give_password(lab: &Lab, users: &Path, user: User) -> Result<()> {
    let file = lab.dir().join("password");
    keep(&file, user.password.as_bytes())?;
    let mut command = Kmirror::with_file(lab, users.to_owned()).invocation("user", &[user.name]);
    command.stdin(std::fs::File::open(file)?);
    let ran = command.output()?;
    ensure!(ran.status.success(), "{ran:?}");
    Ok(())
}

/// Where the server says that it serves.
fn base(server: &Process) -> Result<String> {
    let started = Instant::now();
    loop {
        let log = server.log_text();
        if let Some((_, rest)) = log.split_once("serving cluster west at ")
            && let Some((url, _)) = rest.split_once('\n')
        {
            return Ok(url.to_owned());
        }
        ensure!(
            started.elapsed() < Duration::from_secs(30),
            "it does not serve: {log}"
        );
        std::thread::yield_now();
    }
}

struct Curl<'a> {
    base: String,
    trusted: &'a Path,
}

impl Curl<'_> {
    /// The status, and the document where there is one.
    fn ask(&self, user: &str, arguments: &[&str]) -> Result<(u16, Value)> {
        let (path, more) = arguments.split_first().context("a path")?;
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--user", user, "--cacert"])
            .arg(self.trusted)
            .args(["--write-out", "\n%{http_code}"])
            .args(more)
            .arg(format!("{}{path}", self.base));
        let output = process::run(&mut command, None, Duration::from_secs(60))?;
        ensure!(output.status.success(), "{}", output.text());
        let (body, status) = output.stdout.rsplit_once('\n').context("a status")?;
        let document = match body {
            "" => Value::Null,
            body => serde_json::from_str(body)?,
        };
        Ok((status.trim().parse()?, document))
    }

    fn ok(&self, user: &str, arguments: &[&str]) -> Result<Value> {
        let (status, document) = self.ask(user, arguments)?;
        ensure!(status == 200, "{arguments:?}: {status} {document}");
        Ok(document)
    }
}
