//! Following desired state as it changes.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::error::ControlError;
use super::store::{ControlState, LinksLog};
use crate::kafka::{Backoff, Client};

/// Hears of changes to links and mirrors. A task follows the topic, so that waiting for it can be
/// given up and taken up again at any time.
#[derive(Debug)]
pub struct Watch {
    latest: watch::Receiver<Option<Result<ControlState, ControlError>>>,
    _task: DropGuard,
}

/// How long one fetch waits for news.
const LONG_POLL_MS: i32 = 1_000;
/// The pause after an error that is unlikely to pass by itself.
const LASTING: Duration = Duration::from_secs(10);

impl Watch {
    /// Starts to follow `_kmirror.links`.
    pub fn start(client: Client) -> Self {
        let (sender, latest) = watch::channel(None);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            stopped.run_until_cancelled(follow(client, sender)).await;
        });
        Self {
            latest,
            _task: stop.drop_guard(),
        }
    }

    /// Waits for the first state, then for each change of links or mirrors; several at once are one.
    /// An error that may pass is told once for each try, and following goes on.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn changed(&mut self) -> Result<ControlState, ControlError> {
        if self.latest.changed().await.is_err() {
            // The task only ends with the runtime.
            std::future::pending::<()>().await;
        }
        let latest = self.latest.borrow_and_update();
        latest
            .clone()
            .expect("the task only sends states and errors")
    }
}

async fn follow(client: Client, sender: watch::Sender<Option<Result<ControlState, ControlError>>>) {
    let mut links = LinksLog::new(&client);
    let mut backoff = Backoff::for_requests();
    let mut told = false;
    loop {
        let polled = if told {
            links.poll(LONG_POLL_MS).await
        } else {
            links.catch_up().await
        };
        match polled {
            Ok(changed) => {
                backoff.reset();
                if changed || !told {
                    told = true;
                    sender.send_replace(Some(Ok(links.state().clone())));
                }
            }
            Err(error) => {
                let passing = !error.is_final();
                sender.send_replace(Some(Err(error)));
                if passing {
                    backoff.sleep().await;
                } else {
                    // It may still end when somebody mends the topic or the rights: begin again from
                    // the start of the log, slowly.
                    links = LinksLog::new(&client);
                    told = false;
                    tokio::time::sleep(LASTING).await;
                }
            }
        }
    }
}
