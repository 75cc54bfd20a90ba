//! The other cluster of a link.

use super::Refusal;
use crate::kafka::{Client, ClientConfig, Error};
use crate::linking::configs::Configs;
use crate::linking::reach::Side;

/// Connects to the other cluster as the configs of a link say, which were [opened](Configs::open).
///
/// # Errors
/// The configs do not say how, or nobody answers as they say.
pub async fn connect(link: &str, configs: &Configs) -> Result<Client, Refusal> {
    let reach = configs.reach(Side::Remote)?;
    let settings = reach.settings.unwrap_or_default();
    let name = format!("{link} (remote)");
    let config = ClientConfig::with_settings(name, reach.bootstrap_servers, settings);
    Client::connect(config)
        .await
        .map_err(|error| unreachable(link, &error))
}

pub(crate) fn unreachable(link: &str, error: &Error) -> Refusal {
    Refusal::Unreachable {
        link: link.to_owned(),
        error: Box::new(error.clone()),
    }
}
