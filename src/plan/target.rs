//! A plan narrowed to some of its entries (`--target`).
//!
//! A target is an address, or one with a glob for the topic. A cluster stands for the topics that the file owns there, a link
//! for its mirrors too. What an entry depends on comes along, so that what is left can be carried out.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Address, Plan};
use crate::nearest::nearest;
use crate::topology::selector::TopicSelector;

/// A target that names nothing in the plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("target `{target}` is no address")]
    NoAddress { target: String },
    #[error("target `{target}` has no valid glob: {problem}")]
    BadGlob { target: String, problem: String },
    #[error("nothing in this plan has the address `{target}`")]
    Unknown {
        target: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
}

/// Leaves in the plan what the targets name and what that depends on. Without targets the plan is left as it is.
///
/// # Errors
/// A target that is none, or that names nothing.
pub fn narrow(plan: &mut Plan, targets: &[String]) -> Result<(), TargetError> {
    if targets.is_empty() {
        return Ok(());
    }
    let mut named: BTreeSet<Address> = BTreeSet::new();
    for target in targets {
        let parsed = Target::parse(target)?;
        let taken: Vec<Address> = plan
            .entries
            .iter()
            .map(|entry| &entry.address)
            .filter(|address| parsed.takes(address))
            .cloned()
            .collect();
        if taken.is_empty() {
            let known: Vec<String> = plan
                .entries
                .iter()
                .map(|entry| entry.address.to_string())
                .collect();
            let nearest = nearest(target, known.iter().map(String::as_str)).map(str::to_owned);
            return Err(TargetError::Unknown {
                target: target.clone(),
                nearest,
            });
        }
        named.extend(taken);
    }
    let needed = with_dependencies(plan, named);
    plan.narrow(|address| needed.contains(address));
    plan.targets = targets.to_vec();
    Ok(())
}

fn with_dependencies(plan: &Plan, named: BTreeSet<Address>) -> BTreeSet<Address> {
    let depends_on: BTreeMap<&Address, &[Address]> = plan
        .entries
        .iter()
        .map(|entry| (&entry.address, entry.depends_on.as_slice()))
        .collect();
    let mut open: Vec<Address> = named.iter().cloned().collect();
    let mut needed = named;
    while let Some(address) = open.pop() {
        for on in depends_on.get(&address).copied().unwrap_or_default() {
            if needed.insert(on.clone()) {
                open.push(on.clone());
            }
        }
    }
    needed
}

#[derive(Debug)]
enum Target {
    One(Address),
    Cluster(String),
    Link(String),
    Topics {
        cluster: String,
        topics: TopicSelector,
    },
    Mirrors {
        link: String,
        topics: TopicSelector,
    },
}

impl Target {
    fn parse(target: &str) -> Result<Self, TargetError> {
        let no_address = |_| TargetError::NoAddress {
            target: target.to_owned(),
        };
        let glob = |topic: &str| {
            TopicSelector::from_text(topic).map_err(|error| TargetError::BadGlob {
                target: target.to_owned(),
                problem: error.to_string(),
            })
        };
        Ok(match target.parse().map_err(no_address)? {
            Address::Cluster(cluster) => Self::Cluster(cluster),
            Address::Link(link) => Self::Link(link),
            Address::Topic { cluster, topic } => Self::Topics {
                cluster,
                topics: glob(&topic)?,
            },
            Address::Mirror { link, source_topic } => Self::Mirrors {
                link,
                topics: glob(&source_topic)?,
            },
            address @ Address::Control(_) => Self::One(address),
        })
    }

    fn takes(&self, address: &Address) -> bool {
        match (self, address) {
            (Self::One(one), _) => one == address,
            (
                Self::Cluster(name),
                Address::Cluster(cluster)
                | Address::Control(cluster)
                | Address::Topic { cluster, .. },
            ) => name == cluster,
            (Self::Link(name), Address::Link(link) | Address::Mirror { link, .. }) => name == link,
            (
                Self::Topics {
                    cluster: name,
                    topics,
                },
                Address::Topic { cluster, topic },
            ) => name == cluster && topics.matches(topic),
            (Self::Mirrors { link: name, topics }, Address::Mirror { link, source_topic }) => {
                name == link && topics.matches(source_topic)
            }
            _ => false,
        }
    }
}
