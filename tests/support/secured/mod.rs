//! Secured clusters: TLS, SASL and an authorizer, on one broker with a listener for each way in.
//!
//! A [`Realm`] holds what the clusters of a test have in common: authorities, users, an identity provider. It starts
//! clusters that are guarded by it. Besides the guarded listeners every cluster keeps its plaintext one, whose nameless
//! principal may do everything: through it a test prepares and inspects the cluster, with clients that need none of what is being
//! tested.
//!
//! A user is the same principal whichever way it comes in: PLAIN, SCRAM, a token's subject and a certificate's common
//! name all give `User:NAME`.

pub mod acl;
pub mod oidc;
pub mod pki;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Result;

use self::oidc::Oidc;
use self::pki::{Authority, Identity, Store, Validity};
use super::cluster::{Cluster, Spec};
use super::lab::Lab;
use super::tools::Tools;

/// May do everything.
pub const ADMIN: User = User {
    name: "admin",
    password: "admin-Ohb4ahTh",
};
/// Who kmirror comes as; what it may do is for the test to say.
pub const KMIRROR: User = User {
    name: "kmirror",
    // Blanks, and what shells, property files and other formats treat as special.
    password: "pa$$w0rd-ohYe1aig #1",
};
/// Is who it says, and may do nothing.
pub const NOBODY: User = User {
    name: "nobody",
    password: "nobody-eiTh7sho",
};
/// Of every store and key that has a password.
pub const STORE_PASSWORD: &str = "store-Quoh0mee";
/// The client secret of [`KMIRROR`] at the identity provider.
pub const CLIENT_SECRET: &str = "client-Iex3quah";

/// A name and the password that goes with it, in PLAIN and in SCRAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    pub name: &'static str,
    pub password: &'static str,
}

impl User {
    /// `sasl.jaas.config` for PLAIN.
    pub fn plain_jaas(self) -> String {
        format!(
            "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"{}\" password=\"{}\";",
            self.name, self.password
        )
    }

    /// `sasl.jaas.config` for SCRAM.
    pub fn scram_jaas(self) -> String {
        format!(
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{}\" password=\"{}\";",
            self.name, self.password
        )
    }
}

/// The ways into a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// `SASL_SSL` with every mechanism.
    Sasl,
    /// The same, and who came in has to prove itself again within three seconds.
    Short,
    /// `SSL` with required client certificates.
    Mtls,
    /// `SASL_SSL` with PLAIN alone.
    PlainOnly,
    /// `SASL_PLAINTEXT` with PLAIN and SCRAM.
    Bare,
    /// As [`Door::PlainOnly`]; its certificate ended yesterday.
    Expired,
    /// As [`Door::PlainOnly`]; its certificate is from an authority that nobody trusts.
    Foreign,
    /// As [`Door::PlainOnly`]; its certificate is for another host.
    Elsewhere,
}

/// How long [`Door::Short`] lets a session last.
pub const SHORT_SESSION_MS: u32 = 3_000;

impl Door {
    fn listener(self) -> &'static str {
        match self {
            Self::Sasl => "SASL",
            Self::Short => "SHORT",
            Self::Mtls => "MTLS",
            Self::PlainOnly => "PLAINONLY",
            Self::Bare => "BARE",
            Self::Expired => "EXPIRED",
            Self::Foreign => "FOREIGN",
            Self::Elsewhere => "ELSEWHERE",
        }
    }

    fn protocol(self) -> &'static str {
        match self {
            Self::Mtls => "SSL",
            Self::Bare => "SASL_PLAINTEXT",
            _ => "SASL_SSL",
        }
    }

    fn mechanisms(self) -> &'static [&'static str] {
        match self {
            Self::Sasl | Self::Short => &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"],
            Self::Bare => &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
            Self::Mtls => &[],
            Self::PlainOnly | Self::Expired | Self::Foreign | Self::Elsewhere => &["PLAIN"],
        }
    }
}

