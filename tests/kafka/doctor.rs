//! `kmirror doctor` on real brokers: what it must find there, what it leaves behind, and that a broken broker is noticed.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::copy::topology;
use crate::faults::three;
use crate::support::cluster::{Cluster, Spec};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, brokers, seconds, body| Test {
        name,
        tier,
        brokers,
        seconds,
        body,
    };
    vec![
        test("doctor::brokers_pass_4_3", Tier::Readme, 1, 20, |lab| {
            passes(lab, &Spec::new("one", Version::V4_3).start(lab)?)
        }),
        test("doctor::brokers_pass_3_9", Tier::Readme, 1, 20, |lab| {
            passes(lab, &Spec::new("one", Version::V3_9).start(lab)?)
        }),
        test("doctor::three_brokers_pass", Tier::Long, 3, 30, |lab| {
            passes(lab, &three("three").start(lab)?)
        }),
        test("doctor::zookeeper_passes", Tier::Long, 2, 40, |lab| {
            passes(lab, &Spec::new("zk", Version::V3_9).zookeeper().start(lab)?)
        }),
    ]
}

fn passes(lab: &Lab, cluster: &Cluster) -> Result<()> {
    let kmirror = Kmirror::new(lab, &topology(cluster, cluster, "app-*"))?;
    let args = ["--yes", "--cluster", "destination", "--format", "json"];
    let document: Value = serde_json::from_str(&kmirror.ok("doctor", &args)?)?;
    let found = &document["destinations"][0];
    lab.note(format!("{found:#}"));
    ensure!(
        found["acks_one"] == true && found["markers"] == true,
        "{found:#}"
    );
    for check in found["checks"].as_array().context("checks")? {
        ensure!(check["outcome"] == "passed", "{check:#}");
    }
    let topics = cluster.tools().topics(&["--list"])?;
    ensure!(!topics.contains("doctor"), "left behind: {topics}");
    // What new topics would inherit from a broker that compresses anew and stamps records itself.
    let broker = ["--alter", "--entity-type", "brokers", "--entity-default"];
    let hurts = "compression.type=gzip,unclean.leader.election.enable=true";
    cluster
        .tools()
        .configs(&[&broker[..], &["--add-config", hurts]].concat())?;
    let text = kmirror.ok("doctor", &["--yes", "--cluster", "destination"])?;
    ensure!(
        text.contains("compression.type=gzip") && text.contains("unclean.leader.election.enable"),
        "{text}"
    );
    Ok(())
}
