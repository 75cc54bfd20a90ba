//! Links that brokers carry themselves (`engine = "cluster-link"`): what the file asks for against what their REST API tells.
//!
//! A link is one object on the cluster that its mirrors are on, or two where the source opens the connections. Nothing of it is
//! kept by kmirror: what brokers have is all there is, so whoever changed it, a plan sees it. Secrets cannot be read back; such a
//! config is compared by whether it is set.

mod configs;
mod dead;
mod link;
mod mirrors;
mod wanted;

pub(super) use dead::{carried, plan_without_source};
pub(super) use link::{PlannedBrokerLink, plan_link};
pub(super) use mirrors::{notes, plan_absent, plan_mirror};
