//! Asking a cluster's REST API about its links and mirror topics, and changing them.
//!
//! Every call is one request, but for lists, which come in pages, and for what a server of an older version knows under another
//! name. What may pass by itself is asked again for a while: too many requests, a broker that is not there just now.

use std::time::{Duration, Instant};

use hyper::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::documents::{
    Cluster, ConfigChange, ConfigOperation, Link, LinkConfig, Mirror, NewConfig, NewLink,
    NewMirror, Outcome, Page,
};
use super::refusal::Refusal;
use crate::client::sensitive::looks_secret;
use crate::client::url::HttpUrl;
use crate::kafka::Backoff;
use crate::kafka::security::rest::{RestClient, RestError};

/// Pages of a list that are followed; a server that never ends is left.
const MOST_PAGES: usize = 1_000;
/// How long what may pass is asked again.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a server that does not answer is tried, where asking again does no harm.
const UNANSWERED: Duration = Duration::from_secs(3);
/// Bytes of the shortest part of a secret that is looked for in what a server says; fewer are in any word.
const LEAST_SECRET: usize = 4;
/// What names of links, topics and configs have; anything else is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'.')
    .remove(b'_')
    .remove(b'-')
    .remove(b'~');

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answered, or not as an HTTP server does.
    #[error(transparent)]
    Rest(#[from] RestError),
    #[error("{0}")]
    Refused(Refusal),
    #[error("its answer is not what it should be: {0}")]
    Unreadable(String),
}

impl LinkError {
    /// What the server said, if it said something.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

/// What can be done to mirror topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Promote,
    Failover,
    Pause,
    Resume,
    ReverseAndStart,
    ReverseAndPause,
    TruncateAndRestore,
}

impl Action {
    /// As servers call it, the newest name first.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Promote => &["promote"],
            Self::Failover => &["failover"],
            Self::Pause => &["pause"],
            Self::Resume => &["resume"],
            // Confluent Platform had the longer ones first.
            Self::ReverseAndStart => &[
                "reverse-and-start-mirror",
                "promote-local-and-start-remote-mirror",
            ],
            Self::ReverseAndPause => &[
                "reverse-and-pause-mirror",
                "promote-local-and-pause-remote-mirror",
            ],
            Self::TruncateAndRestore => &["truncate-and-restore"],
        }
    }
}

/// How a link is to be checked when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Nothing is changed.
    pub only: bool,
    /// The link is made even where the other cluster cannot be reached.
    pub leave_out_connection: bool,
}

/// The links of one cluster.
#[derive(Debug)]
pub struct LinkApi {
    http: RestClient,
    /// Up to and with the cluster's id.
    cluster: String,
    /// Up to and with `/v3`.
    base: String,
}

#[derive(Serialize)]
struct Names<'a> {
    mirror_topic_names: &'a [String],
}

#[derive(Serialize)]
struct Changes<'a> {
    data: &'a [ConfigChange],
}

#[derive(Serialize)]
struct Value<'a> {
    value: &'a str,
}

/// The address of the API: `url` ends in `/v3`, or is what stands before `/kafka/v3`.
pub fn base_of(url: &str) -> String {
    let url = url.trim_end_matches('/');
    if url.ends_with("/v3") {
        url.to_owned()
    } else if url.ends_with("/kafka") {
        format!("{url}/v3")
    } else {
        format!("{url}/kafka/v3")
    }
}

impl LinkApi {
    /// The links of the cluster with this id, asked for under [`base_of`] `url`.
    pub fn new(http: RestClient, url: &str, cluster_id: &str) -> Self {
        let base = base_of(url);
        Self {
            http,
            cluster: format!("{base}/clusters/{}", escaped(cluster_id)),
            base,
        }
    }

