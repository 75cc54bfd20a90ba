//! What is done to links and mirrors over REST, on the cluster that holds them.
//!
//! A [`Desk`] serves one cluster. Everything that changes something is decided anew under the cluster's lock and written in
//! one transaction, so that two servers, or a server and an `apply`, never mix. What takes several steps, making a mirror
//! and deleting one, first writes down what is to be: whoever comes next, a repeated call or a worker, goes on from there.

mod links;
mod mirrors;
mod neighbours;
mod refusal;
mod remote;
mod rotate;
mod sources;
mod views;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use links::{Checks, Held, NewLink, OtherEnd};
pub(crate) use links::{inbound_half, other_half, waiting_half};
pub use mirrors::{ActedOn, NewMirror};
pub use refusal::Refusal;
pub use remote::connect;
pub(crate) use remote::unreachable;
pub use rotate::{Rotated, rotate};
pub use sources::{Health, Trouble};
pub use views::MirrorView;

use self::neighbours::Neighbours;
use self::sources::Sources;
use super::configs::Configs;
use super::seal::Key;
use crate::control::records::{LinkRecord, LockRecord, Owner, RECORD_VERSION};
use crate::control::writer::STALE_AFTER;
use crate::control::{self, ControlError, ControlState, ControlWriter, LockError, Write};
use crate::kafka::Client;
use crate::topology::Topology;

/// How long to wait for somebody else who is changing the same cluster: longer than the lock of a killed one lasts, so that a
/// repeated call succeeds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(STALE_AFTER.as_secs() + 4);
/// How often a change is decided anew after somebody else took over in between.
const TRIES: usize = 3;

/// Who serves one cluster's links.
#[derive(Clone, Debug)]
pub struct Desk {
    client: Client,
    key: Option<Arc<Key>>,
    /// Who is named to others that wait for the lock.
    holder: Arc<str>,
    /// One change of this process at a time: others need not find out by the lock's record.
    turn: Arc<Mutex<()>>,
    sources: Arc<Sources>,
    neighbours: Arc<Neighbours>,
}

impl Desk {
    pub fn new(client: Client, key: Option<Arc<Key>>, holder: &str) -> Self {
        Self {
            client,
            key,
            holder: holder.into(),
            turn: Arc::default(),
            sources: Arc::default(),
            neighbours: Arc::default(),
        }
    }

    /// With the file that says how the sources of its own links are reached.
    #[must_use]
    pub fn beside(mut self, file: Arc<Topology>) -> Self {
        self.neighbours = Arc::new(Neighbours::of(file));
        self
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What is desired on the cluster; nothing where nothing was ever applied.
    ///
    /// # Errors
    /// The control records cannot be read.
    pub async fn state(&self) -> Result<ControlState, Refusal> {
        Ok(control::read(&self.client).await?.unwrap_or_default())
    }

    async fn lock(&self) -> Result<ControlWriter, Refusal> {
        let lock = LockRecord {
            version: RECORD_VERSION,
            holder: self.holder.to_string(),
            since_ms: jiff::Timestamp::now().as_millisecond(),
            command: "REST".to_owned(),
        };
        match ControlWriter::acquire(&self.client, lock, LOCK_TIMEOUT).await {
            Ok(writer) => Ok(writer),
            Err(LockError::Control(error)) => Err(error.into()),
            Err(held @ LockError::Held { .. }) => Err(Refusal::Busy(held.to_string())),
        }
    }

    /// Decides under the lock and writes what was decided, all or nothing.
    async fn change<T>(
        &self,
        decide: impl Fn(&ControlState) -> Result<(Vec<Write>, T), Refusal>,
    ) -> Result<T, Refusal> {
        let _turn = self.turn.lock().await;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let mut writer = self.lock().await?;
            let result = match decide(writer.state()) {
                Ok((writes, decided)) if writes.is_empty() => Ok(decided),
                Ok((writes, decided)) => writer.commit(writes).await.map(|()| decided),
                Err(refusal) => {
                    release(writer).await;
                    return Err(refusal);
                }
            };
            match result {
                Ok(decided) => {
                    release(writer).await;
                    return Ok(decided);
                }
                // Nothing of it was written: look again at what the other one left.
                Err(ControlError::Fenced { .. }) if tries > 0 => {}
                Err(error) => {
                    release(writer).await;
                    return Err(error.into());
                }
            }
        }
    }
}

/// The lock of a writer that has nothing more to write. One that cannot be given back goes stale by itself.
async fn release(writer: ControlWriter) {
    if let Err(error) = writer.release().await {
        tracing::warn!(%error, "the lock could not be given back");
    }
}

/// The link of this name that copies to this cluster.
///
/// # Errors
/// There is none.
fn link_named<'s>(state: &'s ControlState, name: &str) -> Result<&'s LinkRecord, Refusal> {
    let found = state.links.values().find(|link| link.name == name);
    found.ok_or_else(|| {
        match state.source_links.values().any(|link| link.name == name) {
            true => Refusal::Invalid(format!(
                "`{name}` is the source's half of a link: its mirrors are at the destination, and so is what is done to them"
            )),
            false => no_link(name),
        }
    })
}

/// The same, if it may be changed here.
///
/// # Errors
/// There is none, or it belongs to a topology file.
fn own_link<'s>(state: &'s ControlState, name: &str) -> Result<&'s LinkRecord, Refusal> {
    let link = link_named(state, name)?;
    match link.owner {
        Owner::Rest => Ok(link),
        Owner::File => Err(Refusal::OwnedByFile {
            link: link.name.clone(),
        }),
    }
}

fn no_link(name: &str) -> Refusal {
    Refusal::NotFound(format!("there is no cluster link `{name}` on this cluster"))
}

/// The configs of a link that was made over REST, with secrets sealed.
fn configs_of(state: &ControlState, link: &LinkRecord) -> Configs {
    match state.configs.get(&link.id) {
        Some(record) => Configs::sealed(record),
        None => Configs::of_record(link),
    }
}
