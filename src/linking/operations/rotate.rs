//! Secrets of links sealed anew, with another key.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::{Desk, Refusal};
use crate::control::records::{LinkConfigsRecord, StoredConfig};
use crate::control::{ControlState, Write};
use crate::kafka::Client;
use crate::linking::seal::{Key, Unreadable};

/// What was done on one cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub cluster: String,
    /// Links whose secrets were sealed anew.
    pub links: usize,
    /// Links whose secrets were sealed with the new key already.
    pub done_before: usize,
}

/// Seals the secrets of all links on these clusters with `new`: one transaction a cluster, and none at all unless every secret can
/// be opened with `old` or `new`.
///
/// # Errors
/// A secret that neither key opens, or what went wrong on the way. Asked for again, it goes on where it stopped.
pub async fn rotate(
    clients: &[Client],
    old: Option<&Key>,
    new: &Key,
    holder: &str,
) -> Result<Vec<Rotated>, Refusal> {
    // In the order in which everybody locks several clusters; two names of one cluster count once.
    let by_id: BTreeMap<String, &Client> = clients
        .iter()
        .map(|client| (client.cluster_id(), client))
        .collect();
    let mut desks = Vec::new();
    for client in by_id.into_values() {
        let desk = Desk::new((*client).clone(), None, holder);
        let state = desk.state().await?;
        changes(&state, old, new)?;
        desks.push((client.cluster_name().to_owned(), desk, state));
    }
    let mut rotated = Vec::new();
    for (cluster, desk, state) in desks {
        let done_before = with_secrets(&state) - changes(&state, old, new)?.len();
        let mut links = 0;
        // A cluster that holds nothing is not even locked.
        if with_secrets(&state) > done_before {
            links = desk
                .change(|state| {
                    let changes = changes(state, old, new)?;
                    let count = changes.len();
                    let writes = changes.into_iter();
                    Ok((
                        writes
                            .map(|(id, record)| Write::LinkConfigs(id, record))
                            .collect(),
                        count,
                    ))
                })
                .await?;
        }
        rotated.push(Rotated {
            cluster,
            links,
            done_before,
        });
    }
    Ok(rotated)
}

fn with_secrets(state: &ControlState) -> usize {
    let has_secrets = |record: &&LinkConfigsRecord| {
        let mut values = record.configs.values();
        values.any(|value| matches!(value, StoredConfig::Sealed { .. }))
    };
    state.configs.values().filter(has_secrets).count()
}

/// The records that change.
fn changes(
    state: &ControlState,
    old: Option<&Key>,
    new: &Key,
) -> Result<Vec<(Uuid, LinkConfigsRecord)>, Unreadable> {
    let mut changes = Vec::new();
    for (id, record) in &state.configs {
        let mut changed = record.clone();
        for (name, value) in &mut changed.configs {
            let StoredConfig::Sealed { sealed } = value else {
                continue;
            };
            if sealed.key == new.id() {
                // It has to be readable all the same.
                Key::open(Some(new), *id, name, sealed)?;
                continue;
            }
            let secret = Key::open(old, *id, name, sealed)?;
            *sealed = new.seal(*id, name, &secret);
        }
        if changed != *record {
            changes.push((*id, changed));
        }
    }
    Ok(changes)
}
