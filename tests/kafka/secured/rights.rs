//! The rights that docs/security.md lists are what each command needs.

use anyhow::{Context, Result, bail, ensure};

use crate::support::runner::Test;
use crate::support::secured::Secured;
use crate::support::secured::acl::{On, Right};

pub fn tests() -> Vec<Test> {
    Vec::new()
}

/// The commands that the table of rights knows, each with those before it.
pub const COMMANDS: [&str; 3] = ["plan", "apply", "run"];

/// Gives a user what docs/security.md lists for these commands.
pub fn grant(
    source: &Secured,
    destination: &Secured,
    user: &str,
    commands: &[&str],
    topics: &[&str],
    mirrors: &[&str],
) -> Result<()> {
    let table = table()?;
    for (cluster, name) in [(source, "source"), (destination, "destination")] {
        let rows = table
            .iter()
            .filter(|row| row.cluster == name && commands.contains(&row.command.as_str()));
        let mut rights = Vec::new();
        for row in rows {
            for on in row.resources(topics, mirrors)? {
                let operations: Vec<&str> = row.operations.iter().map(String::as_str).collect();
                rights.push(Right::new(on, &operations));
            }
        }
        cluster.allow(user, &rights)?;
    }
    Ok(())
}

/// A row of the table.
#[derive(Debug)]
struct Row {
    command: String,
    cluster: String,
    resource: String,
    operations: Vec<String>,
}

impl Row {
    fn resources(&self, topics: &[&str], mirrors: &[&str]) -> Result<Vec<On>> {
        let topics_of =
            |names: &[&str]| names.iter().map(|name| On::Topic((*name).into())).collect();
        Ok(match self.resource.as_str() {
            "source topics" => topics_of(topics),
            "mirror topics" => topics_of(mirrors),
            "cluster" => vec![On::Cluster],
            other => {
                let (kind, name) = other
                    .strip_suffix('`')
                    .and_then(|rest| rest.split_once('`'))
                    .with_context(|| format!("no resource: {other}"))?;
                vec![match kind.trim() {
                    "topic" => On::Topic(name.to_owned()),
                    "topics that begin with" => On::Topics(name.to_owned()),
                    "group" => On::Group(name.to_owned()),
                    "transactional id" => On::TransactionalId(name.to_owned()),
                    _ => bail!("no resource: {other}"),
                }]
            }
        })
    }
}

/// The table of docs/security.md.
fn table() -> Result<Vec<Row>> {
    let text = include_str!("../../../docs/security.md");
    let head = "| command | cluster | resource | operations | what for |";
    let (_, rest) = text
        .split_once(head)
        .context("the table of rights is gone")?;
    let mut rows = Vec::new();
    for line in rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, command, cluster, resource, operations, _, _] = cells[..] else {
            bail!("not five cells: {line}");
        };
        let command = command.trim_matches('`').to_owned();
        ensure!(COMMANDS.contains(&command.as_str()), "no command: {line}");
        rows.push(Row {
            command,
            cluster: cluster.to_owned(),
            resource: resource.to_owned(),
            operations: operations.split(", ").map(str::to_owned).collect(),
        });
    }
    ensure!(!rows.is_empty(), "the table of rights is empty");
    Ok(rows)
}
