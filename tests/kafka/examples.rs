//! The files in `topologies/` work as they are: only addresses are put in, and what they refer to is put beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::links::{Stage, stop};
use crate::secured::{Pair, rights, serving, text};
use crate::support::client::{self, Offsets, Place};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::ports::Port;
use crate::support::process::{Process, run};
use crate::support::runner::{Test, Tier};
use crate::support::secured::acl::{On, Right};
use crate::support::secured::pki::{Encryption, Store, Validity, keep};
use crate::support::secured::{ADMIN, CLIENT_SECRET, Door, KMIRROR, STORE_PASSWORD, User};
use crate::support::worker::{Kmirror, program};

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test(
            "examples::cluster_linking_tutorial",
            Tier::Readme,
            2,
            30,
            cluster_linking_tutorial,
        ),
        test(
            "examples::cluster_linking_tutorial_by_brokers",
            Tier::Readme,
            2,
            60,
            |lab| by_brokers(lab, false),
        ),
        test(
            "examples::cluster_linking_tutorial_begun_at_the_source",
            Tier::Long,
            2,
            60,
            |lab| by_brokers(lab, true),
        ),
        test(
            "examples::cluster_linking_rest",
            Tier::Readme,
            2,
            60,
            |lab| by_rest(lab, false),
        ),
        test(
            "examples::cluster_linking_rest_from_the_source",
            Tier::Readme,
            2,
            60,
            |lab| by_rest(lab, true),
        ),
        test(
            "examples::secured_migration",
            Tier::Long,
            2,
            30,
            secured_migration,
        ),
        test(
            "examples::disaster_recovery",
            Tier::Long,
            2,
            30,
            disaster_recovery,
        ),
        test(
            "examples::three_regions",
            Tier::Readme,
            0,
            20,
            three_regions,
        ),
    ]
}

/// A file of `topologies/` and the folder of the same name, in the test's own folder.
struct Example {
    folder: PathBuf,
    file: PathBuf,
}

impl Example {
    /// Copies it; `addresses` are (as in the file, instead of it).
    fn of(lab: &Lab, name: &str, addresses: &[(&str, &str)]) -> Result<Self> {
        let topologies = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies");
        let folder = lab.subdir("topologies")?;
        let file = folder.join(format!("{name}.toml"));
        put(&topologies.join(format!("{name}.toml")), &file, addresses)?;
        let beside = topologies.join(name);
        if beside.is_dir() {
            fs::create_dir_all(folder.join(name))?;
            for entry in fs::read_dir(&beside)? {
                let from = entry?.path();
                let to = folder.join(name).join(from.file_name().context("a file")?);
                put(&from, &to, addresses)?;
            }
        }
        Ok(Self { folder, file })
    }

    /// Puts a file beside the example, under the name that it has there.
    fn beside(&self, name: &str, from: &Path) -> Result<()> {
        let to = self.folder.join(name);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(from, to)?;
        Ok(())
    }

    fn kmirror(&self, lab: &Lab) -> Kmirror {
        Kmirror::with_file(lab, self.file.clone())
    }

    /// A shell script among the files beside the examples, as its users start it.
    fn script(&self, name: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg(self.folder.join(name));
        // Cargo's points at the librdkafka that was built for kmirror; kcat is to use the system's.
        command.env_remove("LD_LIBRARY_PATH");
        command
    }
}

fn put(from: &Path, to: &Path, addresses: &[(&str, &str)]) -> Result<()> {
    let mut text = fs::read_to_string(from)?;
    for (written, real) in addresses {
        text = text.replace(written, real);
    }
    fs::write(to, text)?;
    Ok(())
}

fn cluster_linking_tutorial(lab: &Lab) -> Result<()> {
    const TOPIC: &str = "demo-link-topic";
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    let (source, destination) = (pair.east.door(Door::Sasl), pair.west.door(Door::Sasl));
    let example = Example::of(
        lab,
        "cluster-linking-tutorial",
        &[
            ("source.example:9094", &source),
            ("destination.example:9094", &destination),
        ],
    )?;
    let store = pair.realm.trust_store(Store::Jks)?;
    example.beside("cluster-linking-tutorial/client.truststore.jks", &store)?;
    let user = KMIRROR.name;
    let names = [TOPIC];
    rights::grant(
        &pair.east,
        &pair.west,
        user,
        &rights::COMMANDS,
        &names,
        &names,
    )?;
    // The file owns the topic at the source.
    let topic = On::Topic(TOPIC.to_owned());
    pair.east.allow(user, &[Right::new(topic, &["Create"])])?;
    let kmirror = example
        .kmirror(lab)
        .env("SOURCE_PASSWORD", KMIRROR.password)
        .env("DESTINATION_PASSWORD", KMIRROR.password)
        .env("TRUSTSTORE_PASSWORD", STORE_PASSWORD);
    kmirror.ok("apply", &["--yes"])?;

    let tools = pair.east.tools();
    tools.console_producer(TOPIC, "1\n2\n3\n4\n5\n")?;
    let mut worker = kmirror.start(&[])?;
    let consumed = pair.west.tools().console_consumer(TOPIC, 5)?;
    ensure!(consumed == "1\n2\n3\n4\n5\n", "consumed {consumed:?}");
    worker.signal("TERM")?;
    let status = worker.wait(Duration::from_secs(20))?;
    ensure!(status.success(), "{status}: {}", worker.log_text());
    Ok(())
}

