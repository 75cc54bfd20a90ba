//! `kmirror doctor` where brokers run an authorizer: it works with the rights that docs/security.md lists, tells which right
//! a mirror would miss, and says what to grant where it cannot begin.

use anyhow::{Result, ensure};

use super::{Way, text};
use crate::support::cluster::Spec;
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::runner::{Test, Tier};
use crate::support::secured::acl::{On, Right};
use crate::support::secured::{Door, KMIRROR, Realm};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "secured::doctor_takes_the_listed_rights",
        tier: Tier::Readme,
        brokers: 1,
        seconds: 40,
        body: takes_the_listed_rights,
    }]
}

fn takes_the_listed_rights(lab: &Lab) -> Result<()> {
    let realm = Realm::new(lab)?;
    let west = realm.start(lab, Spec::new("west", Version::V4_3), &[Door::Sasl])?;
    west.scram_user(KMIRROR.name, KMIRROR.password)?;
    let way = Way::to(west.door(Door::Sasl))
        .set("security.protocol", "SASL_SSL")
        .set("sasl.mechanism", "SCRAM-SHA-512")
        .set("sasl.username", KMIRROR.name)
        .refer("sasl.password", "{ env = \"PASSWORD\" }")
        .set("ssl.ca.location", text(&realm.authority.certificate));
    let file = format!("kmirror = 1\n\n{}", way.cluster("west"));
    let kmirror = Kmirror::new(lab, &file)?.env("PASSWORD", KMIRROR.password);
    let args = ["--yes", "--cluster", "west"];

    let refused = kmirror.command("doctor", &args)?;
    lab.note(refused.text());
    ensure!(
        refused.status.code() == Some(1) && refused.stderr.contains("it takes the right Create"),
        "without rights: {}\n{}",
        refused.status,
        refused.text()
    );
    let operations = [
        "Create",
        "Describe",
        "DescribeConfigs",
        "Read",
        "Write",
        "AlterConfigs",
        "Delete",
    ];
    let scratch = On::Topics("_kmirror.doctor-".to_owned());
    let links = On::Topic("_kmirror.links".to_owned());
    let rights = [
        Right::new(scratch, &operations),
        Right::new(links, &["Read"]),
    ];
    west.allow(KMIRROR.name, &rights)?;
    let said = kmirror.ok("doctor", &args)?;
    lab.note(&said);
    ensure!(
        said.contains("Alter or ClusterAction on the cluster is not granted")
            && said.contains("Mirrors may let leaders acknowledge alone")
            && !said.contains("FAILED")
            && !said.contains("untried"),
        "{said}"
    );
    west.allow(KMIRROR.name, &[Right::new(On::Cluster, &["Alter"])])?;
    let said = kmirror.ok("doctor", &args)?;
    ensure!(
        said.contains("a marker takes one offset that no consumer sees"),
        "{said}"
    );
    Ok(())
}