    /// The ids of the clusters that the server knows: one for brokers, perhaps several for a proxy.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn clusters(&self) -> Result<Vec<String>, LinkError> {
        let clusters: Vec<Cluster> = self.list(&format!("{}/clusters", self.base)).await?;
        Ok(clusters.into_iter().map(|it| it.cluster_id).collect())
    }

    /// All links, but for what is left of those whose other half was deleted.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn links(&self) -> Result<Vec<Link>, LinkError> {
        let mut links: Vec<Link> = self.list(&format!("{}/links", self.cluster)).await?;
        links.retain(|link| !link.link_name.is_empty());
        Ok(links)
    }

    /// One link, `None` where there is none of that name. Its tasks are told by servers that know them.
    ///
    /// # Errors
    /// Nobody answers, or with another refusal.
    pub async fn link(&self, name: &str) -> Result<Option<Link>, LinkError> {
        let url = format!("{}?include_tasks=true", self.of_link(name));
        there(self.get(&url).await)
    }

    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn create_link(
        &self,
        name: &str,
        link: &NewLink,
        validation: Validation,
    ) -> Result<(), LinkError> {
        let url = format!(
            "{}/links?link_name={}&validate_only={}&validate_link={}",
            self.cluster,
            escaped(name),
            validation.only,
            !validation.leave_out_connection
        );
        let done = self.send(Method::POST, &url, link).await;
        done.map_err(|error| without_secrets(error, &link.configs))
    }

    /// Asks for the link to be deleted, which may take a while.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal, such as where it has mirrors.
    pub async fn delete_link(&self, name: &str, force: bool) -> Result<(), LinkError> {
        let url = format!("{}?force={force}", self.of_link(name));
        self.call(Method::DELETE, &url, None).await.map(|_| ())
    }

    /// All configs of a link, `None` where there is no such link (yet).
    ///
    /// # Errors
    /// Nobody answers, or with another refusal.
    pub async fn configs(&self, link: &str) -> Result<Option<Vec<LinkConfig>>, LinkError> {
        there(self.list(&format!("{}/configs", self.of_link(link))).await)
    }

    /// Changes configs in one request, or one by one where the server has no such request: then those before a refusal
    /// are changed.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn alter_configs(
        &self,
        link: &str,
        changes: &[ConfigChange],
    ) -> Result<(), LinkError> {
        let configs = format!("{}/configs", self.of_link(link));
        let url = format!("{configs}:alter?validate_only=false");
        let together = Changes { data: changes };
        let refused = match self.send(Method::PUT, &url, &together).await {
            Err(LinkError::Refused(refused)) if refused.status.as_u16() == 405 => refused,
            done => return done.map_err(|error| without_secrets_of(error, changes)),
        };
        tracing::debug!(link, %refused, "configs are changed one by one");
        for change in changes {
            let url = format!("{configs}/{}", escaped(&change.name));
            let done = match change.operation {
                ConfigOperation::Set => {
                    let value = change.value.as_deref().unwrap_or_default();
                    self.send(Method::PUT, &url, &Value { value }).await
                }
                ConfigOperation::Delete => self.call(Method::DELETE, &url, None).await.map(|_| ()),
            };
            done.map_err(|error| without_secrets_of(error, changes))?;
        }
        Ok(())
    }

    /// Whether the server would accept the changes, where it can tell.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn rehearse_configs(
        &self,
        link: &str,
        changes: &[ConfigChange],
    ) -> Result<(), LinkError> {
        let url = format!("{}/configs:alter?validate_only=true", self.of_link(link));
        let done = self
            .send(Method::PUT, &url, &Changes { data: changes })
            .await;
        match done {
            Err(LinkError::Refused(refused)) if refused.status.as_u16() == 405 => Ok(()),
            done => done.map_err(|error| without_secrets_of(error, changes)),
        }
    }

    /// The mirror topics of a link, or of all.
    ///
    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn mirrors(&self, link: Option<&str>) -> Result<Vec<Mirror>, LinkError> {
        // A hyphen stands for all links.
        self.list(&format!("{}/mirrors", self.of_link(link.unwrap_or("-"))))
            .await
    }

    /// One mirror topic, `None` where there is none of that name.
    ///
    /// # Errors
    /// Nobody answers, or with another refusal.
    pub async fn mirror(&self, link: &str, topic: &str) -> Result<Option<Mirror>, LinkError> {
        let url = format!("{}/mirrors/{}", self.of_link(link), escaped(topic));
        there(self.get(&url).await)
    }

    /// # Errors
    /// Nobody answers, or with a refusal.
    pub async fn create_mirror(&self, link: &str, mirror: &NewMirror) -> Result<(), LinkError> {
        let url = format!("{}/mirrors", self.of_link(link));
        self.send(Method::POST, &url, mirror).await
    }

    /// Deletes a mirror topic with what brokers keep of it; there is no other call for that. One that is gone already
    /// counts as deleted.
    ///
    /// # Errors
    /// Nobody answers, or with another refusal.
    pub async fn delete_mirror_topic(&self, topic: &str) -> Result<(), LinkError> {
        let url = format!("{}/topics/{}", self.cluster, escaped(topic));
        there(self.call(Method::DELETE, &url, None).await).map(|_| ())
    }

    /// Asks for something to be done to mirror topics. Each has an outcome of its own, and what was accepted may take a
    /// while.
    ///
    /// # Errors
    /// Nobody answers, or all is refused.
    pub async fn act(
        &self,
        link: &str,
        action: Action,
        topics: &[String],
        validate_only: bool,
    ) -> Result<Vec<Outcome>, LinkError> {
        let names = Names {
            mirror_topic_names: topics,
        };
        let body = encoded(&names)?;
        let mut refused = None;
        for name in action.names() {
            let url = format!(
                "{}/mirrors:{name}?validate_only={validate_only}",
                self.of_link(link)
            );
            match self.call(Method::POST, &url, Some(body.clone())).await {
                Ok(answer) => return Ok(decoded::<Page<Outcome>>(&answer)?.data),
                Err(LinkError::Refused(refusal)) if refusal.is_unknown_way() => {
                    // Of several, the newest name's refusal says most.
                    refused.get_or_insert(refusal);
                }
                Err(error) => return Err(error),
            }
        }
        Err(LinkError::Refused(
            refused.expect("every action has a name"),
        ))
    }

    fn of_link(&self, name: &str) -> String {
        format!("{}/links/{}", self.cluster, escaped(name))
    }

    /// A list, page by page.
    async fn list<T: DeserializeOwned>(&self, first: &str) -> Result<Vec<T>, LinkError> {
        let mut found = Vec::new();
        let mut next = Some(first.to_owned());
        for _ in 0..MOST_PAGES {
            let Some(url) = next else {
                return Ok(found);
            };
            let page: Page<T> = self.get(&url).await?;
            found.extend(page.data);
            next = page.metadata.next;
            if let Some(next) = &next
                && !is_same_server(first, next)
            {
                // Credentials go nowhere else.
                let problem = "the next page is on another server";
                return Err(LinkError::Unreadable(problem.to_owned()));
            }
        }
        Err(LinkError::Unreadable("the list does not end".to_owned()))
    }

    async fn get<T: DeserializeOwned>(&self, url: &str) -> Result<T, LinkError> {
        decoded(&self.call(Method::GET, url, None).await?)
    }

    async fn send(
        &self,
        method: Method,
        url: &str,
        body: &impl Serialize,
    ) -> Result<(), LinkError> {
        self.call(method, url, Some(encoded(body)?))
            .await
            .map(|_| ())
    }

    /// One request, and again where that may help and does no harm.
    async fn call(
        &self,
        method: Method,
        url: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Vec<u8>, LinkError> {
        let target = HttpUrl::of(url).map_err(LinkError::Unreadable)?;
        let began = Instant::now();
        let mut backoff = Backoff::for_requests();
        loop {
            let answered = self.http.call(method.clone(), &target, body.clone()).await;
            let error = match answered {
                Ok((status, answer)) if status.is_success() => return Ok(answer.to_vec()),
                Ok((status, answer)) => LinkError::Refused(Refusal::of(status, &answer)),
                Err(error) => LinkError::Rest(error),
            };
            // What was not answered may have been done: only what may be done twice is asked for again.
            let again = match &error {
                LinkError::Refused(refusal) if refusal.status.as_u16() == 429 => true,
                LinkError::Refused(refusal) => refusal.may_pass() && method != Method::POST,
                LinkError::Rest(RestError::NoAnswer(_)) => method == Method::GET,
                _ => false,
            };
            let pause = backoff.next_delay();
            let patience = match &error {
                LinkError::Rest(_) => UNANSWERED,
                _ => PATIENCE,
            };
            if !again || began.elapsed() + pause > patience {
                return Err(error);
            }
            tracing::debug!(%method, url, %error, "asked again");
            tokio::time::sleep(pause).await;
        }
    }
}