/// The same file with `engine = "cluster-link"`: kmirror as the client of kmirror's own REST API.
fn by_brokers(lab: &Lab, is_begun_at_the_source: bool) -> Result<()> {
    const TOPIC: &str = "demo-link-topic";
    let stage = Stage::new(lab)?;
    let (east, west) = (&stage.pair.east, &stage.pair.west);
    let at_west = stage.worker(lab, "west", west)?;
    let at_east = stage.worker(lab, "east", east)?;
    let rest = |address: &str| format!("rest = {{ url = \"http://{address}/kafka\" }}");
    let begun = match is_begun_at_the_source {
        true => "initiated_by = \"source\"\n",
        false => "",
    };
    let titles = (
        format!("title = \"Source cluster\"\n{}", rest(&at_east.address)),
        format!(
            "title = \"Destination cluster\"\n{}",
            rest(&at_west.address)
        ),
    );
    let engine = format!("[links.demo-link]\nengine = \"cluster-link\"\n{begun}");
    let (source, destination) = (east.door(Door::Sasl), west.door(Door::Sasl));
    let example = Example::of(
        lab,
        "cluster-linking-tutorial",
        &[
            ("source.example:9094", &source),
            ("destination.example:9094", &destination),
            ("title = \"Source cluster\"", &titles.0),
            ("title = \"Destination cluster\"", &titles.1),
            ("[links.demo-link]\n", &engine),
            (
                "sasl.username=kmirror",
                &format!("sasl.username={}", ADMIN.name),
            ),
        ],
    )?;
    let store = stage.pair.realm.trust_store(Store::Jks)?;
    example.beside("cluster-linking-tutorial/client.truststore.jks", &store)?;
    let kmirror = || {
        example
            .kmirror(lab)
            .env("SOURCE_PASSWORD", ADMIN.password)
            .env("DESTINATION_PASSWORD", ADMIN.password)
            .env("TRUSTSTORE_PASSWORD", STORE_PASSWORD)
    };
    let planned = kmirror().ok("plan", &[])?;
    ensure!(
        planned.contains("(sensitive)") && !planned.contains(ADMIN.password),
        "{planned}"
    );
    kmirror().ok("apply", &["--yes"])?;
    let again = kmirror().ok("plan", &[])?;
    ensure!(again.contains("No changes."), "{again}");
    east.tools().console_producer(TOPIC, "1\n2\n3\n4\n5\n")?;
    let consumed = west.tools().console_consumer(TOPIC, 5)?;
    ensure!(consumed == "1\n2\n3\n4\n5\n", "consumed {consumed:?}");
    let file = example.file.to_str().context("a plain name")?;
    let shown = |words: &[&str]| -> Result<String> {
        let words = [&words[..2], &[file], &words[2..]].concat();
        let output = kmirror().without_file(&words)?;
        ensure!(output.status.success(), "{}", output.text());
        ensure!(!output.text().contains(ADMIN.password), "{}", output.text());
        Ok(output.stdout)
    };
    let links = shown(&["link", "list"])?;
    ensure!(links.contains("demo-link"), "{links}");
    let described = shown(&["link", "describe", "demo-link"])?;
    ensure!(described.contains("sasl.jaas.config"), "{described}");
    let replicas = shown(&["replica", "status", "--include-linked"])?;
    ensure!(replicas.lines().count() == 3, "{replicas}");
    // Promoted, the topic is written to by anybody; then everything goes.
    let text = fs::read_to_string(&example.file)?;
    fs::write(&example.file, format!("{text}state = \"promoted\"\n"))?;
    kmirror().ok("apply", &["--yes"])?;
    let stopped = shown(&["mirror", "list", "--state", "stopped"])?;
    ensure!(stopped.contains(TOPIC), "{stopped}");
    west.tools().console_producer(TOPIC, "6\n")?;
    let consumed = west.tools().console_consumer(TOPIC, 6)?;
    ensure!(consumed == "1\n2\n3\n4\n5\n6\n", "consumed {consumed:?}");
    let absent = text.replace(
        "engine = \"cluster-link\"",
        "engine = \"cluster-link\"\nstate = \"absent\"",
    );
    fs::write(&example.file, format!("{absent}state = \"absent\"\n"))?;
    kmirror().ok("apply", &["--yes", "--allow-delete"])?;
    ensure!(shown(&["link", "list"])? == "No links.\n", "links are left");
    stage.keeps_secrets(east)?;
    stage.keeps_secrets(west)?;
    stop(at_east)?;
    stop(at_west)
}

