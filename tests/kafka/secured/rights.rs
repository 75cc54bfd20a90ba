//! The rights that docs/security.md lists are what each command needs: no less, and no more.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail, ensure};

use kmirror::control::records::{Alignment, Anchor, OffsetsKey, ProgressRecord, RECORD_VERSION};
use kmirror::control::{self, progress};
use kmirror::kafka::{Client, ClientConfig};

use super::refusals::{self, Screens};
use super::{Pair, Way, mirror_of, text};
use crate::support::client::{self, Place};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Output;
use crate::support::runner::{Test, Tier};
use crate::support::secured::acl::{On, Right};
use crate::support::secured::{Door, KMIRROR, Secured};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    vec![Test {
        name: "secured::a_missing_right_is_named",
        tier: Tier::Readme,
        brokers: 2,
        seconds: 80,
        body: a_missing_right_is_named,
    }]
}

/// The commands that copy, each with those before it.
pub const COMMANDS: [&str; 3] = ["plan", "apply", "run"];

pub const DELETING: &str = "apply --allow-delete";
/// What carries links that are made over REST; each has a group of its own instead of the one that `run` has.
pub const LINKS: &str = "links over REST";

/// What is tried, and whose rights it takes according to the table: of the last of them, each one is left out once. The
/// first apply finds nothing of kmirror's own at the destination.
const ATTEMPTS: [(&str, &[&str]); 5] = [
    ("run", &["plan", "apply", "run"]),
    ("apply", &["plan", "apply"]),
    ("plan", &["plan"]),
    ("drift", &["plan"]),
    (DELETING, &["plan", "apply", DELETING]),
];

const PASSWORD: &str = "newcomer-Eiw2phoh";
const TOPIC: &str = "orders";
const PARTITIONS: i32 = 2;

/// Without any one of the listed rights, the command that it is listed for ends with an error that says what is not
/// allowed and to whom; with all of them it does its work.
fn a_missing_right_is_named(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    let screens = Screens::new(lab, &pair, &[Door::Sasl]);
    let table = table()?;
    let mut screen = String::new();
    let mut faults = Vec::new();
    for (command, takes) in ATTEMPTS {
        let own = takes.last().expect("it takes something");
        let own = table.iter().filter(|row| row.command == *own);
        let lacks = own.flat_map(|row| row.operations.iter().map(move |it| Some((row, it))));
        for (number, lack) in lacks.chain([None]).enumerate() {
            let title = lack.map_or(format!("{command} with all rights"), |(row, operation)| {
                format!(
                    "{command} without {operation} on {} ({})",
                    row.resource, row.cluster
                )
            });
            let newcomer = Newcomer::new(&pair, lab, command, number)?;
            newcomer.prepare(lack)?;
            let rows: Vec<Row> = table
                .iter()
                .filter(|row| takes.contains(&row.command.as_str()))
                .map(|row| row.without(lack))
                .collect();
            newcomer.grant(&rows)?;
            let output = newcomer.try_it()?;
            let said = screens.same_everywhere(&output.text());
            let said = said.replace(&newcomer.topic, TOPIC);
            lab.note(format!("{title}\n{said}"));
            let refused = !matches!(output.status.code(), Some(0 | 2));
            if refused != lack.is_some() {
                faults.push(format!("{title}: {}", output.status));
            }
            if let Some((_, operation)) = lack {
                let said = in_the_way(&said);
                writeln!(
                    screen,
                    "# {title}\n{said}exit code {:?}\n",
                    output.status.code()
                )?;
                if !(said.contains(operation.as_str()) && said.contains("sasl.username")) {
                    faults.push(format!("{title}: no word of {operation} or of the user"));
                }
            }
            ensure!(!said.contains(PASSWORD), "{title}: a secret is shown");
        }
    }
    ensure!(faults.is_empty(), "{}\n\n{screen}", faults.join("\n"));
    refusals::keep_screen("secured_refused_rights", &screen);
    Ok(())
}

