//! `kmirror mirror reverse-and-start`, `reverse-and-pause` and `truncate-and-restore`: looks, asks, and waits for both clusters.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::apply::ask;
use crate::cli::link::{Format, document};
use crate::cli::plan::no_link;
use crate::cli::{CliError, ErrorKind, ExitCode, Style, Ui};
use crate::observe::Clusters;
use crate::report::{clean, turn as words};
use crate::rest::links::LinkApi;
use crate::rest::turn::{Found, Objection, Side, Standing, Turn, Turned, carry_out, examine};
use crate::topology::Topology;
use crate::topology::engines::Engine;
use crate::topology::model::Link;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Topology file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Name of a link in the file
    #[arg(value_name = "LINK")]
    link: String,

    /// Names of topics
    #[arg(value_name = "TOPIC", required = true)]
    topics: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,

    /// How long to wait until both clusters are done, such as 30s or 10min
    #[arg(long, value_name = "TIME", default_value = "5min", value_parser = humantime::parse_duration)]
    wait: Duration,

    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, clap::Args)]
pub struct Deleting {
    #[command(flatten)]
    args: Args,

    /// Let records be deleted that only the former source has; each topic is confirmed by name
    #[arg(long)]
    allow_delete: bool,
}

/// Deletes what the former source alone has, where that is allowed, and makes it a mirror.
///
/// # Errors
/// As [`run`], and where deletions are not allowed.
pub async fn restore(deleting: Deleting, ui: &Ui) -> Result<ExitCode, CliError> {
    let may_delete = deleting.allow_delete;
    go(Turn::TruncateAndRestore, deleting.args, may_delete, ui).await
}

/// Turns mirrors round.
///
/// # Errors
/// Mistakes in the file, a link that is not bidirectional, clusters that do not answer, refusals, and topics that are not done in time.
pub async fn run(turn: Turn, args: Args, ui: &Ui) -> Result<ExitCode, CliError> {
    go(turn, args, true, ui).await
}

/// What is asked for, and of whom.
struct Errand<'t> {
    turn: Turn,
    /// Its destination is asked.
    link: &'t Link,
    /// The other direction.
    other: &'t Link,
    topics: Vec<String>,
}

impl Errand<'_> {
    /// The link that the mirrors belong to before it, and after it.
    fn owners(&self) -> (&Link, &Link) {
        match self.turn {
            Turn::ReverseAndStart | Turn::ReverseAndPause => (self.link, self.other),
            Turn::TruncateAndRestore => (self.other, self.link),
        }
    }
}

async fn go(turn: Turn, args: Args, may_delete: bool, ui: &Ui) -> Result<ExitCode, CliError> {
    let topology = ui.load_topology(&args.file)?;
    let (link, other) = declared(turn, &args.link, &topology)?;
    let mut topics = args.topics;
    let mut seen = std::collections::BTreeSet::new();
    topics.retain(|topic| seen.insert(topic.clone()));
    let errand = Errand {
        turn,
        link,
        other,
        topics,
    };
    let clusters = Clusters::connect_to_plan(&topology).await?;
    if [&link.destination, &link.source]
        .iter()
        .any(|name| !clusters.has(name))
    {
        return Err(clusters.unreached().into());
    }
    let (here, there) = (
        api(&clusters, &link.destination)?,
        api(&clusters, &link.source)?,
    );
    let local = Side {
        cluster: &link.destination,
        api: &here,
    };
    let remote = Side {
        cluster: &link.source,
        api: &there,
    };
    if turn == Turn::TruncateAndRestore && clusters.brokers(local.cluster).await.uses_zookeeper {
        let cluster = local.cluster.to_owned();
        return Err(impossible(turn, vec![Objection::NeedsKraft { cluster }]));
    }
    let found = look(&errand, &local, &remote).await?;
    ui.say(&words::before(turn, link, &found));
    if !may_delete {
        return Err(CliError::new(
            ErrorKind::Blocked,
            "nothing was done: records would be deleted",
        )
        .with_hint("to let that happen, say --allow-delete"));
    }
    if !args.yes {
        confirm(&errand, ui).await?;
    }
    let tell = |topic: &str, standing: &Standing| {
        ui.say(&words::standing(link, topic, standing));
    };
    let turned = carry_out(
        turn,
        link.broker_name(),
        &local,
        &remote,
        &errand.topics,
        args.wait,
        &tell,
    )
    .await
    .map_err(|error| {
        CliError::new(ErrorKind::Refused, format!("{} failed", turn.name()))
            .with_detail(clean(&error.to_string()))
            .with_hint("kmirror mirror list FILE shows how the mirrors stand")
    })?;
    conclude(&errand, &found, &turned, args.format, ui)
}