/// Of the REST API; nobody at the brokers.
const REST_USER: User = User {
    name: "ada",
    password: "love\"la\\ce",
};

/// The tutorial's script: curl and kcat against `kmirror serve`. The server, the worker beside each end, and the link have a
/// user each, with the rights that docs/security.md lists for it and no other.
fn by_rest(lab: &Lab, is_from_the_source: bool) -> Result<()> {
    let stage = Stage::new(lab)?;
    let (east, west) = (&stage.pair.east, &stage.pair.west);
    let (source, destination) = (east.door(Door::Sasl), west.door(Door::Sasl));
    for user in ["server", "worker"] {
        east.scram_user(user, KMIRROR.password)?;
        west.scram_user(user, KMIRROR.password)?;
    }
    allow_by_rest(&stage, is_from_the_source)?;
    let addresses = [
        ("source.example:9094", source.as_str()),
        ("destination.example:9094", &destination),
        ("sasl.mechanism=PLAIN", "sasl.mechanism=SCRAM-SHA-512"),
        ("sasl.username=kmirror", "sasl.username=server"),
    ];
    // What both files share lies beside the first.
    Example::of(lab, "cluster-linking-tutorial", &addresses)?;
    let example = Example::of(lab, "cluster-linking-rest", &addresses[..2])?;
    let store = stage.pair.realm.trust_store(Store::Jks)?;
    example.beside("cluster-linking-tutorial/client.truststore.jks", &store)?;
    let users = lab.dir().join("users");
    serving::give_password(lab, &users, REST_USER)?;
    let authority = &stage.pair.realm.authority;
    let certificate = authority.issue("rest", "rest", &["127.0.0.1"], Validity::Valid)?;
    let serving = example
        .kmirror(lab)
        .env("SOURCE_PASSWORD", KMIRROR.password)
        .env("DESTINATION_PASSWORD", KMIRROR.password)
        .env("TRUSTSTORE_PASSWORD", STORE_PASSWORD)
        .env("KMIRROR_KEY", &stage.key)
        .start_command(
            "serve",
            &[
                "--http",
                "source=127.0.0.1:0",
                "--http",
                "destination=127.0.0.1:0",
                "--http-users",
                text(&users),
                "--http-certificate",
                text(&certificate.chain),
                "--http-key",
                text(&certificate.key),
            ],
        )?;
    let beside = |cluster, name| {
        let way = stage.way(cluster)?.set("sasl.mechanism", "SCRAM-SHA-256");
        let way = way.set("sasl.username", "worker");
        let way = way.refer("sasl.password", "{ env = \"WORKER_PASSWORD\" }");
        let kmirror = stage.knowing(lab, &way.cluster(name))?;
        kmirror.env("WORKER_PASSWORD", KMIRROR.password).start(&[])
    };
    let mut processes = vec![beside(west, "west")?];
    if is_from_the_source {
        processes.push(beside(east, "east")?);
    }
    let mut script = example.script("cluster-linking-rest/tutorial.sh");
    script
        .args(is_from_the_source.then_some("--from-source"))
        .env("SOURCE_BOOTSTRAP", &source)
        .env("DESTINATION_BOOTSTRAP", &destination)
        .env("SOURCE_REST", served(&serving, "source")?)
        .env("DESTINATION_REST", served(&serving, "destination")?)
        .env("SOURCE_PASSWORD", KMIRROR.password)
        .env("DESTINATION_PASSWORD", KMIRROR.password)
        .env("TRUSTSTORE_PASSWORD", STORE_PASSWORD)
        .env("REST_USER", REST_USER.name)
        .env("REST_PASSWORD", REST_USER.password)
        .env("CA", &authority.certificate)
        .env("KMIRROR", program())
        .env("TOPOLOGY", &example.file);
    let output = run(&mut script, None, Duration::from_secs(240))?;
    lab.note(output.text());
    ensure!(output.status.success(), "{}", output.text());
    for secret in [KMIRROR.password, REST_USER.password] {
        ensure!(!output.text().contains(secret), "a password");
    }
    for line in ["\"link_name\": \"demo-link\"", "== Replicas", "== Done"] {
        ensure!(output.stdout.contains(line), "no {line}");
    }
    stage.keeps_secrets(east)?;
    stage.keeps_secrets(west)?;
    processes.push(serving);
    for mut process in processes {
        process.signal("TERM")?;
        let ended = process.wait(Duration::from_secs(30))?;
        let log = process.log_text();
        ensure!(ended.success(), "{ended}: {log}");
        ensure!(!log.contains(KMIRROR.password), "a password: {log}");
    }
    Ok(())
}

