//! MirrorMaker 2: `mm2.properties` of its dedicated mode, and its connectors on a Connect cluster.
//!
//! Both come down to flows from one cluster to another, each with a table of connector settings.
//! In `mm2.properties` a flow's own settings win over those for all flows, and what begins with a
//! cluster's alias belongs to that cluster. What becomes of each key is in [`keys`], and
//! docs/import.md has it as a table.

mod dedicated;
mod keys;
mod link;

use super::client::Clusters;
use super::input::Input;
use super::json::Node;
use super::model::{Draft, Finding, LinkDraft, Place};
use super::settings::{Settings, is_plain_name};
use super::{ImportError, connect};

const SOURCE: &str = "org.apache.kafka.connect.mirror.MirrorSourceConnector";
const CHECKPOINT: &str = "org.apache.kafka.connect.mirror.MirrorCheckpointConnector";
const HEARTBEAT: &str = "org.apache.kafka.connect.mirror.MirrorHeartbeatConnector";

/// A direction in which data is copied.
struct Flow {
    name: String,
    source: String,
    target: String,
    /// Whether copies come back: the target is a source, too.
    returns: bool,
    /// What its own settings begin with, where there are others for all flows.
    own: Option<String>,
    /// Of the connector, without what reaching the clusters takes.
    settings: Settings,
    source_client: Settings,
    target_client: Settings,
    paused: bool,
    place: Place,
}

/// The topology of files, each of them properties or connectors in JSON.
///
/// # Errors
/// A file is neither, or nothing is copied according to it.
pub fn read(inputs: &[Input]) -> Result<Draft, ImportError> {
    let files: Vec<_> = inputs
        .iter()
        .map(|input| input.path.display().to_string())
        .collect();
    let mut draft = Draft {
        header: vec![
            format!("What MirrorMaker 2 does, made by `kmirror import` from {}.", files.join(", ")),
            String::new(),
            "A mirror begins where its link's `start` says: positions of MirrorMaker 2 are not taken over. Stop it \
             first; a topic at the destination that holds records already is blocked by `kmirror plan`, which says what \
             to do."
                .to_owned(),
        ],
        ..Draft::default()
    };
    let mut flows = Vec::new();
    let mut groups = Vec::new();
    for input in inputs {
        if is_json(input) {
            connectors(input, &mut draft, &mut flows, &mut groups)?;
        } else {
            flows.extend(dedicated::flows(input, &mut draft)?);
        }
    }
    if flows.is_empty() {
        let place = inputs
            .first()
            .map_or(Place::CommandLine, |input| input.place(0));
        return Err(
            ImportError::new(place, "no data is copied according to this")
                .hint("a MirrorSourceConnector is what copies data"),
        );
    }
    let between = |flow: &Flow| (flow.source.clone(), flow.target.clone());
    let ends: Vec<_> = flows.iter().map(between).collect();
    let mut clusters = Clusters::default();
    for mut flow in flows {
        flow.returns = ends.iter().any(|(source, _)| *source == flow.target);
        let ends = between(&flow);
        let mut link = add(flow, &mut draft, &mut clusters);
        // What the checkpoint connector of the same flow does is about this link.
        for (of, finding) in &groups {
            if *of == ends {
                link.findings.push(Finding::clone(finding));
            }
        }
        draft.add_link(link);
    }
    let told: Vec<Finding> = groups
        .into_iter()
        .filter(|(of, _)| !ends.contains(of))
        .map(|(_, finding)| finding)
        .collect();
    draft.findings.extend(told);
    Ok(draft)
}

fn is_json(input: &Input) -> bool {
    let text = input
        .bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&input.bytes);
    let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
    matches!(first, Some(b'{' | b'['))
}

/// Adds the clusters of a flow and makes its link.
fn add(flow: Flow, draft: &mut Draft, clusters: &mut Clusters) -> LinkDraft {
    let mut ends = [String::new(), String::new()];
    for (end, (alias, settings)) in ends.iter_mut().zip([
        (&flow.source, &flow.source_client),
        (&flow.target, &flow.target_client),
    ]) {
        *end = clusters.add(draft, alias, settings.clone(), &flow.place);
    }
    let [source, destination] = ends;
    link::read(flow, &source, &destination, draft)
}

/// The flows of connectors, and what their checkpoint connectors do.
fn connectors(
    input: &Input,
    draft: &mut Draft,
    flows: &mut Vec<Flow>,
    groups: &mut Vec<((String, String), Finding)>,
) -> Result<(), ImportError> {
    let root = Node::read(input)?;
    for connector in connect::connectors(&root, input)? {
        let mut settings = connector.settings;
        let classes = [SOURCE, CHECKPOINT, HEARTBEAT];
        let class =
            connect::expect_class(&mut settings, &classes, &connector.place, "mirrormaker2")?;
        let mut alias = |key: &str, otherwise: &str| {
            let alias = settings.take(key).map(|alias| alias.value);
            alias
                .filter(|alias| is_plain_name(alias))
                .unwrap_or_else(|| otherwise.to_owned())
        };
        let source = alias("source.cluster.alias", "source");
        let target = alias("target.cluster.alias", "target");
        if class == HEARTBEAT {
            let why = "whether a link copies is seen without heartbeats";
            let class = Finding::unneeded("MirrorHeartbeatConnector", connector.place, why);
            draft.findings.push(class);
            continue;
        }
        if class == CHECKPOINT {
            let found = link::groups(&mut settings);
            groups.extend(
                found
                    .into_iter()
                    .map(|finding| ((source.clone(), target.clone()), finding)),
            );
            continue;
        }
        let (source_client, target_client) = clients(&mut settings);
        let name = settings.take("name").map(|name| name.value);
        let name = connector.name.or(name).filter(|name| is_plain_name(name));
        flows.push(Flow {
            name: name.unwrap_or_else(|| format!("{source}-to-{target}")),
            source,
            target,
            returns: false,
            own: None,
            settings,
            source_client,
            target_client,
            paused: connector.paused,
            place: connector.place,
        });
    }
    Ok(())
}

/// Takes what is said about connections to the two clusters.
fn clients(settings: &mut Settings) -> (Settings, Settings) {
    let mut source = settings.take_prefixed("source.cluster.");
    let mut target = settings.take_prefixed("target.cluster.");
    for prefix in ["source.consumer.", "source.admin."] {
        source.fill(&connection(settings, prefix));
    }
    for prefix in ["producer.override.", "target.producer.", "target.admin."] {
        target.fill(&connection(settings, prefix));
    }
    // What is said without a cluster holds for both.
    let both = settings.take_where(|setting| is_connection(&setting.key));
    source.fill(&both);
    target.fill(&both);
    (source, target)
}

/// Takes what of a client's own settings is about its connection.
fn connection(settings: &mut Settings, prefix: &str) -> Settings {
    let mut taken = settings.take_where(|setting| {
        let key = setting.key.strip_prefix(prefix);
        key.is_some_and(|key| is_connection(key) || key == "bootstrap.servers")
    });
    taken.take_prefixed(prefix)
}

fn is_connection(key: &str) -> bool {
    ["security.", "ssl.", "sasl."]
        .iter()
        .any(|family| key.starts_with(family))
}
