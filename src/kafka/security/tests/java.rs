use std::path::PathBuf;

use super::super::Security;
use super::certificates::Pair;
use crate::client::interpret::{Entry, From, Kind, interpret};
use crate::client::settings::{
    Credentials, Identity, Keyed, Pem, SaslSettings, ScramHash, TlsSettings, TokenSource, Trust,
    Verify,
};
use crate::client::{ClientSettings, Place, SecurityProtocol, Text};

fn keyed<T>(value: T) -> Keyed<T> {
    Keyed {
        value,
        place: Place::default(),
    }
}

fn text(value: &str) -> Keyed<Text> {
    keyed(Text::inline(value))
}

/// What another program makes of the properties.
async fn read_again(settings: ClientSettings) -> ClientSettings {
    let properties = Security::new("east", settings).java_properties().await;
    let entries: Vec<Entry> = properties
        .expect("they have this form")
        .into_iter()
        .map(|(key, value)| Entry {
            key: key.to_owned(),
            value: Some(Text::inline(value.expose())),
            place: Place::default(),
            from: From::PropertiesFile,
            folder: PathBuf::new(),
        })
        .collect();
    let read = interpret(&entries);
    let wrong = read.findings.iter().filter(|it| it.kind != Kind::Insecure);
    assert_eq!(wrong.count(), 0, "{:?}", read.findings);
    read.settings
}

fn scram(password: &str) -> SaslSettings {
    SaslSettings::Scram {
        hash: ScramHash::Sha512,
        credentials: Credentials {
            username: text("link"),
            password: text(password),
        },
        token_auth: true,
    }
}

/// Without this, brokers would connect as somebody else, or trust others, than the file says.
#[tokio::test]
async fn what_lies_in_files_here_is_written_out_for_brokers() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Pair::authority("root");
    let own = Pair::client("link", &authority);
    let trust = authority.write_certificate(folder.path(), "ca.pem");
    let settings = ClientSettings {
        protocol: keyed(SecurityProtocol::SaslSsl),
        tls: TlsSettings {
            trust: Some(keyed(Trust::Pem(Pem::File(trust)))),
            identity: Some(keyed(Identity::Pem {
                certificates: Pem::File(own.write_certificate(folder.path(), "link.pem")),
                key: Pem::File(own.write_key(folder.path(), "link.key")),
                key_password: None,
            })),
            verify: keyed(Verify::ChainOnly),
            ..TlsSettings::default()
        },
        sasl: Some(keyed(scram("a \"quoted\\ one"))),
        ..ClientSettings::default()
    };
    let here = Security::new("east", settings.clone());
    let again = read_again(settings).await;
    drop(folder);
    assert_eq!(again.protocol.value, SecurityProtocol::SaslSsl);
    assert_eq!(again.tls.verify.value, Verify::ChainOnly);
    let Some(SaslSettings::Scram {
        credentials,
        hash,
        token_auth,
    }) = again.sasl.as_ref().map(|it| &it.value)
    else {
        panic!("{:?}", again.sasl);
    };
    assert_eq!((*hash, *token_auth), (ScramHash::Sha512, true));
    assert_eq!(credentials.username.value.value.expose(), "link");
    assert_eq!(
        credentials.password.value.value.expose(),
        "a \"quoted\\ one"
    );
    // Nothing is left in files, which brokers could not read.
    let there = Security::new("east", again);
    there
        .prepare()
        .await
        .expect("all of it is in the properties");
    assert_eq!(there.files(), Vec::<&std::path::Path>::new());
    assert_ne!(here.files(), Vec::<&std::path::Path>::new());
}

#[tokio::test]
async fn a_cluster_without_any_of_it_is_said_so() {
    let again = read_again(ClientSettings::default()).await;
    assert_eq!(again.protocol.value, SecurityProtocol::Plaintext);
    assert!(again.sasl.is_none());
}

#[tokio::test]
async fn client_credentials_are_handed_on_with_scope_and_extensions() {
    let extensions = vec![("logicalCluster".to_owned(), "lkc-1".to_owned())];
    let source = TokenSource::ClientCredentials {
        endpoint: keyed("https://idp.example/token".to_owned()),
        client_id: text("id"),
        client_secret: text("secret"),
        scope: Some("kafka".to_owned()),
        extensions: extensions.clone(),
        trust: None,
    };
    let settings = ClientSettings {
        protocol: keyed(SecurityProtocol::SaslPlaintext),
        sasl: Some(keyed(SaslSettings::OAuthBearer(source))),
        ..ClientSettings::default()
    };
    let again = read_again(settings).await;
    let Some(SaslSettings::OAuthBearer(TokenSource::ClientCredentials {
        endpoint,
        client_secret,
        scope,
        extensions: found,
        ..
    })) = again.sasl.map(|it| it.value)
    else {
        panic!("no client credentials");
    };
    assert_eq!(endpoint.value, "https://idp.example/token");
    assert_eq!(client_secret.value.value.expose(), "secret");
    assert_eq!(scope.as_deref(), Some("kafka"));
    assert_eq!(found, extensions);
}

/// Without this, a link would be made that can never connect.
#[tokio::test]
async fn what_only_this_machine_can_do_is_refused() {
    let token = TokenSource::Static {
        token: text("abc"),
        extensions: vec![],
    };
    for source in [
        token,
        TokenSource::MskIam {
            profile: None,
            region: None,
        },
    ] {
        let settings = ClientSettings {
            protocol: keyed(SecurityProtocol::SaslPlaintext),
            sasl: Some(keyed(SaslSettings::OAuthBearer(source))),
            ..ClientSettings::default()
        };
        let refused = Security::new("east", settings).java_properties().await;
        let error = refused.expect_err("brokers cannot do that").to_string();
        assert!(error.contains("cannot be given"), "{error}");
    }
}