/// Of what was planned or copied until then, only what is in the way.
fn in_the_way(said: &str) -> String {
    let parts: Vec<&str> = said.split("\n\n").collect();
    let (last, before) = parts.split_last().expect("a text has a part");
    let of_a_worker = |line: &&str| ["FAILED", "error"].iter().any(|it| line.starts_with(it));
    let last = if last.contains("link started") {
        let lines: Vec<&str> = last.lines().filter(of_a_worker).collect();
        lines.join("\n") + "\n"
    } else {
        (*last).to_owned()
    };
    // Which one, the mirror's id decides.
    let partition = regex::Regex::new(r"partition \d+ of topic _kmirror").expect("a valid regex");
    let last = partition.replace_all(&last, "partition … of topic _kmirror");
    let blocked = before.iter().filter(|part| part.contains("blocked"));
    blocked
        .copied()
        .chain([&*last])
        .collect::<Vec<&str>>()
        .join("\n\n")
}

/// A user for one attempt. Workers copy all there is on their destination, so that they have one of their own,
/// the other way round.
struct Newcomer<'a> {
    lab: &'a Lab,
    pair: &'a Pair,
    command: &'static str,
    source: &'a Secured,
    destination: &'a Secured,
    user: String,
    topic: String,
}

impl<'a> Newcomer<'a> {
    fn new(pair: &'a Pair, lab: &'a Lab, command: &'static str, number: usize) -> Result<Self> {
        let (source, destination, topic) = match command {
            "run" => (&pair.west, &pair.east, TOPIC.to_owned()),
            _ => (
                &pair.east,
                &pair.west,
                format!("{TOPIC}-{}-{number}", label(command)),
            ),
        };
        let user = format!("newcomer-{}-{number}", label(command));
        for side in [source, destination] {
            side.scram_user(&user, PASSWORD)?;
        }
        let newcomer = Self {
            lab,
            pair,
            command,
            source,
            destination,
            user,
            topic,
        };
        if command != "run" || number == 0 {
            newcomer.make_topic()?;
        }
        Ok(newcomer)
    }

    fn make_topic(&self) -> Result<()> {
        let servers = self.source.bootstrap();
        client::create_topics(&servers, &[&self.topic], PARTITIONS)?;
        client::produce(&Place::new(servers, &self.topic), &self.topic, 10)?;
        let mirror = mirror_of(&self.topic);
        grant(
            self.source,
            self.destination,
            KMIRROR.name,
            &COMMANDS,
            &[&self.topic],
            &[&mirror],
        )?;
        if self.command == "run" || self.command == DELETING {
            self.kmirror_for("", KMIRROR.name, KMIRROR.password)?
                .ok("apply", &["--yes"])?;
        }
        if self.command == DELETING {
            self.pretend_to_have_copied()?;
        }
        Ok(())
    }

    /// Progress as a worker stores it, so that a deletion has something to forget.
    fn pretend_to_have_copied(&self) -> Result<()> {
        let config = ClientConfig::new("asked", vec![self.destination.bootstrap()]);
        let anchor = Anchor {
            source_offset: 10,
            source_leader_epoch: 0,
            destination_offset: 10,
            count: 10,
            epoch: 0,
        };
        let record = ProgressRecord {
            version: RECORD_VERSION,
            anchors: vec![anchor],
            map_chunk: 0,
            alignment: Alignment::default(),
            pads_by_transactions: false,
            destination_leader_epoch: -1,
        };
        tokio::runtime::Runtime::new()?.block_on(async {
            let client = Client::connect(config).await?;
            let state = control::read(&client).await?.context("it was applied")?;
            let mut mirrors = state.mirrors.into_values();
            let mirror = mirrors.find(|mirror| mirror.source_topic == self.topic);
            let id = mirror.context("the mirror is recorded")?.id;
            let key = OffsetsKey::Progress { id, partition: 0 };
            let entry = progress::Entry::Progress(record);
            progress::write(&client, &[(key, Some(entry))]).await?;
            Ok(())
        })
    }

    /// What makes the command need the right: something that exists, and is to be changed.
    fn prepare(&self, lack: Option<(&Row, &String)>) -> Result<()> {
        let Some((row, operation)) = lack else {
            return Ok(());
        };
        let needs_nothing = ["run", DELETING].contains(&self.command);
        if needs_nothing || row.resource != "mirror topics" || operation == "Create" {
            return Ok(());
        }
        self.kmirror(KMIRROR.name, KMIRROR.password)?
            .ok("apply", &["--yes"])?;
        let servers = self.destination.bootstrap();
        match operation.as_str() {
            "Alter" => client::add_partitions(&self.source.bootstrap(), &self.topic, 4),
            "AlterConfigs" => client::set_config(
                &servers,
                &mirror_of(&self.topic),
                "compression.type",
                "gzip",
            ),
            _ => Ok(()),
        }
    }

