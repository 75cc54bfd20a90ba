//! Comparing live topic configs with wanted ones, by where a value comes from.
//!
//! A wanted value that the topic merely inherits is a difference: the file pins it, so that it stays
//! when somebody changes the cluster's default. The other way round, an inherited value is never
//! taken for the topic's own, so that a changed cluster default makes no difference by itself.

use std::collections::BTreeMap;

use super::model::{Change, Origin, Place, Side};
use super::reason::NotSynced;
use super::sync::{DesiredConfig, never_synced};
use crate::observe::model::{ConfigSource, ConfigValue, Configs, InheritedValue};

/// What becomes of keys that the topic has set and nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Owned topics: the file speaks only of the keys that it names.
    Leave,
    /// Mirrors: their configs follow the source and the file exactly, but for what belongs to one cluster's operation.
    Reset,
    /// Owned topics whose file says so: nothing but a reassignment's throttles stays.
    ResetAll,
}

impl Others {
    /// Whether a key that is set on the topic and that nobody asked for goes.
    fn reset(self, key: &str) -> bool {
        match self {
            Self::Leave => false,
            Self::Reset => never_synced(key).is_none(),
            Self::ResetAll => never_synced(key) != Some(NotSynced::Throttle),
        }
    }
}

/// Differences as shown, and as sent to the broker (`None` resets).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigDiff {
    pub changes: Vec<Change>,
    pub alterations: Vec<(String, Option<String>)>,
}

/// What has to change for `live` to be as wanted. In the order of the keys.
pub fn config_diff(
    live: &Configs,
    wanted: &BTreeMap<String, DesiredConfig>,
    others: Others,
    place: impl Fn(&str) -> Option<Place>,
) -> ConfigDiff {
    let mut diff = ConfigDiff::default();
    for (key, want) in wanted {
        let has = live.get(key);
        if has.is_some_and(|has| is_own(has) && has.value.as_ref() == Some(&want.value)) {
            continue;
        }
        diff.changes.push(Change {
            attribute: attribute(key),
            old: has.map(|has| Side::new(has.value.clone(), origin(has.source))),
            new: Some(Side::new(want.value.clone(), want.origin)),
            asked_by: place(key),
        });
        diff.alterations
            .push((key.clone(), Some(want.value.clone())));
    }
    if others != Others::Leave {
        for (key, has) in live {
            let foreign = is_own(has) && !has.read_only && !wanted.contains_key(key);
            if !foreign || !others.reset(key) {
                continue;
            }
            diff.changes.push(Change {
                attribute: attribute(key),
                old: Some(Side::new(has.value.clone(), Origin::Topic)),
                new: has
                    .inherited
                    .as_ref()
                    .map(|inherited| Side::new(inherited.value.clone(), origin(inherited.source))),
                asked_by: place(key),
            });
            diff.alterations.push((key.clone(), None));
        }
        diff.changes.sort_by(|a, b| a.attribute.cmp(&b.attribute));
        diff.alterations.sort();
    }
    diff
}

/// The configs of a topic once it has been created with these.
pub fn configs_when_created<'a>(
    defaults: &Configs,
    own: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Configs {
    let mut configs = defaults.clone();
    let own: Vec<_> = own
        .into_iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect();
    alter(&mut configs, &own);
    configs
}

/// What `configs` will be after the alterations.
pub fn alter(configs: &mut Configs, alterations: &[(String, Option<String>)]) {
    for (key, value) in alterations {
        let before = configs.remove(key);
        let inherited = match before {
            Some(before) if is_own(&before) => before.inherited,
            Some(before) => Some(InheritedValue {
                value: before.value,
                source: before.source,
            }),
            None => None,
        };
        let after = match (value, &inherited) {
            (Some(value), _) => ConfigValue {
                value: Some(value.clone()),
                source: ConfigSource::Topic,
                read_only: false,
                sensitive: false,
                inherited,
            },
            (None, Some(from)) => ConfigValue {
                value: from.value.clone(),
                source: from.source,
                read_only: false,
                sensitive: false,
                inherited: None,
            },
            (None, None) => continue,
        };
        configs.insert(key.clone(), after);
    }
}