/// What secured clusters of one test have in common.
#[derive(Debug)]
pub struct Realm {
    dir: PathBuf,
    /// Signs what brokers and clients show.
    pub authority: Authority,
    /// Nobody trusts it.
    pub foreign: Authority,
    pub oidc: Oidc,
    broker: Identity,
    clients: Mutex<HashMap<String, Identity>>,
    plain_users: Vec<(String, String)>,
}

impl Realm {
    pub fn new(lab: &Lab) -> Result<Self> {
        let dir = lab.subdir("realm")?;
        let authority = Authority::new(&dir, "ca")?;
        let foreign = Authority::new(&dir, "foreign-ca")?;
        let hosts = ["localhost", "127.0.0.1"];
        let broker = authority.issue("broker", "broker", &hosts, Validity::Valid)?;
        let oidc = Oidc::start(lab, &broker)?;
        oidc.allow(KMIRROR.name, CLIENT_SECRET);
        let plain_users = [ADMIN, KMIRROR, NOBODY]
            .map(|user| (user.name.to_owned(), user.password.to_owned()))
            .to_vec();
        Ok(Self {
            dir,
            authority,
            foreign,
            oidc,
            broker,
            clients: Mutex::default(),
            plain_users,
        })
    }

    /// One more user of PLAIN, on clusters that are started afterwards.
    pub fn plain_user(&mut self, name: &str, password: &str) {
        self.plain_users
            .push((name.to_owned(), password.to_owned()));
    }

    /// The folder with all certificates and stores.
    pub fn dir(&self) -> &PathBuf {
        &self.dir
    }

