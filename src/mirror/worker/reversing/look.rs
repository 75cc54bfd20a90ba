//! What has to be known of topics at both clusters before a mirror is reversed.

use super::decide::Copied;
use crate::control::progress::Kept;
use crate::control::records::Alignment;
use crate::kafka::admin::{ConfigResource, OffsetSpec};
use crate::kafka::{Client, Error, Isolation, TopicMetadata, Topics};

pub(super) fn copied(kept: &Kept) -> Option<Copied> {
    let record = &kept.progress.as_ref()?.record;
    let last = record.anchors.last()?;
    Some(Copied {
        source_offset: last.source_offset,
        destination_offset: last.destination_offset,
        is_equal: matches!(record.alignment, Alignment::Equal { filling: false, .. }),
    })
}

/// The topic, if the cluster has it.
pub(super) async fn topic(client: &Client, name: &str) -> Result<Option<TopicMetadata>, Error> {
    let names = [name.to_owned()];
    let metadata = client.admin().metadata(Topics::Named(&names)).await?;
    let found = metadata.topics.into_iter().find(|it| it.name == name);
    Ok(found.filter(|it| it.error.is_ok()))
}

/// Where the partitions of a topic end; `None` where a transaction is open, something is not replicated yet, or nobody answers.
pub(super) async fn settled_ends(
    client: &Client,
    topic: &str,
    partitions: i32,
) -> Vec<Option<i64>> {
    let all = || (0..partitions).map(|partition| (topic.to_owned(), partition));
    let latest = || {
        let asked = all().map(|(topic, partition)| (topic, partition, OffsetSpec::Latest));
        asked.collect::<Vec<_>>()
    };
    let admin = client.admin();
    let (stable, visible, written) = futures::join!(
        admin.list_offsets(latest(), Isolation::ReadCommitted),
        admin.list_offsets(latest(), Isolation::ReadUncommitted),
        admin.log_ends(all().collect()),
    );
    let offsets = stable.into_iter().zip(visible).zip(written);
    offsets
        .map(|(((_, stable), (_, visible)), (_, written))| {
            let stable = stable.ok()?.offset;
            let is_settled = stable == visible.ok()?.offset && stable == written.ok()?.offset;
            is_settled.then_some(stable)
        })
        .collect()
}

/// Whether brokers put their own time on what is written to a topic.
pub(super) async fn stamps_records(client: &Client, topic: &str) -> Result<bool, Error> {
    let resource = vec![ConfigResource::Topic(topic.to_owned())];
    let mut described = client.admin().describe_configs(resource).await;
    let (_, entries) = described.pop().expect("one item has one result");
    let entries = entries?;
    let stamp = entries
        .iter()
        .find(|entry| entry.name == "message.timestamp.type");
    Ok(stamp.is_some_and(|entry| entry.value.as_deref() == Some("LogAppendTime")))
}
