//! Offsets that no record takes, kept equal by users with fewer rights.

use anyhow::{Result, ensure};

use super::refusals::plain_to;
use super::{Pair, mirror_of};
use crate::support::client::{self, Offsets, Place};
use crate::support::dataset::{self, Ages, Mixed, Plan};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::acl::{On, Right};
use crate::support::secured::{Door, KMIRROR};

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "secured::holes_without_the_right_for_markers",
        tier: Tier::Readme,
        brokers: 2,
        seconds: 60,
        body: holes,
    }]
}

/// Without a right to take up an offset the mirror stops and says what to grant; with transactional ids of its own it writes
/// empty transactions, killed in the middle; with Alter on the cluster it writes markers.
fn holes(lab: &Lab) -> Result<()> {
    const RECORDS: usize = 3_000;
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    pair.allow(KMIRROR.name, &[dataset::MIXED])?;
    let plan = Plan {
        records: RECORDS,
        seed: 5,
        ages: Ages::OldAndNew,
    };
    let mut writer = Mixed::create(&pair.east, plan)?;
    writer.write_up_to(RECORDS / 3)?;
    let [east, west] = [&pair.east, &pair.west].map(|side| plain_to(&pair, side.door(Door::Sasl)));
    let file = pair.file(&east, &west, &[dataset::MIXED]);
    let kmirror = pair.kmirror(lab, &file)?;
    let planned = kmirror.ok("plan", &[])?;
    let warned = "may not write control markers (Alter on the cluster)";
    ensure!(
        planned.contains(warned),
        "the plan does not warn:\n{planned}"
    );
    kmirror.ok("apply", &["--yes"])?;

    let refused = kmirror.command("run", &["--until-caught-up"])?;
    let said = refused.text();
    ensure!(!refused.status.success(), "nobody missed a right: {said}");
    for wanted in [
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
        "grant Alter on the cluster (control markers) or Write on the transactional ids",
        KMIRROR.name,
    ] {
        ensure!(said.contains(wanted), "no word of {wanted:?}:\n{said}");
    }

    let own = On::TransactionalIds("kmirror.".to_owned());
    pair.west
        .allow(KMIRROR.name, &[Right::new(own, &["Write"])])?;
    let mirror = Place::new(pair.west.bootstrap(), mirror_of(dataset::MIXED));
    let arrived = || -> Result<i64> {
        let marks = client::watermarks(&mirror)?;
        Ok(marks.iter().map(|(_, end)| *end).sum())
    };
    let mut kills = 0;
    for part in 4..=6 {
        let before = arrived()?;
        let mut worker = kmirror.start(&["--session-timeout", "1s"])?;
        writer.write_up_to(RECORDS * part / 9)?;
        while arrived()? < before + 40 {
            ensure!(worker.exited()?.is_none(), "{}", worker.log_text());
        }
        worker.kill()?;
        kills += 1;
    }
    lab.note(format!("{kills} kills, {} offsets taken up", arrived()?));
    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;

    pair.west
        .allow(KMIRROR.name, &[Right::new(On::Cluster, &["Alter"])])?;
    writer.finish()?;
    kmirror.ok("run", &["--until-caught-up", "--session-timeout", "1s"])?;
    let source = Place::new(pair.east.bootstrap(), dataset::MIXED);
    let records = client::assert_same(&source, &mirror, Offsets::Equal)?;
    ensure!(records > 1_000, "{records} records prove little");
    Ok(())
}