fn allow_by_rest(stage: &Stage, is_from_the_source: bool) -> Result<()> {
    const TOPIC: &str = "demo-link-topic";
    const CARRIED: [&str; 4] = ["plan", "apply", "run", rights::LINKS];
    let (east, west) = (&stage.pair.east, &stage.pair.west);
    let at = |end, user, commands: &[&str], topics: &[&str]| {
        rights::grant_at(end, user, commands, topics)
    };
    let served = ["plan", "apply", rights::DELETING];
    at((west, "destination"), "server", &served, &[TOPIC])?;
    at((west, "destination"), "worker", &CARRIED, &[TOPIC])?;
    at((east, "source"), KMIRROR.name, &["plan", "run"], &[TOPIC])?;
    // What the script itself does with its topic.
    let own = |operations| Right::new(On::Topic(TOPIC.to_owned()), operations);
    at((east, "destination"), "server", &["plan"], &[])?;
    east.allow("server", &[own(&["Create", "Describe", "Delete"])])?;
    east.allow(KMIRROR.name, &[own(&["Read", "Write"])])?;
    west.allow(KMIRROR.name, &[own(&["Read", "Write"])])?;
    if is_from_the_source {
        // The half that the source keeps, the worker that finds it there, and its way into the destination.
        at((east, "destination"), "server", &["plan", "apply"], &[])?;
        at((east, "destination"), "worker", &["plan"], &[])?;
        at((west, "destination"), KMIRROR.name, &CARRIED, &[TOPIC])?;
    }
    Ok(())
}