    fn grant(&self, rows: &[Row]) -> Result<()> {
        let rows: Vec<&Row> = rows.iter().collect();
        let mirror = mirror_of(&self.topic);
        grant_rows(
            self.source,
            self.destination,
            &self.user,
            &rows,
            &[&self.topic],
            &[&mirror],
        )
    }

    fn try_it(&self) -> Result<Output> {
        let (command, arguments): (_, &[&str]) = match self.command {
            "apply" => ("apply", &["--yes"]),
            "run" => ("run", &["--until-caught-up"]),
            DELETING => ("apply", &["--yes", "--allow-delete"]),
            other => (other, &[]),
        };
        self.kmirror(&self.user, PASSWORD)?
            .at_home()
            .command(command, arguments)
    }

    /// The link as the command is to find it in the file: a deletion takes all of it, topics and records.
    fn kmirror(&self, user: &str, password: &str) -> Result<Kmirror> {
        let state = match self.command {
            DELETING => format!(
                "state = \"absent\"\n[links.{}.mirrors.{}]\nstate = \"absent\"\n",
                self.topic, self.topic
            ),
            _ => String::new(),
        };
        self.kmirror_for(&state, user, password)
    }

    fn kmirror_for(&self, more: &str, user: &str, password: &str) -> Result<Kmirror> {
        let way = |side: &Secured| {
            Way::to(side.door(Door::Sasl))
                .set("security.protocol", "SASL_SSL")
                .set("sasl.mechanism", "SCRAM-SHA-512")
                .set("sasl.username", user)
                .refer("sasl.password", "{ env = \"NEWCOMER\" }")
                .set(
                    "ssl.ca.location",
                    text(&self.pair.realm.authority.certificate),
                )
        };
        let (source, destination) = (way(self.source), way(self.destination));
        let file = self
            .pair
            .link(&self.topic, &source, &destination, &[&self.topic]);
        Ok(Kmirror::new(self.lab, &(file + more))?.env("NEWCOMER", password))
    }
}

/// A command in names of users and topics.
fn label(command: &str) -> &str {
    match command {
        DELETING => "delete",
        other => other,
    }
}

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
    let rows: Vec<&Row> = table
        .iter()
        .filter(|row| commands.contains(&row.command.as_str()))
        .collect();
    grant_rows(source, destination, user, &rows, topics, mirrors)
}

/// The rights that the table lists for commands on one kind of cluster.
pub fn grant_at(
    (cluster, kind): (&Secured, &str),
    user: &str,
    commands: &[&str],
    topics: &[&str],
) -> Result<()> {
    let table = table()?;
    let rows: Vec<&Row> = table
        .iter()
        .filter(|row| commands.contains(&row.command.as_str()) && row.cluster == kind)
        .filter(|row| row.resource != "group `kmirror`" || !commands.contains(&LINKS))
        .collect();
    grant_rows(cluster, cluster, user, &rows, topics, topics)
}

fn grant_rows(
    source: &Secured,
    destination: &Secured,
    user: &str,
    rows: &[&Row],
    topics: &[&str],
    mirrors: &[&str],
) -> Result<()> {
    for (cluster, name) in [(source, "source"), (destination, "destination")] {
        let mut rights = Vec::new();
        for row in rows.iter().filter(|row| row.cluster == name) {
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
#[derive(Debug, Clone, PartialEq)]
struct Row {
    command: String,
    cluster: String,
    resource: String,
    operations: Vec<String>,
}

impl Row {
    /// The row without one of its operations, where it is this row.
    fn without(&self, lack: Option<(&Self, &String)>) -> Self {
        let mut row = self.clone();
        if let Some((of, operation)) = lack
            && of == self
        {
            row.operations.retain(|it| it != operation);
        }
        row
    }

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
                    "groups that begin with" => On::Groups(name.to_owned()),
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
        let known = [&COMMANDS[..], &[DELETING, LINKS]].concat();
        let known = known.contains(&command.as_str());
        ensure!(known, "no command: {line}");
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