/// `None` for what is not there.
fn there<T>(found: Result<T, LinkError>) -> Result<Option<T>, LinkError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(LinkError::Refused(refusal)) if refusal.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

fn escaped(name: &str) -> String {
    utf8_percent_encode(name, ESCAPED).to_string()
}

fn encoded(body: &impl Serialize) -> Result<Vec<u8>, LinkError> {
    serde_json::to_vec(body).map_err(|error| LinkError::Unreadable(error.to_string()))
}

fn decoded<T: DeserializeOwned>(answer: &[u8]) -> Result<T, LinkError> {
    serde_json::from_slice(answer).map_err(|error| LinkError::Unreadable(error.to_string()))
}

/// Whether credentials for the one address may be sent to the other.
pub fn is_same_server(one: &str, other: &str) -> bool {
    match (HttpUrl::of(one), HttpUrl::of(other)) {
        (Ok(one), Ok(other)) => {
            (one.secure, one.host, one.port) == (other.secure, other.host, other.port)
        }
        _ => false,
    }
}

fn without_secrets(error: LinkError, sent: &[NewConfig]) -> LinkError {
    hidden(
        error,
        sent.iter().map(|it| (it.name.as_str(), it.value.as_str())),
    )
}

fn without_secrets_of(error: LinkError, sent: &[ConfigChange]) -> LinkError {
    let pairs = sent.iter();
    hidden(
        error,
        pairs.filter_map(|it| Some((it.name.as_str(), it.value.as_deref()?))),
    )
}

/// A server may repeat what it does not like.
fn hidden<'a>(error: LinkError, sent: impl Iterator<Item = (&'a str, &'a str)>) -> LinkError {
    let LinkError::Refused(mut refusal) = error else {
        return error;
    };
    let secrets = sent.filter(|(name, _)| looks_secret(name));
    for (_, value) in secrets {
        // A login module has its password in quotes.
        let parts = std::iter::once(value).chain(value.split('"').skip(1).step_by(2));
        for part in parts.filter(|part| part.len() >= LEAST_SECRET || *part == value) {
            refusal.message = refusal.message.map(|words| words.replace(part, "(hidden)"));
        }
    }
    LinkError::Refused(refusal)
}
