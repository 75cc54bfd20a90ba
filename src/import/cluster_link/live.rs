//! The documents of a REST endpoint: the links of a cluster, their configs, all mirror topics.

use super::super::ImportError;
use super::super::input::Input;
use super::super::json::Node;
use super::super::model::Place;
use super::super::settings::is_plain_name;
use super::Document;
use crate::client::url::HttpUrl;
use crate::kafka::security::rest::{RestClient, RestError};
use crate::rest::links::{base_of, is_same_server};

/// Pages of a list that are followed; a server that never ends is left.
const MOST_PAGES: usize = 1_000;
/// Links that are asked for their configs.
const MOST_LINKS: usize = 1_000;

/// Asks for everything under [`base_of`] `base`.
/// Returns the id of the cluster with the documents.
///
/// # Errors
/// Nobody answers, the answer is a refusal, or it is not what it should be.
pub async fn fetch(
    client: &RestClient,
    base: &str,
    cluster_id: Option<&str>,
) -> Result<(String, Vec<Document>), ImportError> {
    let base = base_of(base);
    let id = match cluster_id {
        Some(id) => id.to_owned(),
        None => only_cluster(client, &base).await?,
    };
    if !is_plain_name(&id) {
        return Err(ImportError::new(
            Place::CommandLine,
            "this is no cluster id",
        ));
    }
    let links = format!("{base}/clusters/{id}/links");
    let mut documents = pages(client, &links).await?;
    let mut names = Vec::new();
    for document in &documents {
        let root = Node::read(&document.input)?;
        let rows = root.get("data").map(Node::items).unwrap_or_default();
        names.extend(
            rows.iter()
                .filter_map(|row| Some(row.text("link_name")?.to_owned())),
        );
    }
    if names.len() > MOST_LINKS {
        let problem = format!("there are more than {MOST_LINKS} links");
        return Err(ImportError::new(Place::Remote(links), problem)
            .hint("save the answers for those that matter, and name the files"));
    }
    for name in &names {
        if !is_plain_name(name) {
            return Err(ImportError::new(
                Place::Remote(links.clone()),
                "the name of a link cannot be part of an address",
            ));
        }
        let configs = pages(client, &format!("{links}/{name}/configs")).await?;
        documents.extend(configs.into_iter().map(|document| Document {
            link: Some(name.clone()),
            ..document
        }));
        documents.extend(pages(client, &format!("{links}/{name}/mirrors")).await?);
    }
    Ok((id, documents))
}

async fn only_cluster(client: &RestClient, base: &str) -> Result<String, ImportError> {
    let url = format!("{base}/clusters");
    let input = get(client, &url).await?;
    let root = Node::read(&input)?;
    let rows = root.get("data").map(Node::items).unwrap_or_default();
    match rows {
        [row] => row.text("cluster_id").map(str::to_owned),
        _ => None,
    }
    .ok_or_else(|| {
        ImportError::new(Place::Remote(url), "it does not name one cluster")
            .hint("say which one with --cluster-id")
    })
}

/// A list, page by page.
async fn pages(client: &RestClient, first: &str) -> Result<Vec<Document>, ImportError> {
    let mut documents = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(url) = next.take() {
        if documents.len() == MOST_PAGES {
            return Err(ImportError::new(
                Place::Remote(first.to_owned()),
                "the list does not end",
            ));
        }
        let input = get(client, &url).await?;
        let root = Node::read(&input)?;
        next = root
            .get("metadata")
            .and_then(|metadata| metadata.text("next"))
            .map(str::to_owned);
        if let Some(next) = &next
            && !is_same_server(first, next)
        {
            // Credentials go nowhere else.
            return Err(ImportError::new(
                Place::Remote(url),
                "the next page is on another server",
            ));
        }
        documents.push(Document { link: None, input });
    }
    Ok(documents)
}

async fn get(client: &RestClient, url: &str) -> Result<Input, ImportError> {
    let target = HttpUrl::of(url).map_err(|problem| {
        // The address is not repeated: it may hold a password.
        ImportError::new(
            Place::CommandLine,
            format!("--url is no address of an HTTP server: {problem}"),
        )
    })?;
    let place = || Place::Remote(url.to_owned());
    let body = client.get(&target).await.map_err(|error| {
        let hint = match &error {
            RestError::Status(status) => match status.as_u16() {
                401 | 403 => "check --username and its password, and that the user may describe the cluster and its links",
                404 => "check --cluster-id, and that --url ends in /kafka/v3 (brokers) or /v3 (REST Proxy)",
                _ => "ask again later, or look at the server's log",
            },
            _ => "check --url, and name the authority of its certificate with --ca-location if that is one of your own",
        };
        ImportError::new(place(), error.to_string()).hint(hint)
    })?;
    Ok(Input::of_remote(url, body.to_vec()))
}
