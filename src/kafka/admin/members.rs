//! Whether anybody is in a group.

use kafka_protocol::messages::DescribeGroupsRequest;

use super::groups::group_id;
use super::{Admin, Error, ErrorCode, Operation, Target};
use crate::kafka::client::CoordinatorKind;

/// GROUP_ID_NOT_FOUND, which newer brokers say of a group that is not there.
const GROUP_ID_NOT_FOUND: ErrorCode = ErrorCode(69);

impl Admin {
    /// How many members a group of the classic protocol has now; 0 for one that does not exist. Wants Describe on the group.
    ///
    /// # Errors
    /// The coordinator's own.
    pub async fn members_of(&self, group: &str) -> Result<usize, Error> {
        let coordinator = Target::Coordinator {
            kind: CoordinatorKind::Group,
            key: group.to_owned(),
        };
        self.one(coordinator, |connection| async move {
            let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
            let response = connection.send(&request).await?;
            let Some(found) = response.groups.into_iter().next() else {
                return Ok(0);
            };
            match ErrorCode(found.error_code) {
                GROUP_ID_NOT_FOUND => Ok(0),
                code => {
                    let resource = format!("group {group}");
                    code.ok()
                        .map_err(|code| Error::broker(code, None, Operation::Describe, resource))?;
                    Ok(found.members.len())
                }
            }
        })
        .await
    }
}
