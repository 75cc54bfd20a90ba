//! How a link's configs say to reach a cluster, in the terms of every other client here.
//!
//! Configs come from whoever may use the REST API and act with what workers have at hand, so nothing in them may point
//! to files or credentials of the workers' machines.

use super::configs::{self, Configs};
use super::keys::{self, BOOTSTRAP_SERVERS, Effect, LOCAL};
use crate::client::interpret::{Entry, Finding, From, Kind, Part, interpret};
use crate::client::secret::{Origin, Text};
use crate::client::settings::{SaslSettings, TokenSource};
use crate::client::{ClientSettings, Place, Secret};

/// One of the two clusters of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The other cluster.
    Remote,
    /// The one that holds the link.
    Local,
}

/// How a cluster is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// Empty where the configs do not say.
    pub bootstrap_servers: Vec<String>,
    /// `None` where the configs say nothing about it.
    pub settings: Option<ClientSettings>,
}

/// What the configs say about one side.
///
/// # Errors
/// What of it cannot be taken, in words that show no value.
pub(super) fn of(configs: &Configs, side: Side) -> Result<Reach, String> {
    let prefix = match side {
        Side::Remote => "",
        Side::Local => LOCAL,
    };
    let servers = configs.value(&format!("{prefix}{BOOTSTRAP_SERVERS}"));
    let bootstrap_servers = servers.map_or(Ok(Vec::new()), configs::servers)?;
    let entries = entries(configs, side);
    if entries.is_empty() && side == Side::Local {
        return Ok(Reach {
            bootstrap_servers,
            settings: None,
        });
    }
    let found = interpret(&entries);
    if let Some(finding) = found.findings.iter().find(|finding| is_fatal(finding)) {
        return Err(words(finding, &entries));
    }
    if let Some(file) = found.files.first() {
        return Err(format!(
            "`{}` names a file, and files of the machines that workers run on are not read for links that are made over REST",
            entries[file.entry].place.key
        ));
    }
    check_tokens(&found.settings)?;
    Ok(Reach {
        bootstrap_servers,
        settings: Some(found.settings),
    })
}

fn entries(configs: &Configs, side: Side) -> Vec<Entry> {
    let of_this_side = |key: &keys::Key| match side {
        Side::Remote => !key.name.starts_with(LOCAL),
        Side::Local => key.name.starts_with(LOCAL),
    };
    keys::all()
        .into_iter()
        .filter(|key| key.is_connection() && key.effect == Effect::CarriedOut && of_this_side(key))
        .filter_map(|key| {
            let plain = key.name.strip_prefix(LOCAL).unwrap_or(key.name);
            let value = configs.exposed(key.name)?;
            (plain != BOOTSTRAP_SERVERS).then(|| Entry {
                key: plain.to_owned(),
                value: value.map(|text| Text {
                    origin: Origin::Inline,
                    value: Secret::new(text),
                }),
                place: Place {
                    key: key.name.to_owned(),
                    at: "config of the link".to_owned(),
                },
                from: From::PropertiesFile,
                folder: std::path::PathBuf::new(),
            })
        })
        .collect()
}

/// Configs are set one by one, too: what is not used yet, or less safe than it could be, is taken.
fn is_fatal(finding: &Finding) -> bool {
    match finding.kind {
        Kind::Unknown
        | Kind::Refused
        | Kind::BadValue
        | Kind::BadJaas
        | Kind::Missing
        | Kind::Conflict => true,
        Kind::NoEffect | Kind::Unused | Kind::Insecure => false,
    }
}

fn words(finding: &Finding, entries: &[Entry]) -> String {
    let at = &entries[finding.at.entry].place.key;
    let mut text = finding.message.clone();
    if !text.contains(&format!("`{at}`")) && finding.at.part != Part::Key {
        text = format!("`{at}`: {text}");
    }
    if !finding.label.is_empty() {
        text = format!("{text}: {}", finding.label);
    }
    match &finding.help {
        Some(help) => format!("{text}; {help}"),
        None => text,
    }
}

fn check_tokens(settings: &ClientSettings) -> Result<(), String> {
    let Some(SaslSettings::OAuthBearer(source)) = settings.sasl.as_ref().map(|sasl| &sasl.value)
    else {
        return Ok(());
    };
    match source {
        TokenSource::ClientCredentials { .. } | TokenSource::Static { .. } => Ok(()),
        TokenSource::MskIam { .. } => Err(
            "AWS_MSK_IAM signs with the credentials of the machines that workers run on, which links that are made over REST do \
             not get: use SCRAM-SHA-512, or describe the link in a topology file"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::SecurityProtocol;
    use crate::linking::Change;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        let pairs = pairs.iter().map(|(name, value)| Change {
            name: (*name).to_owned(),
            value: Some(Secret::new(*value)),
        });
        Configs::new(pairs.collect()).expect("they are taken")
    }

    #[test]
    fn each_side_is_reached_with_its_own_configs() {
        let configs = configs(&[
            ("link.mode", "SOURCE"),
            ("bootstrap.servers", "west-1:9092,west-2:9092"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            (
                "sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"w\" password=\"hunter2\";",
            ),
            ("local.bootstrap.servers", "localhost:9095"),
            ("local.security.protocol", "SSL"),
            ("request.timeout.ms", "7000"),
        ]);
        let remote = configs.reach(Side::Remote).expect("it is said");
        assert_eq!(remote.bootstrap_servers, ["west-1:9092", "west-2:9092"]);
        let settings = remote.settings.expect("it is said");
        assert_eq!(settings.protocol.value, SecurityProtocol::SaslPlaintext);
        assert_eq!(
            settings.request_timeout,
            Some(std::time::Duration::from_secs(7))
        );
        assert!(settings.sasl.is_some());
        let local = configs.reach(Side::Local).expect("it is said");
        let settings = local.settings.expect("it is said");
        assert_eq!(local.bootstrap_servers, ["localhost:9095"]);
        assert_eq!(settings.protocol.value, SecurityProtocol::Ssl);
        assert_eq!(settings.protocol.place.key, "local.security.protocol");
        assert!(settings.sasl.is_none());
    }

    #[test]
    fn without_a_word_about_it_the_own_cluster_is_reached_as_workers_do() {
        let configs = configs(&[("link.mode", "SOURCE"), ("bootstrap.servers", "west:9092")]);
        let local = configs.reach(Side::Local).expect("nothing is said");
        assert_eq!((local.bootstrap_servers.len(), local.settings), (0, None));
    }
}