fn api(clusters: &Clusters, cluster: &str) -> Result<LinkApi, CliError> {
    let api = clusters.link_api(cluster);
    api.map_err(|error| {
        let message = format!("the REST API of cluster {cluster} cannot be asked");
        CliError::new(ErrorKind::Refused, message).with_detail(clean(&error.to_string()))
    })
}

/// The link that was named, and the other direction of it.
fn declared<'t>(
    turn: Turn,
    name: &str,
    topology: &'t Topology,
) -> Result<(&'t Link, &'t Link), CliError> {
    let shown = clean(name);
    let action = turn.name();
    let Some(link) = topology.links.get(name) else {
        let links = topology.links.values();
        let directions: Vec<String> = links
            .filter(|link| link.brokers.bidirectional.is_some() && link.broker_name() == name)
            .map(|link| format!("`{}` (to {})", clean(&link.name), clean(&link.destination)))
            .collect();
        return Err(match directions.is_empty() {
            true => no_link(action, name, topology),
            false => CliError::new(
                ErrorKind::Usage,
                format!("{action}: `{shown}` is what brokers call the link, both ways"),
            )
            .with_hint(format!(
                "name the direction, as the file does: {}",
                directions.join(" or ")
            )),
        });
    };
    if link.engine != Engine::ClusterLink {
        return Err(CliError::new(
            ErrorKind::Usage,
            format!(
                "{action}: link `{shown}` is of the built-in engine, and only brokers turn mirrors of a file's link round"
            ),
        )
        .with_hint(
            "promote the mirrors (state = \"promoted\"), and declare a link the other way for what comes after",
        ));
    }
    let other = link.brokers.bidirectional.as_ref().and_then(|shared| {
        topology.links.values().find(|other| {
            let own = other.brokers.bidirectional.as_ref();
            other.name != link.name && own.is_some_and(|own| own.value == shared.value)
        })
    });
    match other {
        Some(other) => Ok((link, other)),
        None => Err(CliError::new(
            ErrorKind::Usage,
            format!("{action}: link `{shown}` is not bidirectional"),
        )
        .with_hint(
            "brokers turn mirrors round only over a link that was made with link.mode=BIDIRECTIONAL: bidirectional = \"NAME\" in two links",
        )),
    }
}

async fn look(
    errand: &Errand<'_>,
    local: &Side<'_>,
    remote: &Side<'_>,
) -> Result<Vec<Found>, CliError> {
    let link = errand.link.broker_name();
    let found = examine(errand.turn, link, local, remote, &errand.topics).await;
    let found = found.map_err(|error| {
        CliError::new(
            ErrorKind::Refused,
            "nothing was done: the servers do not tell how the mirrors stand",
        )
        .with_detail(clean(&error.to_string()))
    })?;
    found.map_err(|objections| impossible(errand.turn, objections))
}

fn impossible(turn: Turn, objections: Vec<Objection>) -> CliError {
    let message = format!("nothing was done: {} is not possible", turn.name());
    let mut error = CliError::new(ErrorKind::Refused, message);
    for objection in objections {
        error = error.with_detail(clean(&objection.to_string()));
    }
    error
}

