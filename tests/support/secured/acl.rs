//! Users of a secured cluster and their rights, registered through its plaintext listener.
//!
//! Over the wire instead of with Kafka's tools, which would start a JVM for each user and each resource.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, CreateAclsRequest, DescribeAclsRequest,
};
use kmirror::kafka::{Client, ClientConfig, Target};
use rand::RngCore;
use ring::pbkdf2;

use super::Secured;

/// What a right is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum On {
    Topic(String),
    /// All topics whose names begin so.
    Topics(String),
    Group(String),
    /// All groups whose names begin so.
    Groups(String),
    TransactionalId(String),
    /// All transactional ids that begin so.
    TransactionalIds(String),
    Cluster,
}

/// Operations on one resource, as `kafka-acls` calls them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub on: On,
    pub operations: Vec<String>,
}

impl Right {
    pub fn new(on: On, operations: &[&str]) -> Self {
        Self {
            on,
            operations: operations.iter().map(|name| (*name).to_owned()).collect(),
        }
    }
}

/// What Kafka's own tools take.
const ITERATIONS: u32 = 4096;

impl Secured {
    /// Allows `User:NAME` all of it; returns when the broker knows of it.
    pub fn allow(&self, user: &str, rights: &[Right]) -> Result<()> {
        let mut creations = Vec::new();
        for right in rights {
            for operation in &right.operations {
                creations.push(creation(user, &right.on, operation)?);
            }
        }
        self.as_admin(async |client| {
            let wanted: BTreeSet<Held> = creations.iter().map(held).collect();
            let request = CreateAclsRequest::default().with_creations(creations);
            for result in client.call(Target::Any, request).await?.results {
                ensure!(
                    result.error_code == 0,
                    "an ACL was refused: {} {:?}",
                    result.error_code,
                    result.error_message
                );
            }
            // The controller has them; the broker that decides reads them from the controller's log.
            let start = Instant::now();
            while !rights_of(client, user).await?.is_superset(&wanted) {
                ensure!(
                    start.elapsed() < Duration::from_secs(20),
                    "no sign of the ACLs"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        })
    }

    /// Registers a user of SCRAM, with both of its mechanisms.
    pub fn scram_user(&self, name: &str, password: &str) -> Result<()> {
        self.as_admin(async |client| {
            // One request each: a broker refuses to alter one user twice in the same.
            for (mechanism, algorithm, length) in [
                (1, pbkdf2::PBKDF2_HMAC_SHA256, 32),
                (2, pbkdf2::PBKDF2_HMAC_SHA512, 64),
            ] {
                let mut salt = [0; 24];
                rand::rng().fill_bytes(&mut salt);
                let mut salted = vec![0; length];
                let iterations = NonZeroU32::new(ITERATIONS).context("more than none")?;
                pbkdf2::derive(
                    algorithm,
                    iterations,
                    &salt,
                    password.as_bytes(),
                    &mut salted,
                );
                let upsertion = ScramCredentialUpsertion::default()
                    .with_name(name.to_owned().into())
                    .with_mechanism(mechanism)
                    .with_iterations(i32::try_from(ITERATIONS)?)
                    .with_salt(salt.to_vec().into())
                    .with_salted_password(salted.into());
                let request =
                    AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion]);
                for result in client.call(Target::Any, request).await?.results {
                    ensure!(
                        result.error_code == 0,
                        "a SCRAM user was refused: {} {:?}",
                        result.error_code,
                        result.error_message
                    );
                }
            }
            Ok(())
        })
    }

    fn as_admin<T>(&self, work: impl AsyncFnOnce(&Client) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let config = ClientConfig::new("tests", vec![self.bootstrap()]);
            work(&Client::connect(config).await?).await
        })
    }
}

/// Kind, name, pattern and operation.
type Held = (i8, String, i8, i8);

fn held(creation: &AclCreation) -> Held {
    (
        creation.resource_type,
        creation.resource_name.to_string(),
        creation.resource_pattern_type,
        creation.operation,
    )
}

/// What the broker knows that a user is allowed.
async fn rights_of(client: &Client, user: &str) -> Result<BTreeSet<Held>> {
    const ANY: i8 = 1;
    let request = DescribeAclsRequest::default()
        .with_resource_type_filter(ANY)
        .with_resource_name_filter(None)
        .with_host_filter(None)
        .with_pattern_type_filter(ANY)
        .with_principal_filter(Some(principal(user).into()))
        .with_operation(ANY)
        .with_permission_type(ANY);
    let response = client.call(Target::Any, request).await?;
    ensure!(response.error_code == 0, "{:?}", response.error_message);
    let resources = response.resources.into_iter();
    let rights = resources.flat_map(|on| {
        let name = on.resource_name.to_string();
        let acls = on.acls.into_iter();
        acls.map(move |acl| {
            (
                on.resource_type,
                name.clone(),
                on.pattern_type,
                acl.operation,
            )
        })
    });
    Ok(rights.collect())
}

fn principal(user: &str) -> String {
    format!("User:{user}")
}

fn creation(user: &str, on: &On, operation: &str) -> Result<AclCreation> {
    const LITERAL: i8 = 3;
    const PREFIXED: i8 = 4;
    const ALLOW: i8 = 3;
    let (kind, name, pattern) = match on {
        On::Topic(name) => (2, name.as_str(), LITERAL),
        On::Topics(prefix) => (2, prefix.as_str(), PREFIXED),
        On::Group(name) => (3, name.as_str(), LITERAL),
        On::Groups(prefix) => (3, prefix.as_str(), PREFIXED),
        On::Cluster => (4, "kafka-cluster", LITERAL),
        On::TransactionalId(name) => (5, name.as_str(), LITERAL),
        On::TransactionalIds(prefix) => (5, prefix.as_str(), PREFIXED),
    };
    Ok(AclCreation::default()
        .with_resource_type(kind)
        .with_resource_name(name.to_owned().into())
        .with_resource_pattern_type(pattern)
        .with_principal(principal(user).into())
        .with_host("*".to_owned().into())
        .with_operation(operation_code(operation)?)
        .with_permission_type(ALLOW))
}

/// Kafka's `AclOperation`.
fn operation_code(name: &str) -> Result<i8> {
    const NAMES: [&str; 10] = [
        "Read",
        "Write",
        "Create",
        "Delete",
        "Alter",
        "Describe",
        "ClusterAction",
        "DescribeConfigs",
        "AlterConfigs",
        "IdempotentWrite",
    ];
    let index = NAMES
        .iter()
        .position(|known| *known == name)
        .with_context(|| format!("no operation {name}"))?;
    Ok(i8::try_from(index + 3)?)
}
