//! Which version of a request is spoken with a broker.
//!
//! The newest that both sides know, except where a newer one means something else: those ceilings
//! are listed here with their reasons.

use std::collections::HashMap;

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use kafka_protocol::protocol::{Message, Request};

/// The versions that one broker offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiVersions {
    offered: HashMap<i16, (i16, i16)>,
}

impl ApiVersions {
    /// The broker's list.
    pub fn from_response(response: &ApiVersionsResponse) -> Self {
        Self {
            offered: response
                .api_keys
                .iter()
                .map(|api| (api.api_key, (api.min_version, api.max_version)))
                .collect(),
        }
    }

    /// What the broker offers for an API.
    pub fn offered(&self, api_key: i16) -> Option<(i16, i16)> {
        self.offered.get(&api_key).copied()
    }

    /// The version to speak, or `Err` with what the broker offers.
    pub(super) fn pick<R: Request>(&self) -> Result<i16, Option<(i16, i16)>> {
        let offered = self.offered(R::KEY);
        let Some((min, max)) = offered else {
            return Err(None);
        };
        let (low, high) = usable::<R>();
        let version = high.min(max);
        if version < low.max(min) {
            return Err(offered);
        }
        Ok(version)
    }
}

/// The versions of a request that kmirror may use.
pub(super) fn usable<R: Request>() -> (i16, i16) {
    let range = <R as Message>::VERSIONS;
    let high = ceiling(R::KEY).map_or(range.max, |ceiling| range.max.min(ceiling));
    let low = match ApiKey::try_from(R::KEY) {
        // After version 0 of it, what follows comes without Kafka's framing.
        Ok(ApiKey::SaslHandshake) => 1,
        _ => range.min,
    };
    (low, high)
}

/// The newest version of an API whose meaning is the one that kmirror counts on.
fn ceiling(api_key: i16) -> Option<i16> {
    match ApiKey::try_from(api_key).ok()? {
        // From 12 on a transactional produce adds its partitions by itself (transactions v2); 13 names
        // topics by id, which would fail a mirror in the middle of a recreation with another code.
        ApiKey::Produce => Some(11),
        // 10 wants a time-out for remote storage; without it the broker uses its own.
        ApiKey::ListOffsets => Some(9),
        // Newer versions belong to transactions v2 or to brokers among themselves.
        ApiKey::AddPartitionsToTxn => Some(3),
        ApiKey::EndTxn => Some(4),
        ApiKey::TxnOffsetCommit => Some(4),
        // Later versions treat equal epochs differently.
        ApiKey::WriteTxnMarkers => Some(1),
        _ => None,
    }
}

/// The name of an API for messages.
pub(super) fn api_name(api_key: i16) -> String {
    match ApiKey::try_from(api_key) {
        Ok(key) => format!("{key:?}"),
        Err(()) => format!("API {api_key}"),
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::api_versions_response::ApiVersion;
    use kafka_protocol::messages::{FetchRequest, MetadataRequest, ProduceRequest};

    use super::*;

    fn broker(apis: &[(ApiKey, i16, i16)]) -> ApiVersions {
        let list = apis.iter().map(|&(key, min, max)| {
            ApiVersion::default()
                .with_api_key(key as i16)
                .with_min_version(min)
                .with_max_version(max)
        });
        ApiVersions::from_response(&ApiVersionsResponse::default().with_api_keys(list.collect()))
    }

    #[test]
    fn the_newest_common_version_below_the_ceiling_is_taken() {
        let versions = broker(&[
            (ApiKey::Produce, 0, 13),
            (ApiKey::Fetch, 4, 11),
            (ApiKey::Metadata, 0, 99),
        ]);
        assert_eq!(versions.pick::<ProduceRequest>(), Ok(11));
        assert_eq!(versions.pick::<FetchRequest>(), Ok(11));
        assert_eq!(
            versions.pick::<MetadataRequest>(),
            Ok(MetadataRequest::VERSIONS.max)
        );
    }

    #[test]
    fn a_broker_that_is_too_old_or_too_new_is_named_as_such() {
        assert_eq!(broker(&[]).pick::<FetchRequest>(), Err(None));
        let old = broker(&[(ApiKey::Fetch, 0, 3)]);
        assert_eq!(old.pick::<FetchRequest>(), Err(Some((0, 3))));
        let new = broker(&[(ApiKey::Produce, 12, 14)]);
        assert_eq!(new.pick::<ProduceRequest>(), Err(Some((12, 14))));
    }

    #[test]
    fn apis_are_named_as_the_protocol_guide_names_them() {
        assert_eq!(api_name(1), "Fetch");
        assert_eq!(api_name(24), "AddPartitionsToTxn");
    }
}
