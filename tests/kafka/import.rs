//! What runs today becomes a topology file: MirrorMaker 2 and kmirror copy between two clusters, and `kmirror import` is
//! asked what they do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::copy::topology;
use crate::support::client::{self, Place};
use crate::support::cluster::{Cluster, Spec};
use crate::support::dataset::{self, Ages, Plan};
use crate::support::jars::{Heap, Version};
use crate::support::lab::Lab;
use crate::support::process::{Output, Process};
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "import::what_mirrormaker_and_kmirror_copied_4_3",
        tier: Tier::Readme,
        brokers: 3,
        seconds: 50,
        body: copies,
    }]
}

/// Data records of the large topic.
const RECORDS: usize = 10_000;

fn copies(lab: &Lab) -> Result<()> {
    let start = |name| Spec::new(name, Version::V4_3).heap(Heap::Medium).start(lab);
    let (source, destination) = (start("source")?, start("destination")?);
    // Transactions, old and new times and every codec for one of the topics that MirrorMaker 2 writes anew.
    let plan = Plan {
        records: RECORDS,
        seed: 11,
        ages: Ages::OldAndNew,
    };
    dataset::generate_mixed(lab, &source, plan)?;
    for topic in ["orders", "payments"] {
        source.tools().create_topic(topic, 3, &[])?;
        client::produce(&Place::new(source.bootstrap(), topic), topic, 3_000)?;
    }
    // Of the same name and size, and no copy.
    destination.tools().create_topic("orders", 3, &[])?;
    client::produce(
        &Place::new(destination.bootstrap(), "orders"),
        "other",
        3_000,
    )?;

    let kmirror = Kmirror::new(lab, &topology(&source, &destination, "payments"))?;
    kmirror.ok("apply", &["--yes"])?;
    kmirror.ok("run", &["--until-caught-up"])?;
    let mut mirrormaker = mirrormaker(lab, &source, &destination)?;
    copied(&mut mirrormaker, &destination, "a.orders", 3_000)?;
    copied(&mut mirrormaker, &destination, "a.ref.mixed", RECORDS / 2)?;

    of_the_clusters(lab, &kmirror, &source, &destination)?;
    mirrormaker.stop(Duration::from_secs(20))?;
    of_the_file(lab, &kmirror)
}

/// MirrorMaker 2 in its dedicated mode, with the file that is imported afterwards.
fn mirrormaker(lab: &Lab, source: &Cluster, destination: &Cluster) -> Result<Process> {
    let file = lab.dir().join("mm2.properties");
    let properties = format!(
        "clusters = a, b\na.bootstrap.servers = {}\nb.bootstrap.servers = {}\na->b.enabled = true\n\
         a->b.topics = orders, ref\\\\..*\nb->a.enabled = false\nreplication.factor = 1\ntasks.max = 2\n\
         sync.topic.acls.enabled = false\nemit.heartbeats.enabled = false\nemit.checkpoints.enabled = false\n\
         plugin.discovery = service_load\noffset-syncs.topic.replication.factor = 1\n\
         config.storage.replication.factor = 1\noffset.storage.replication.factor = 1\n\
         status.storage.replication.factor = 1\n",
        source.bootstrap(),
        destination.bootstrap()
    );
    std::fs::write(&file, properties)?;
    let mut command = destination.distribution().java_with_heap(512);
    command
        .arg("org.apache.kafka.connect.mirror.MirrorMaker")
        .arg(&file);
    Process::spawn("MirrorMaker 2", &mut command, &lab.dir().join("mm2.log"))
}

/// Waits until so many records have arrived.
fn copied(mirrormaker: &mut Process, cluster: &Cluster, topic: &str, records: usize) -> Result<()> {
    let place = Place::new(cluster.bootstrap(), topic);
    let wanted = i64::try_from(records)?;
    let start = Instant::now();
    loop {
        // It is there a while after the start.
        let written: i64 = match client::watermarks(&place) {
            Ok(marks) => marks.iter().map(|(_, end)| end).sum(),
            Err(_) => 0,
        };
        if written >= wanted {
            return Ok(());
        }
        ensure!(
            mirrormaker.exited()?.is_none(),
            "MirrorMaker 2 has ended:\n{}",
            mirrormaker.log_text()
        );
        ensure!(
            start.elapsed() < Duration::from_secs(90),
            "{topic} has {written} of {wanted} records:\n{}",
            mirrormaker.log_text()
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Both kinds of copies are found while MirrorMaker 2 is running.
fn of_the_clusters(
    lab: &Lab,
    kmirror: &Kmirror,
    source: &Cluster,
    destination: &Cluster,
) -> Result<()> {
    let file = lab.dir().join("found.toml");
    let (from, to) = (source.bootstrap(), destination.bootstrap());
    let output = file.to_str().context("the folder has a plain name")?;
    let ends = [
        "import",
        "clusters",
        "--source",
        &from,
        "--destination",
        &to,
    ];
    let all = [&ends[..], &["-o", output]].concat();
    let imported = done(kmirror.without_file(&all)?)?;
    lab.note(&imported);
    let text = std::fs::read_to_string(&file)?;
    for wanted in [
        "[links.copy]",
        "topics = [\"payments\"]",
        "[links.source-to-destination]",
        "topics = [\"orders\", \"ref.mixed\"]",
        "rename = { prefix = \"a.\" }",
    ] {
        ensure!(text.contains(wanted), "no {wanted} in\n{text}");
    }
    ensure!(
        imported.contains("hold different records: `orders`"),
        "{imported}"
    );
    let plan = Kmirror::with_file(lab, file.clone()).command("plan", &[])?;
    ensure!(plan.status.code() == Some(3), "{}", plan.text());
    ensure!(
        plan.stdout.contains("that this link did not write"),
        "{}",
        plan.stdout
    );
    ensure!(!plan.stdout.contains("link.copy will"), "{}", plan.stdout);

    // kmirror's own link alone: nothing is to be done.
    let own = [
        &ends[..],
        &["--topics", "payments", "-o", output, "--force"],
    ]
    .concat();
    done(kmirror.without_file(&own)?)?;
    let plan = Kmirror::with_file(lab, file).command("plan", &["--detailed-exitcode"])?;
    ensure!(plan.status.code() == Some(0), "{}", plan.text());
    Ok(())
}

/// The file that MirrorMaker 2 ran with asks for the same topics under the same names.
fn of_the_file(lab: &Lab, kmirror: &Kmirror) -> Result<()> {
    let given = lab.dir().join("mm2.properties");
    let file = lab.dir().join("of-the-file.toml");
    let path = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a plain name");
    let (given, output) = (path(&given)?, path(&file)?);
    done(kmirror.without_file(&["import", "mirrormaker2", &given, "-o", &output])?)?;
    let plan = Kmirror::with_file(lab, file).command("plan", &[])?;
    ensure!(plan.status.code() == Some(3), "{}", plan.text());
    for wanted in ["a/orders -> b/a.orders", "a/ref.mixed -> b/a.ref.mixed"] {
        ensure!(
            plan.stdout.contains(wanted),
            "no {wanted} in\n{}",
            plan.stdout
        );
    }
    Ok(())
}

fn done(output: Output) -> Result<String> {
    ensure!(output.status.success(), "{}", output.text());
    Ok(output.text())
}