/// Goes on only for what somebody typed: where records go, the name of each topic, then `yes`.
async fn confirm(errand: &Errand<'_>, ui: &Ui) -> Result<(), CliError> {
    let nobody = |problem: &str| {
        CliError::new(
            ErrorKind::Usage,
            format!("nothing was done: {problem}, so nobody can confirm it"),
        )
        .with_hint("to do it without a question, say --yes")
    };
    if !ui.is_interactive() {
        return Err(nobody("stdin is not a terminal"));
    }
    let mut questions = Vec::new();
    if errand.turn == Turn::TruncateAndRestore {
        for topic in &errand.topics {
            let name = clean(&format!("{}/{topic}", errand.link.destination));
            let question = format!("\nTo delete records of {name} for good, type its name:");
            questions.push((question, name));
        }
    }
    let question = format!(
        "\n{}? Only `yes` is taken for an answer:",
        words::question(errand.turn)
    );
    questions.push((question, "yes".to_owned()));
    for (question, wanted) in questions {
        if ask(ui, question, nobody).await? != wanted {
            return Err(CliError::new(
                ErrorKind::Usage,
                format!("nothing was done: the answer was not `{wanted}`"),
            ));
        }
    }
    Ok(())
}

/// What programs read of it.
#[derive(Serialize)]
struct Document<'d> {
    action: Turn,
    /// The link of the file that the mirrors belong to now.
    belongs_to: &'d str,
    cluster: &'d str,
    remote_cluster: &'d str,
    topics: Vec<TopicDocument<'d>>,
}

#[derive(Serialize)]
struct TopicDocument<'d> {
    mirror_topic_name: &'d str,
    /// Before it.
    lag: Option<u64>,
    mirror_status: Option<String>,
    remote_mirror_status: Option<String>,
    messages_truncated: Option<u64>,
    error: Option<&'d str>,
}

fn conclude(
    errand: &Errand<'_>,
    found: &[Found],
    turned: &[Turned],
    format: Format,
    ui: &Ui,
) -> Result<ExitCode, CliError> {
    let (former, owner) = errand.owners();
    if format == Format::Json {
        let topics = turned.iter().map(|it| {
            let before = found.iter().find(|found| found.topic == it.topic);
            let standing = it.standing.as_ref();
            TopicDocument {
                mirror_topic_name: &it.topic,
                lag: before.and_then(|found| found.lag),
                mirror_status: standing.and_then(|it| Some(it.local.as_ref()?.to_string())),
                remote_mirror_status: standing.and_then(|it| Some(it.remote.as_ref()?.to_string())),
                messages_truncated: it.truncated,
                error: it.failure.as_deref(),
            }
        });
        ui.document(&document(&Document {
            action: errand.turn,
            belongs_to: &owner.name,
            cluster: &errand.link.destination,
            remote_cluster: &errand.link.source,
            topics: topics.collect(),
        })?)?;
    }
    let done: Vec<&Turned> = turned.iter().filter(|it| it.failure.is_none()).collect();
    for it in &done {
        let line = words::done(errand.turn, errand.link, it);
        ui.say(&ui.paint_err(Style::Green, &line));
    }
    let names: Vec<&str> = done.iter().map(|it| it.topic.as_str()).collect();
    if !names.is_empty() {
        ui.say(&words::file(errand.turn, former, owner, &names));
    }
    if done.len() == turned.len() {
        return Ok(ExitCode::Ok);
    }
    let message = format!(
        "{} of {} topics are not done",
        turned.len() - done.len(),
        turned.len()
    );
    let mut error = CliError::new(ErrorKind::Refused, message);
    for it in turned {
        if let Some(failure) = &it.failure {
            error = error.with_detail(clean(&format!("{}: {failure}", it.topic)));
        }
    }
    Err(error.with_hint("kmirror mirror list FILE shows how the mirrors stand"))
}