    /// Starts a cluster of one node with these doors, guarded by this realm.
    pub fn start(&self, lab: &Lab, spec: Spec, doors: &[Door]) -> Result<Secured> {
        let mut spec = spec
            .config(
                "authorizer.class.name",
                "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            )
            .config(
                "super.users",
                &format!("User:ANONYMOUS;User:{}", ADMIN.name),
            )
            .config("num.network.threads", "1")
            .config("ssl.keystore.type", "PEM")
            .config("ssl.keystore.location", &path(&self.broker.both))
            .config("ssl.truststore.type", "PEM")
            .config(
                "ssl.truststore.location",
                &path(&self.authority.certificate),
            )
            .config(
                "ssl.principal.mapping.rules",
                "RULE:^CN=([^,]+).*$/$1/,DEFAULT",
            )
            .config("sasl.oauthbearer.expected.audience", oidc::AUDIENCE)
            .config("sasl.oauthbearer.expected.issuer", oidc::ISSUER)
            .config("sasl.oauthbearer.jwks.endpoint.url", &self.oidc.jwks_url())
            .system_property(
                "org.apache.kafka.sasl.oauthbearer.allowed.urls",
                &self.oidc.urls(),
            );
        for door in doors {
            spec = self.open(spec, *door)?;
        }
        Ok(Secured {
            cluster: spec.start(lab)?,
        })
    }

    fn open(&self, spec: Spec, door: Door) -> Result<Spec> {
        let prefix = format!("listener.name.{}", door.listener().to_lowercase());
        let mut spec = spec.listener(door.listener(), door.protocol());
        let mechanisms = door.mechanisms();
        if !mechanisms.is_empty() {
            spec = spec.config(
                &format!("{prefix}.sasl.enabled.mechanisms"),
                &mechanisms.join(","),
            );
        }
        for mechanism in mechanisms {
            let prefix = format!("{prefix}.{}", mechanism.to_lowercase());
            spec = spec.config(&format!("{prefix}.sasl.jaas.config"), &self.jaas(mechanism));
            if *mechanism == "OAUTHBEARER" {
                spec = spec.config(
                    &format!("{prefix}.sasl.server.callback.handler.class"),
                    "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
                );
            }
            if door == Door::Short {
                spec = spec.config(
                    &format!("{prefix}.connections.max.reauth.ms"),
                    &SHORT_SESSION_MS.to_string(),
                );
            }
        }
        if door == Door::Mtls {
            spec = spec.config(&format!("{prefix}.ssl.client.auth"), "required");
        }
        let here = ["localhost", "127.0.0.1"];
        // Several clusters of a realm start at the same time.
        let file = |what: &str| format!("{what}-{}", spec.name());
        let own = match door {
            Door::Expired => {
                Some(
                    self.authority
                        .issue(&file("expired"), "broker", &here, Validity::Expired)?,
                )
            }
            Door::Foreign => {
                Some(
                    self.foreign
                        .issue(&file("foreign"), "broker", &here, Validity::Valid)?,
                )
            }
            Door::Elsewhere => Some(self.authority.issue(
                &file("elsewhere"),
                "broker",
                &["kafka.example", "192.0.2.7"],
                Validity::Valid,
            )?),
            _ => None,
        };
        if let Some(own) = own {
            spec = spec.config(&format!("{prefix}.ssl.keystore.location"), &path(&own.both));
        }
        Ok(spec)
    }

    fn jaas(&self, mechanism: &str) -> String {
        match mechanism {
            "PLAIN" => {
                let users: String = self
                    .plain_users
                    .iter()
                    .map(|(name, password)| format!(" user_{name}={}", jaas_quoted(password)))
                    .collect();
                property(&format!(
                    "org.apache.kafka.common.security.plain.PlainLoginModule required{users};"
                ))
            }
            "OAUTHBEARER" => {
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
                    .to_owned()
            }
            _ => "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
        }
    }

    /// A certificate for `User:NAME`, signed by the authority that brokers trust.
    pub fn client(&self, name: &str) -> Result<Identity> {
        let mut clients = self.clients.lock().expect("no panic while it is held");
        if let Some(known) = clients.get(name) {
            return Ok(known.clone());
        }
        let file = format!("client-{name}");
        let made = self
            .authority
            .issue(&file, name, &[name], Validity::Valid)?;
        clients.insert(name.to_owned(), made.clone());
        Ok(made)
    }

    /// A trust store with the brokers' authority and [`STORE_PASSWORD`].
    pub fn trust_store(&self, store: Store) -> Result<PathBuf> {
        self.authority.trust_store(store, STORE_PASSWORD)
    }

    /// Writes a `client.properties` into the realm's folder.
    pub fn properties(&self, name: &str, lines: &[(&str, &str)]) -> Result<PathBuf> {
        let file = self.dir.join(name);
        let text: String = lines
            .iter()
            .map(|(key, value)| format!("{key}={}\n", property(value)))
            .collect();
        pki::keep(&file, text.as_bytes())?;
        Ok(file)
    }
}

/// A cluster with doors. It is the cluster that it wraps, reached through its plaintext listener.
#[derive(Debug)]
pub struct Secured {
    cluster: Cluster,
}

impl Secured {
    /// The address of a door.
    pub fn door(&self, door: Door) -> String {
        self.cluster.address(door.listener())
    }

    /// Kafka's own tools, coming in through a door with a `client.properties`.
    pub fn tools_through(&self, door: Door, properties: PathBuf) -> Tools {
        Tools::new(self.cluster.distribution().clone(), self.door(door)).with_config(properties)
    }
}

impl Deref for Secured {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.cluster
    }
}

impl DerefMut for Secured {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }
}

/// A value as Java's property files have it, which are Latin-1 with escapes for everything else.
pub fn property(value: &str) -> String {
    let mut escaped = String::new();
    for unit in value.encode_utf16() {
        match u8::try_from(unit) {
            Ok(b'\\') => escaped.push_str("\\\\"),
            Ok(byte) if byte.is_ascii() => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("\\u{unit:04x}")),
        }
    }
    escaped
}

/// A value in double quotes, as JAAS has it.
pub fn jaas_quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn path(path: &std::path::Path) -> String {
    path.display().to_string()
}
