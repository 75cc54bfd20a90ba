//! What kind of brokers a cluster has: which releases of Confluent Platform they can be of, and what keeps their metadata.
//!
//! No API says it. Confluent's brokers have configs of their own (`confluent.…`), which no others have; and each release is one of
//! Apache Kafka: 7.0 is 3.0, 7.9 is 3.9, 8.0 is 4.0 and so on. Newer Kafka knows newer versions of Fetch, so the newest that a broker
//! offers says between which releases it is. A release that is built ahead of Kafka's may look newer than it is, and none looks older:
//! what a release certainly lacks can be told, what it has can not. Confluent Cloud shows no more than that it is new.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Major and minor number.
type Release = (u8, u8);

/// The first release that may be behind each newest version of Fetch (KIP-516, KIP-903, KIP-951, KIP-853, KIP-1166).
const BY_FETCH: [(i16, Release); 6] = [
    (0, (5, 5)),
    (13, (7, 1)),
    (15, (7, 5)),
    (16, (7, 7)),
    (17, (7, 9)),
    (18, (8, 1)),
];

/// The releases before the first of each line after the first one.
const LAST_OF_7: Release = (7, 9);

/// A span of releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Platform {
    /// As far as the protocol tells.
    pub oldest: Release,
    /// Surely no newer; `None` where nothing newer can be told apart.
    pub newest: Option<Release>,
}

impl Platform {
    /// By the configs of a broker and the newest version of Fetch that it offers. `None` for brokers that are not Confluent's, or do
    /// not show their configs.
    pub fn of<'c>(mut broker_configs: impl Iterator<Item = &'c str>, fetch: i16) -> Option<Self> {
        if !broker_configs.any(|key| key.starts_with("confluent.")) {
            return None;
        }
        let at = BY_FETCH.iter().rposition(|(since, _)| fetch >= *since)?;
        let newest = BY_FETCH.get(at + 1).map(|(_, next)| before(*next));
        Some(Self {
            oldest: BY_FETCH[at].1,
            newest,
        })
    }

    /// Whether all that it can be is older than this release.
    pub fn is_before(self, release: Release) -> bool {
        self.newest.is_some_and(|newest| newest < release)
    }
}

/// What a cluster's brokers show of themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brokers {
    /// Where they are Confluent's.
    pub platform: Option<Platform>,
    /// Whether that is certain.
    pub uses_zookeeper: bool,
}

/// Whether a broker with these configs keeps its metadata in ZooKeeper: it has an address of it, and no role of its own.
pub fn uses_zookeeper<'c>(configs: impl Iterator<Item = (&'c str, Option<&'c str>)>) -> bool {
    let (mut has_address, mut has_role) = (false, false);
    for (key, value) in configs {
        let is_set = value.is_some_and(|value| !value.is_empty());
        has_address |= key == "zookeeper.connect" && is_set;
        has_role |= key == "process.roles" && is_set;
    }
    has_address && !has_role
}

/// The release before one that is the first of its kind.
fn before((major, minor): Release) -> Release {
    match minor {
        0 => LAST_OF_7,
        _ => (major, minor - 1),
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.oldest;
        match self.newest {
            // The oldest that the protocol tells is no release of which anything else is known.
            Some((major, minor)) if self.oldest == BY_FETCH[0].1 => {
                write!(f, "Confluent Platform {major}.{minor} or older")
            }
            Some(newest) if newest == self.oldest => {
                write!(f, "Confluent Platform {major}.{minor}")
            }
            Some((to, minor_to)) => {
                write!(f, "Confluent Platform {major}.{minor} to {to}.{minor_to}")
            }
            None => write!(f, "Confluent Platform {major}.{minor} or newer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFLUENT: [&str; 2] = ["num.partitions", "confluent.cluster.link.enable"];

    fn platform(fetch: i16) -> Platform {
        Platform::of(CONFLUENT.into_iter(), fetch).expect("a broker of Confluent's")
    }

    #[test]
    fn releases_are_told_by_the_newest_fetch() {
        let shown: Vec<String> = [11, 12, 13, 14, 15, 16, 17, 18, 19]
            .map(|fetch| platform(fetch).to_string())
            .to_vec();
        assert_eq!(
            shown,
            [
                "Confluent Platform 7.0 or older",
                "Confluent Platform 7.0 or older",
                "Confluent Platform 7.1 to 7.4",
                "Confluent Platform 7.1 to 7.4",
                "Confluent Platform 7.5 to 7.6",
                "Confluent Platform 7.7 to 7.8",
                "Confluent Platform 7.9 to 8.0",
                "Confluent Platform 8.1 or newer",
                "Confluent Platform 8.1 or newer",
            ]
        );
    }

    /// A plan that refuses what would have worked is worse than one that lets brokers refuse.
    #[test]
    fn only_what_is_certain_counts_as_older() {
        assert!(platform(12).is_before((7, 1)) && platform(14).is_before((7, 5)));
        assert!(!platform(13).is_before((7, 1)) && !platform(15).is_before((7, 5)));
        assert!(!platform(18).is_before((99, 0)));
    }

    #[test]
    fn a_broker_with_a_role_of_its_own_needs_no_zookeeper() {
        let of = |configs: &[(&'static str, Option<&'static str>)]| {
            uses_zookeeper(configs.iter().copied())
        };
        let zookeeper = ("zookeeper.connect", Some("z:2181"));
        assert!(of(&[zookeeper]) && of(&[zookeeper, ("process.roles", Some(""))]));
        // While a cluster moves to KRaft, both are set.
        assert!(!of(&[zookeeper, ("process.roles", Some("broker"))]));
        assert!(!of(&[
            ("zookeeper.connect", None),
            ("process.roles", Some("broker"))
        ]));
        assert!(!of(&[]));
    }

    /// Apache Kafka, other vendors' brokers, and brokers that do not show their configs.
    #[test]
    fn nothing_is_known_of_other_brokers() {
        assert_eq!(Platform::of(["num.partitions"].into_iter(), 12), None);
        assert_eq!(Platform::of(std::iter::empty(), 12), None);
    }
}
