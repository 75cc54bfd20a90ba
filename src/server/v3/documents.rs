//! The parts that all documents of the API are made of.

use serde::Serialize;

use crate::server::urls::Urls;

/// Something that has an address and a name of its own.
#[derive(Clone, Debug, Serialize)]
pub struct Resource<T> {
    pub kind: &'static str,
    pub metadata: Metadata,
    #[serde(flatten)]
    pub data: T,
}

#[derive(Clone, Debug, Serialize)]
pub struct Metadata {
    #[serde(rename = "self")]
    pub url: String,
    pub resource_name: String,
}

/// All of them: nothing here is so long that it comes in pages.
#[derive(Clone, Debug, Serialize)]
pub struct List<T> {
    pub kind: &'static str,
    pub metadata: ListMetadata,
    pub data: Vec<T>,
}

#[derive(Clone, Debug, Serialize)]
pub struct ListMetadata {
    #[serde(rename = "self")]
    pub url: String,
    /// The next page's address.
    pub next: Option<String>,
}

/// Where to ask for something that belongs to this.
#[derive(Clone, Debug, Serialize)]
pub struct Related {
    pub related: String,
}

impl<T> Resource<T> {
    /// `path` and `names` as [`Urls::to`] and [`Urls::resource`] take them.
    pub fn new(
        kind: &'static str,
        urls: &Urls,
        path: &[&str],
        names: &[(&str, &str)],
        data: T,
    ) -> Self {
        Self {
            kind,
            metadata: Metadata {
                url: urls.to(path),
                resource_name: urls.resource(names),
            },
            data,
        }
    }
}

impl<T> List<T> {
    pub fn new(kind: &'static str, url: String, data: Vec<T>) -> Self {
        Self {
            kind,
            metadata: ListMetadata { url, next: None },
            data,
        }
    }
}

impl Related {
    /// Something in the same cluster.
    pub fn to(urls: &Urls, path: &[&str]) -> Self {
        Self {
            related: urls.to(path),
        }
    }
}