pub(super) fn is_own(config: &ConfigValue) -> bool {
    config.source == ConfigSource::Topic
}

pub(super) fn attribute(key: &str) -> String {
    format!("config.{key}")
}

pub(super) fn origin(source: ConfigSource) -> Origin {
    match source {
        ConfigSource::Topic => Origin::Topic,
        ConfigSource::DynamicBroker => Origin::Broker,
        ConfigSource::DynamicDefaultBroker => Origin::ClusterDefault,
        ConfigSource::StaticBroker => Origin::StaticBroker,
        ConfigSource::Default => Origin::Default,
        ConfigSource::Other => Origin::Inherited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(value: &str, source: ConfigSource) -> ConfigValue {
        ConfigValue {
            value: Some(value.to_owned()),
            source,
            read_only: false,
            sensitive: false,
            inherited: None,
        }
    }

    fn own(own: &str, inherited: &str, source: ConfigSource) -> ConfigValue {
        ConfigValue {
            inherited: Some(InheritedValue {
                value: Some(inherited.to_owned()),
                source,
            }),
            ..value(own, ConfigSource::Topic)
        }
    }

    fn wanted(entries: &[(&str, &str)]) -> BTreeMap<String, DesiredConfig> {
        entries
            .iter()
            .map(|(key, value)| {
                (
                    (*key).to_owned(),
                    DesiredConfig {
                        value: (*value).to_owned(),
                        origin: Origin::File,
                    },
                )
            })
            .collect()
    }

    fn diff(live: &[(&str, ConfigValue)], want: &[(&str, &str)], others: Others) -> ConfigDiff {
        let live = live
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
        config_diff(&live, &wanted(want), others, |_| None)
    }

    #[test]
    fn a_value_equal_to_the_inherited_one_is_pinned_once_and_then_quiet() {
        let inherits = [("retention.ms", value("1000", ConfigSource::Default))];
        let pinned = [("retention.ms", own("1000", "1000", ConfigSource::Default))];
        let want = [("retention.ms", "1000")];
        let first = diff(&inherits, &want, Others::Leave);
        assert_eq!(
            first.changes,
            [Change {
                attribute: "config.retention.ms".to_owned(),
                old: Some(Side::new("1000", Origin::Default)),
                new: Some(Side::new("1000", Origin::File)),
                asked_by: None,
            }]
        );
        assert_eq!(diff(&pinned, &want, Others::Leave), ConfigDiff::default());
    }

    #[test]
    fn a_changed_cluster_default_is_no_difference_for_topics_that_inherit() {
        let live = [(
            "retention.ms",
            value("5", ConfigSource::DynamicDefaultBroker),
        )];
        assert_eq!(diff(&live, &[], Others::Reset), ConfigDiff::default());
    }

    #[test]
    fn keys_nobody_asked_for_are_reset_on_mirrors_and_left_on_owned_topics() {
        let live = [
            (
                "retention.ms",
                own("5", "1000", ConfigSource::DynamicDefaultBroker),
            ),
            (
                "follower.replication.throttled.replicas",
                own("*", "", ConfigSource::Default),
            ),
        ];
        assert_eq!(diff(&live, &[], Others::Leave), ConfigDiff::default());
        let reset = diff(&live, &[], Others::Reset);
        assert_eq!(
            reset.changes,
            [Change {
                attribute: "config.retention.ms".to_owned(),
                old: Some(Side::new("5", Origin::Topic)),
                new: Some(Side::new("1000", Origin::ClusterDefault)),
                asked_by: None,
            }]
        );
        assert_eq!(reset.alterations, [("retention.ms".to_owned(), None)]);
    }

    #[test]
    fn altering_and_resetting_brings_back_what_was_inherited() {
        let mut configs: Configs =
            [("retention.ms".to_owned(), value("7", ConfigSource::Default))].into();
        let before = configs.clone();
        alter(
            &mut configs,
            &[("retention.ms".to_owned(), Some("9".to_owned()))],
        );
        assert_eq!(configs["retention.ms"].source, ConfigSource::Topic);
        alter(&mut configs, &[("retention.ms".to_owned(), None)]);
        assert_eq!(configs, before);
    }
}
