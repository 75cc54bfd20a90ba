//! The embedded broker under the cases that real brokers pass in tests/kafka. Needs no Java.

#[path = "conformance/mod.rs"]
mod conformance;

use anyhow::{Context, Result};
use kmirror::sandbox::{Sandbox, SandboxConfig};

use conformance::traces::format::Step;
use conformance::traces::{self, compare, perform, recorded, scripts};
use conformance::{control, wire};

/// One embedded broker for one case.
async fn sandboxed<F: Future<Output = Result<()>>>(case: impl FnOnce(String) -> F) -> Result<()> {
    let sandbox = Sandbox::start(SandboxConfig::new("sandbox", 1)).await?;
    let outcome = case(sandbox.bootstrap_servers()).await;
    sandbox.shutdown().await;
    outcome
}

macro_rules! cases {
    ($($module:ident::$case:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $case() -> Result<()> {
            sandboxed(|bootstrap| async move { $module::$case(&bootstrap).await }).await
        }
    )*};
}

cases! {
    wire::administers_topics,
    wire::handles_many_topics_at_once,
    wire::moves_batches,
    wire::keeps_group_offsets_and_producer_ids,
    wire::names_what_cannot_be_reached,
    control::keeps_what_is_desired,
    control::a_live_holder_is_waited_for,
    control::a_fenced_holder_learns_by_whom,
    control::newcomers_race_without_losing_anything,
    control::a_watch_follows_changes,
    control::keeps_progress,
}

/// Without this, whatever is shown on the sandbox might not hold on a broker.
#[tokio::test(flavor = "multi_thread")]
async fn answers_as_real_brokers_did() -> Result<()> {
    let config = SandboxConfig {
        producer_id_expiration: traces::EXPIRY,
        producer_id_expiration_check: traces::EXPIRY_CHECK,
        ..SandboxConfig::new("sandbox", 1)
    };
    let sandbox = Sandbox::start(config).await?;
    for (name, _, steps) in scripts() {
        // It keeps nothing over a restart.
        if steps.contains(&Step::Restart) {
            continue;
        }
        let mut never = || anyhow::bail!("the sandbox is not restarted");
        let taken = perform(&sandbox.bootstrap_servers(), &steps, &mut never)
            .await
            .context(name)?;
        for kafka in ["3.9", "4.3"] {
            compare(&recorded(name, kafka)?, &taken).with_context(|| format!("{name}, {kafka}"))?;
        }
    }
    sandbox.shutdown().await;
    Ok(())
}