/// Where a cluster's API is, once the process says so.
fn served(process: &Process, cluster: &str) -> Result<String> {
    let started = Instant::now();
    loop {
        let log = process.log_text();
        let said = log.split_once(&format!("serving cluster {cluster} at "));
        if let Some((_, rest)) = said
            && let Some((address, _)) = rest.split_once("/kafka/v3")
        {
            return Ok(address.to_owned());
        }
        ensure!(started.elapsed() < Duration::from_secs(30), "{log}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn secured_migration(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl, Door::Mtls])?;
    let topics = [
        ("prod-eu-payments", "eu.payments"),
        ("prod-us-orders", "us.orders"),
        ("prod-audit", "global.audit"),
        ("legacy_orders", "eu.orders"),
    ];
    let (names, mirrors): (Vec<&str>, Vec<&str>) = topics.into_iter().unzip();
    let others = ["prod-eu-scratch", "unrelated"];
    pair.topics(&[&names[..], &others].concat(), 50)?;
    rights::grant(
        &pair.east,
        &pair.west,
        KMIRROR.name,
        &rights::COMMANDS,
        &[],
        &mirrors,
    )?;
    let (old, new) = (pair.east.door(Door::Sasl), pair.west.door(Door::Mtls));
    let example = Example::of(
        lab,
        "secured-migration",
        &[
            (
                r#""old-1.example:9094", "old-2.example:9094""#,
                &format!("\"{old}\""),
            ),
            (
                r#""new-1.example:9094", "new-2.example:9094", "new-3.example:9094""#,
                &format!("\"{new}\""),
            ),
        ],
    )?;
    let client = pair.realm.client(KMIRROR.name)?;
    let ca = &pair.realm.authority.certificate;
    example.beside("certificates/old-ca.pem", ca)?;
    example.beside("certificates/new-ca.pem", ca)?;
    example.beside("certificates/kmirror.crt", &client.chain)?;
    let key = client.encrypted_key(Encryption::Pbes2, STORE_PASSWORD)?;
    example.beside("certificates/kmirror.key", &key)?;
    let password = lab.dir().join("key-password");
    keep(&password, format!("{STORE_PASSWORD}\n").as_bytes())?;
    example.beside("certificates/kmirror.key-password", &password)?;
    let kmirror = example
        .kmirror(lab)
        .env("OLD_USER", KMIRROR.name)
        .env("OLD_PASSWORD", KMIRROR.password);
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    for (name, mirror) in topics {
        same(&pair, name, mirror, 50)?;
    }
    let there = pair
        .west
        .tools()
        .topics(&["--list", "--exclude-internal"])?;
    let mut there: Vec<&str> = there.lines().filter(|it| !it.starts_with('_')).collect();
    let mut wanted = mirrors.clone();
    there.sort_unstable();
    wanted.sort_unstable();
    ensure!(there == wanted, "{there:?}");
    Ok(())
}

fn disaster_recovery(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    let names = ["orders", "payments"];
    pair.topics(&["orders", "payments", "reports-tmp"], 50)?;
    let all = ["orders", "payments", "later"];
    rights::grant(
        &pair.east,
        &pair.west,
        KMIRROR.name,
        &rights::COMMANDS,
        &["later"],
        &all,
    )?;
    let (active, passive) = (pair.east.door(Door::Sasl), pair.west.door(Door::Sasl));
    let example = Example::of(
        lab,
        "disaster-recovery",
        &[
            ("kafka.site-a.example:9094", &active),
            ("kafka.site-b.example:9094", &passive),
            (
                "https://login.example/oauth2/token",
                &pair.realm.oidc.token_url_https(),
            ),
        ],
    )?;
    example.beside(
        "disaster-recovery/company-ca.pem",
        &pair.realm.authority.certificate,
    )?;
    let kmirror = example
        .kmirror(lab)
        .env("KMIRROR_CLIENT_SECRET", CLIENT_SECRET);
    kmirror.ok("apply", &["--yes"])?;
    let mut worker = kmirror.start(&[])?;
    client::create_topics(&pair.east.bootstrap(), &["later"], 2)?;
    client::produce(&Place::new(pair.east.bootstrap(), "later"), "later", 50)?;
    let start = Instant::now();
    for name in names.into_iter().chain(["later"]) {
        while let Err(error) = same(&pair, name, name, 50) {
            if start.elapsed() > Duration::from_secs(60) || worker.exited()?.is_some() {
                bail!("{error:#}\n{}", worker.log_text());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
    worker.signal("TERM")?;
    let status = worker.wait(Duration::from_secs(20))?;
    ensure!(status.success(), "{status}: {}", worker.log_text());
    Ok(())
}

fn same(pair: &Pair, name: &str, mirror: &str, records: u64) -> Result<()> {
    let found = client::assert_same(
        &Place::new(pair.east.bootstrap(), name),
        &Place::new(pair.west.bootstrap(), mirror),
        Offsets::Equal,
    )?;
    ensure!(found == records, "{name}: {found} records, not {records}");
    Ok(())
}

/// On embedded brokers, as the file's own comment says.
fn three_regions(lab: &Lab) -> Result<()> {
    let written = ["9192", "9292", "9392", "9492"].map(|port| format!("127.0.0.1:{port}"));
    let ports = written
        .iter()
        .map(|_| Port::free())
        .collect::<Result<Vec<_>>>()?;
    let addresses: Vec<String> = ports.iter().map(Port::address).collect();
    let replaced: Vec<(&str, &str)> = written
        .iter()
        .map(String::as_str)
        .zip(addresses.iter().map(String::as_str))
        .collect();
    let kmirror = Example::of(lab, "three-regions", &replaced)?.kmirror(lab);
    let mut sandbox = kmirror.start_command("sandbox", &[])?;
    let start = Instant::now();
    while !sandbox.log_text().contains("Ctrl-C") {
        ensure!(
            start.elapsed() < Duration::from_secs(20) && sandbox.exited()?.is_none(),
            "{}",
            sandbox.log_text()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    kmirror.ok("apply", &["--yes"])?;
    let mut expected = Vec::new();
    for (region, address, topics) in [
        ("eu", &addresses[0], &["orders", "payments"][..]),
        ("us", &addresses[1], &["orders", "payments"]),
        ("ap", &addresses[2], &["orders"]),
    ] {
        for topic in topics {
            let from = Place::new(address.clone(), *topic);
            client::produce(&from, region, 30)?;
            let to = Place::new(addresses[3].clone(), format!("{region}.{topic}"));
            expected.push((from, to));
        }
    }
    kmirror.ok("run", &["--until-caught-up"])?;
    for (from, to) in expected {
        ensure!(client::assert_same(&from, &to, Offsets::Equal)? == 30);
    }
    sandbox.signal("INT")?;
    let status = sandbox.wait(Duration::from_secs(10))?;
    ensure!(status.success(), "kmirror sandbox ended with {status}");
    Ok(())
}
