//! Addresses of things in answers: `self` and `related` URLs by which the caller can ask for them, and their names as
//! resources (`crn:///kafka=…/topic=…`).

use std::fmt::Write as _;
use std::sync::Arc;

use hyper::Uri;
use hyper::http::uri::Authority;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a segment of a path cannot hold as it is. A colon may stand there (RFC 3986, 3.3), and does in the paths of actions.
const IN_PATHS: &AsciiSet = &RESERVED.remove(b':');

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Under what the API is asked: `http://127.0.0.1:8090/kafka/v3`, as the request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(Arc<str>);

impl Base {
    pub(super) fn of(scheme: &str, host: &Authority, uri: &Uri) -> Self {
        let prefixes = ["/kafka/v3", "/v3"];
        let path = uri.path();
        let prefix = prefixes.into_iter().find(|prefix| {
            path.strip_prefix(prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        Self(format!("{scheme}://{host}{}", prefix.unwrap_or_default()).into())
    }

    /// The list of clusters.
    pub fn clusters(&self) -> String {
        format!("{}/clusters", self.0)
    }
}

/// Addresses in one cluster.
#[derive(Clone, Debug)]
pub struct Urls {
    base: Base,
    cluster_id: String,
}

impl Urls {
    pub(super) fn new(base: Base, cluster_id: String) -> Self {
        Self { base, cluster_id }
    }

    /// The address of something in the cluster, by the parts of its path: `["topics", name]`.
    pub fn to(&self, path: &[&str]) -> String {
        let mut url = self.base.clusters();
        for part in [self.cluster_id.as_str()].iter().chain(path) {
            push(&mut url, "/", part, IN_PATHS);
        }
        url
    }

    /// The name of something in the cluster as a resource: `[("topic", name)]`.
    pub fn resource(&self, names: &[(&str, &str)]) -> String {
        let mut name = "crn:///".to_owned();
        push(&mut name, "kafka=", &self.cluster_id, RESERVED);
        for (kind, of) in names {
            push(&mut name, &format!("/{kind}="), of, RESERVED);
        }
        name
    }
}

fn push(text: &mut String, lead: &str, part: &str, encoded: &'static AsciiSet) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{lead}{}", utf8_percent_encode(part, encoded));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_back_by_the_way_the_request_came() {
        let base = |path: &str| {
            let host = Authority::from_static("west:8090");
            Base::of("https", &host, &path.parse().unwrap()).clusters()
        };
        assert_eq!(base("/v3/clusters"), "https://west:8090/v3/clusters");
        assert_eq!(base("/kafka/v3"), "https://west:8090/kafka/v3/clusters");
        assert_eq!(base("/v3x/clusters"), "https://west:8090/clusters");
    }

    #[test]
    fn names_of_groups_cannot_lead_elsewhere() {
        let host = Authority::from_static("west");
        let base = Base::of("http", &host, &Uri::from_static("/v3/clusters"));
        let urls = Urls::new(base, "id".to_owned());
        assert_eq!(
            urls.to(&["consumer-groups", "a/../b?c#d é"]),
            "http://west/v3/clusters/id/consumer-groups/a%2F..%2Fb%3Fc%23d%20%C3%A9"
        );
        // As it is asked for.
        assert_eq!(
            urls.to(&["links", "dr", "mirrors:promote"]),
            "http://west/v3/clusters/id/links/dr/mirrors:promote"
        );
        assert_eq!(
            urls.resource(&[("topic", "orders"), ("partition", "0")]),
            "crn:///kafka=id/topic=orders/partition=0"
        );
    }
}
