//! What keys mean together, and what is said where they make no sense.

use std::time::Duration;

use super::*;
use crate::client::settings::{
    Identity, Pem, SaslSettings, ScramHash, Store, StoreKind, TokenSource, Trust, Verify,
};

const PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule";
const SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule";
const OAUTH: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";

/// The lines of a properties file, then those of a `client` table.
fn entries(file: &[(&str, &str)], table: &[(&str, &str)]) -> Vec<Entry> {
    let from = |from, folder: &str, lines: &[(&str, &str)]| -> Vec<Entry> {
        lines
            .iter()
            .enumerate()
            .map(|(line, (key, value))| Entry {
                key: (*key).to_owned(),
                value: (*value != "?").then(|| Text::inline(*value)),
                place: Place {
                    key: (*key).to_owned(),
                    at: format!("{folder}:{}", line + 1),
                },
                from,
                folder: folder.into(),
            })
            .collect()
    };
    let mut all = from(From::PropertiesFile, "file", file);
    all.extend(from(From::ClientTable, "table", table));
    all
}

fn of_file(lines: &[(&str, &str)]) -> Interpreted {
    interpret(&entries(lines, &[]))
}

fn settings(lines: &[(&str, &str)]) -> ClientSettings {
    let interpreted = of_file(lines);
    assert_eq!(interpreted.findings, [], "{lines:?}");
    interpreted.settings
}

/// The kind of each finding, with the entry it is about.
fn found(interpreted: &Interpreted) -> Vec<(Kind, usize)> {
    interpreted
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.at.entry))
        .collect()
}

fn pem_text(text: &str) -> Pem {
    Pem::Text(Text::inline(text))
}

#[test]
fn nothing_set_means_plaintext() {
    let settings = settings(&[]);
    assert_eq!(settings.protocol.value, SecurityProtocol::Plaintext);
    assert_eq!(settings.protocol.place.key, "security.protocol");
    assert_eq!(settings.sasl, None);
}

#[test]
fn the_files_of_the_cluster_linking_tutorial_are_understood() {
    for quote in ['\'', '"'] {
        let jaas =
            format!("{PLAIN} required username={quote}admin{quote} password={quote}pw{quote};");
        let settings = settings(&[
            ("sasl.mechanism", "PLAIN"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.jaas.config", &jaas),
            ("ssl.truststore.location", "trust.jks"),
            ("ssl.truststore.password", "store-pw"),
            ("ssl.endpoint.identification.algorithm", "https"),
        ]);
        assert_eq!(settings.protocol.value, SecurityProtocol::SaslSsl);
        let Some(SaslSettings::Plain(credentials)) = settings.sasl.map(|sasl| sasl.value) else {
            panic!("PLAIN");
        };
        assert_eq!(credentials.username.value.value.expose(), "admin");
        assert_eq!(credentials.password.value.value.expose(), "pw");
        assert_eq!(
            credentials.password.place.to_string(),
            "`sasl.jaas.config` (file:3)"
        );
        let Some(Trust::Store(Store {
            kind,
            path,
            password,
        })) = settings.tls.trust.map(|trust| trust.value)
        else {
            panic!("a store");
        };
        assert_eq!((kind, path), (StoreKind::Jks, "file/trust.jks".into()));
        assert_eq!(password.expect("is set").value.value.expose(), "store-pw");
        assert_eq!(settings.tls.verify.value, Verify::Full);
    }
}

#[test]
fn both_spellings_say_the_same() {
    let java = settings_with_warnings(&[
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        (
            "sasl.jaas.config",
            &format!("{SCRAM} required username=\"a\" password=\"b\";"),
        ),
        ("ssl.truststore.type", "PEM"),
        ("ssl.truststore.location", "/ca.pem"),
        ("ssl.endpoint.identification.algorithm", ""),
    ]);
    let other = settings_with_warnings(&[
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanisms", "SCRAM-SHA-512"),
        ("sasl.username", "a"),
        ("sasl.password", "b"),
        ("ssl.ca.location", "/ca.pem"),
        ("ssl.endpoint.identification.algorithm", "none"),
    ]);
    let values = |settings: ClientSettings| {
        let Some(SaslSettings::Scram {
            hash,
            credentials,
            token_auth,
        }) = settings.sasl.map(|sasl| sasl.value)
        else {
            panic!("SCRAM");
        };
        assert_eq!((hash, token_auth), (ScramHash::Sha512, false));
        (
            settings.protocol.value,
            credentials.username.value.value,
            credentials.password.value.value,
            settings.tls.trust.map(|trust| trust.value),
            settings.tls.verify.value,
        )
    };
    assert_eq!(values(java), values(other));
}

fn settings_with_warnings(lines: &[(&str, &str)]) -> ClientSettings {
    of_file(lines).settings
}

#[test]
fn a_client_certificate_is_found_in_each_of_its_forms() {
    const CERT: &str = "-----BEGIN CERTIFICATE-----";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----";
    for (lines, expected) in [
        (
            &[
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.location", "c.pem"),
            ][..],
            (
                Pem::File("file/c.pem".into()),
                Pem::File("file/c.pem".into()),
            ),
        ),
        (
            &[
                ("ssl.keystore.type", "PEM"),
                ("ssl.keystore.certificate.chain", CERT),
                ("ssl.keystore.key", KEY),
            ],
            (pem_text(CERT), pem_text(KEY)),
        ),
        (
            &[
                ("ssl.certificate.location", "c.pem"),
                ("ssl.key.location", "/k.pem"),
            ],
            (Pem::File("file/c.pem".into()), Pem::File("/k.pem".into())),
        ),
        (
            &[("ssl.certificate.pem", CERT), ("ssl.key.pem", KEY)],
            (pem_text(CERT), pem_text(KEY)),
        ),
    ] {
        let mut lines = lines.to_vec();
        lines.extend([("security.protocol", "SSL"), ("ssl.key.password", "kp")]);
        let identity = settings(&lines).tls.identity.expect("is there").value;
        let Identity::Pem {
            certificates,
            key,
            key_password,
        } = identity
        else {
            panic!("{lines:?}");
        };
        assert_eq!((certificates, key), expected);
        assert_eq!(key_password.expect("is set").value.value.expose(), "kp");
    }
    let identity = settings(&[
        ("security.protocol", "SSL"),
        ("ssl.keystore.type", "pkcs12"),
        ("ssl.keystore.location", "c.p12"),
        ("ssl.keystore.password", "sp"),
    ])
    .tls
    .identity;
    assert!(matches!(
        identity.map(|identity| identity.value),
        Some(Identity::Store {
            store: Store {
                kind: StoreKind::Pkcs12,
                ..
            },
            key_password: None
        })
    ));
}

#[test]
fn tokens_come_from_where_the_file_says() {
    let base = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "OAUTHBEARER"),
    ];
    let source = |lines: &[(&str, &str)]| {
        let mut all = base.to_vec();
        all.extend(lines);
        match settings(&all).sasl.map(|sasl| sasl.value) {
            Some(SaslSettings::OAuthBearer(source)) => source,
            other => panic!("{other:?}"),
        }
    };
    const URL: (&str, &str) = ("sasl.oauthbearer.token.endpoint.url", "https://idp/token");
    let java = format!(
        "{OAUTH} required clientId='id' clientSecret='secret' scope='kafka' extension_logicalCluster='lkc-1' \
         ssl.truststore.location='/idp.jks' ssl.truststore.password='x';"
    );
    let strimzi = format!(
        "{OAUTH} required oauth.client.id='id' oauth.client.secret='secret' oauth.scope='kafka' \
         oauth.token.endpoint.uri='https://idp/token';"
    );
    for lines in [
        &[
            URL,
            ("sasl.jaas.config", &java),
            (
                "sasl.login.callback.handler.class",
                "org.apache.kafka.common.security.oauthbearer.secured.OAuthBearerLoginCallbackHandler",
            ),
        ][..],
        &[
            URL,
            ("sasl.oauthbearer.client.credentials.client.id", "id"),
            (
                "sasl.oauthbearer.client.credentials.client.secret",
                "secret",
            ),
            ("sasl.oauthbearer.scope", "kafka"),
        ],
        &[
            URL,
            ("sasl.oauthbearer.method", "OIDC"),
            ("sasl.oauthbearer.client.id", "id"),
            ("sasl.oauthbearer.client.secret", "secret"),
            ("sasl.oauthbearer.scope", "kafka"),
            ("sasl.oauthbearer.extensions", "logicalCluster=lkc-1, x=y"),
            ("https.ca.location", "idp.pem"),
        ],
        &[
            ("sasl.jaas.config", &strimzi),
            (
                "sasl.login.callback.handler.class",
                "io.strimzi.kafka.oauth.client.JaasClientOauthLoginCallbackHandler",
            ),
        ],
    ] {
        let TokenSource::ClientCredentials {
            endpoint,
            client_id,
            client_secret,
            scope,
            ..
        } = source(lines)
        else {
            panic!("{lines:?}");
        };
        assert_eq!(endpoint.value, "https://idp/token");
        assert_eq!(client_id.value.value.expose(), "id");
        assert_eq!(client_secret.value.value.expose(), "secret");
        assert_eq!(scope.as_deref(), Some("kafka"));
    }
    let TokenSource::ClientCredentials {
        extensions, trust, ..
    } = source(&[URL, ("sasl.jaas.config", &java)])
    else {
        panic!("client credentials");
    };
    assert_eq!(
        extensions,
        [("logicalCluster".to_owned(), "lkc-1".to_owned())]
    );
    assert!(matches!(
        trust.map(|trust| trust.value),
        Some(Trust::Store(_))
    ));

    let TokenSource::Static { token, .. } = source(&[("sasl.oauthbearer.token", "ey.J")]) else {
        panic!("a token");
    };
    assert_eq!(token.value.value.expose(), "ey.J");
    let TokenSource::Static { token, .. } =
        source(&[("sasl.oauthbearer.token.endpoint.url", "file:///run/token")])
    else {
        panic!("a token in a file");
    };
    assert_eq!(
        token.value.origin,
        crate::client::Origin::File("/run/token".into())
    );
    assert!(matches!(
        source(&[(
            "sasl.login.callback.handler.class",
            "software.amazon.msk.auth.iam.IAMOAuthBearerLoginCallbackHandler"
        )]),
        TokenSource::MskIam { profile: None, .. }
    ));
}

#[test]
fn amazon_is_understood_by_its_own_mechanism() {
    let sasl = settings(&[
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "AWS_MSK_IAM"),
        (
            "sasl.jaas.config",
            "shaded.software.amazon.msk.auth.iam.IAMLoginModule required awsProfileName=\"p\";",
        ),
        (
            "sasl.client.callback.handler.class",
            "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
        ),
    ])
    .sasl;
    let Some(SaslSettings::OAuthBearer(TokenSource::MskIam { profile, .. })) =
        sasl.map(|sasl| sasl.value)
    else {
        panic!("MSK");
    };
    assert_eq!(profile.as_deref(), Some("p"));
}

#[test]
fn the_client_table_wins_over_the_file() {
    let jaas = format!("{PLAIN} required username=file password=file;");
    let entries = entries(
        &[
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", &jaas),
            ("ssl.truststore.location", "file.jks"),
            ("ssl.truststore.password", "x"),
            ("client.id", "one"),
            ("client.id", "two"),
        ],
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.username", "table"),
            ("sasl.password", "table"),
            ("ssl.ca.location", "ca.pem"),
            ("request.timeout.ms", "1500"),
        ],
    );
    let interpreted = interpret(&entries);
    assert_eq!(interpreted.findings, []);
    let settings = interpreted.settings;
    assert_eq!(settings.protocol.value, SecurityProtocol::SaslSsl);
    assert_eq!(settings.protocol.place.at, "table:1");
    assert_eq!(settings.client_id.as_deref(), Some("two"));
    assert_eq!(settings.request_timeout, Some(Duration::from_millis(1500)));
    assert!(matches!(
        settings.tls.trust.map(|trust| trust.value),
        Some(Trust::Pem(Pem::File(path))) if path == std::path::Path::new("table/ca.pem")
    ));
    let Some(SaslSettings::Plain(credentials)) = settings.sasl.map(|sasl| sasl.value) else {
        panic!("PLAIN");
    };
    assert_eq!(credentials.username.value.value.expose(), "table");
}

#[test]
fn each_mistake_is_found_at_its_key() {
    use Kind::{
        BadJaas, BadValue, Conflict, Insecure, Missing, NoEffect, Refused, Unknown, Unused,
    };
    const SASL: (&str, &str) = ("security.protocol", "SASL_SSL");
    const SSL: (&str, &str) = ("security.protocol", "SSL");
    const MECHANISM: (&str, &str) = ("sasl.mechanism", "PLAIN");
    const TOKENS: (&str, &str) = ("sasl.mechanism", "OAUTHBEARER");
    const URL: (&str, &str) = ("sasl.oauthbearer.token.endpoint.url", "https://idp/");
    const ID: (&str, &str) = ("sasl.oauthbearer.client.id", "id");
    const SECRET: (&str, &str) = ("sasl.oauthbearer.client.secret", "x");
    let plain = format!("{PLAIN} required username=a password=b;");
    let junk = format!("{PLAIN} required username=a password=b user_c=d;");
    let nameless = format!("{PLAIN} required password=b;");
    let scram = format!("{SCRAM} required username=a password=b tokenauth=yes;");
    let unsecured = format!("{OAUTH} required unsecuredLoginStringClaim_sub=alice;");
    let both = format!("{OAUTH} required clientId=a clientSecret=b extension_auth=c;");
    let krb = "com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true;";
    let role = "software.amazon.msk.auth.iam.IAMLoginModule required awsRoleArn=\"arn\";";
    let mut wrong = Vec::new();
    for (lines, expected) in [
        (&[("sasl.mecanism", "PLAIN")][..], &[(Unknown, 0)][..]),
        (
            &[("acks", "all"), ("confluent.x", "y")],
            &[(NoEffect, 0), (NoEffect, 1)],
        ),
        (&[("ssl.crl.location", "x")], &[(Refused, 0)]),
        (&[("sasl.kerberos.kinit.cmd", "/usr/bin/kinit")], &[]),
        (
            &[("sasl.oauthbearer.header.urlencode", "true")],
            &[(Refused, 0)],
        ),
        (&[("security.protocol", "TLS")], &[(BadValue, 0)]),
        (
            &[("security.protocol", "")],
            &[(BadValue, 0), (BadValue, 0)],
        ),
        (&[("request.timeout.ms", "30s")], &[(BadValue, 0)]),
        (&[("request.timeout.ms", "0")], &[(BadValue, 0)]),
        (
            &[("request.timeout.ms", "1"), ("socket.timeout.ms", "1")],
            &[(Conflict, 1)],
        ),
        (&[("ssl.ca.pem", "ca.pem"), SSL], &[(BadValue, 0)]),
        // Not used.
        (
            &[MECHANISM, ("sasl.username", "a"), ("sasl.password", "b")],
            &[(Unused, 0)],
        ),
        (&[SSL, MECHANISM], &[(Unused, 1)]),
        (&[("ssl.ca.location", "ca")], &[(Unused, 0)]),
        (&[("ssl.enabled.protocols", "TLSv1.3")], &[]),
        // Mechanisms.
        (&[SASL], &[(Missing, 0)]),
        (
            &[SASL, ("sasl.jaas.config", krb)],
            &[(Refused, 1), (Missing, 0)],
        ),
        (
            &[
                SASL,
                ("sasl.mechanism", "GSSAPI"),
                ("sasl.jaas.config", krb),
            ],
            &[(Refused, 2), (Refused, 1)],
        ),
        (&[SASL, ("sasl.mechanism", "plain")], &[(BadValue, 1)]),
        (
            &[
                SASL,
                MECHANISM,
                ("sasl.mechanisms", "PLAIN"),
                ("sasl.jaas.config", &plain),
            ],
            &[(Conflict, 2)],
        ),
        // Credentials.
        (&[SASL, MECHANISM], &[(Missing, 1)]),
        (&[SASL, MECHANISM, ("sasl.username", "a")], &[(Missing, 2)]),
        (&[SASL, MECHANISM, ("sasl.password", "a")], &[(Missing, 2)]),
        (
            &[
                SASL,
                MECHANISM,
                ("sasl.jaas.config", &plain),
                ("sasl.username", "a"),
            ],
            &[(Conflict, 3)],
        ),
        (
            &[SASL, MECHANISM, ("sasl.jaas.config", &junk)],
            &[(NoEffect, 2)],
        ),
        (
            &[SASL, MECHANISM, ("sasl.jaas.config", &nameless)],
            &[(BadJaas, 2)],
        ),
        (
            &[SASL, MECHANISM, ("sasl.jaas.config", "x")],
            &[(BadJaas, 2)],
        ),
        (
            &[
                SASL,
                MECHANISM,
                ("sasl.jaas.config", "x.MyLoginModule required;"),
            ],
            &[(BadJaas, 2)],
        ),
        (
            &[
                SASL,
                ("sasl.mechanism", "SCRAM-SHA-256"),
                ("sasl.jaas.config", &plain),
            ],
            &[(Conflict, 2)],
        ),
        (
            &[
                SASL,
                ("sasl.mechanism", "SCRAM-SHA-256"),
                ("sasl.jaas.config", &scram),
            ],
            &[(BadJaas, 2)],
        ),
        (
            &[SASL, TOKENS, ("sasl.jaas.config", &plain)],
            &[(Conflict, 2)],
        ),
        // Tokens.
        (&[SASL, TOKENS], &[(Missing, 1)]),
        (
            &[SASL, TOKENS, ("sasl.jaas.config", &unsecured)],
            &[(Refused, 2)],
        ),
        (&[SASL, TOKENS, URL], &[(Missing, 2), (Missing, 2)]),
        (&[SASL, TOKENS, URL, ID], &[(Missing, 2)]),
        (
            &[
                SASL,
                TOKENS,
                ID,
                SECRET,
                ("sasl.oauthbearer.token.endpoint.url", "idp"),
            ],
            &[(BadValue, 4)],
        ),
        (
            &[
                SASL,
                TOKENS,
                ID,
                SECRET,
                ("sasl.oauthbearer.token.endpoint.url", "http://idp/"),
            ],
            &[(Insecure, 4)],
        ),
        (
            &[
                SASL,
                TOKENS,
                ID,
                SECRET,
                ("sasl.oauthbearer.token.endpoint.url", "http://127.0.0.1/"),
            ],
            &[],
        ),
        (
            &[
                SASL,
                TOKENS,
                ("sasl.oauthbearer.token.endpoint.url", "file:x"),
            ],
            &[(BadValue, 2)],
        ),
        (
            &[SASL, TOKENS, URL, ID, ("sasl.jaas.config", &both)],
            &[(BadValue, 4), (Conflict, 3)],
        ),
        (
            &[
                SASL,
                TOKENS,
                URL,
                ID,
                SECRET,
                ("sasl.oauthbearer.method", "default"),
            ],
            &[(Refused, 5)],
        ),
        (
            &[
                SASL,
                TOKENS,
                URL,
                ID,
                SECRET,
                ("sasl.oauthbearer.extensions", "x"),
            ],
            &[(BadValue, 5)],
        ),
        (
            &[
                SASL,
                TOKENS,
                URL,
                ID,
                SECRET,
                ("sasl.login.callback.handler.class", "my.Handler"),
            ],
            &[(Refused, 5)],
        ),
        (
            &[
                SASL,
                ("sasl.mechanism", "AWS_MSK_IAM"),
                ("sasl.jaas.config", role),
            ],
            &[(Refused, 2)],
        ),
        // TLS.
        (
            &[SSL, ("ssl.endpoint.identification.algorithm", "")],
            &[(Insecure, 1)],
        ),
        (
            &[SSL, ("ssl.endpoint.identification.algorithm", "ldaps")],
            &[(BadValue, 1)],
        ),
        (
            &[SSL, ("enable.ssl.certificate.verification", "false")],
            &[(Insecure, 1)],
        ),
        (
            &[SSL, ("enable.ssl.certificate.verification", "no")],
            &[(BadValue, 1)],
        ),
        (
            &[SSL, ("ssl.enabled.protocols", "TLSv1.2, TLSv1.1")],
            &[(NoEffect, 1)],
        ),
        (
            &[SSL, ("ssl.enabled.protocols", "TLSv1.1")],
            &[(Refused, 1)],
        ),
        (&[SSL, ("ssl.enabled.protocols", "TLSv9")], &[(BadValue, 1)]),
        (
            &[
                SSL,
                ("ssl.truststore.location", "a"),
                ("ssl.ca.location", "b"),
            ],
            &[(Conflict, 2)],
        ),
        (
            &[
                SSL,
                ("ssl.truststore.location", "a"),
                ("ssl.truststore.type", "BCFKS"),
            ],
            &[(BadValue, 2)],
        ),
        (
            &[
                SSL,
                ("ssl.truststore.location", "a"),
                ("ssl.truststore.type", "PEM"),
                ("ssl.truststore.password", "x"),
            ],
            &[(NoEffect, 3)],
        ),
        (&[SSL, ("ssl.truststore.password", "x")], &[(Missing, 1)]),
        (&[SSL, ("ssl.truststore.type", "JKS")], &[]),
        (&[SSL, ("ssl.keystore.key", "-----BEGIN ")], &[(Missing, 1)]),
        (&[SSL, ("ssl.certificate.location", "a")], &[(Missing, 1)]),
        (
            &[
                SSL,
                ("ssl.keystore.location", "a"),
                ("ssl.key.location", "b"),
            ],
            &[(Conflict, 2)],
        ),
        (
            &[
                SSL,
                ("ssl.keystore.type", "JKS"),
                ("ssl.keystore.key", "-----BEGIN "),
                ("ssl.keystore.certificate.chain", "-----BEGIN "),
            ],
            &[(Conflict, 1)],
        ),
    ] {
        let mut found = found(&of_file(lines));
        let mut expected = expected.to_vec();
        let order = |one: &(Kind, usize)| (one.1, format!("{:?}", one.0));
        found.sort_by_key(order);
        expected.sort_by_key(order);
        if found != expected {
            wrong.push(format!("{lines:?}: {found:?}, expected {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_known_is_no_mistake() {
    for lines in [
        &[("security.protocol", "?"), ("sasl.mechanism", "?")][..],
        &[("security.protocol", "SASL_SSL"), ("sasl.mechanism", "?")],
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", "?"),
            ("sasl.password", "?"),
            ("ssl.ca.location", "?"),
        ],
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", "?"),
        ],
        &[
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.jaas.config", "?"),
        ],
        &[
            ("security.protocol", "SSL"),
            ("ssl.truststore.location", "x"),
            ("ssl.truststore.type", "?"),
        ],
    ] {
        assert_eq!(of_file(lines).findings, [], "{lines:?}");
    }
}

#[test]
fn no_finding_repeats_a_secret() {
    let jaas = format!("{PLAIN} required username=a password=hunter2 hunter2=hunter2;");
    for value in ["hunter2", "hunter2 required;", jaas.as_str()] {
        for key in keys::all() {
            for mechanism in ["PLAIN", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] {
                let interpreted = of_file(&[
                    ("security.protocol", "SASL_SSL"),
                    ("sasl.mechanism", mechanism),
                    (
                        "sasl.oauthbearer.token.endpoint.url",
                        "https://bob:hunter2@idp/",
                    ),
                    (key.name, value),
                ]);
                let said = format!("{interpreted:?}");
                let secret = key.is_secret() || key.name.ends_with("endpoint.url");
                assert!(!secret || !said.contains("hunter2"), "{key:?}: {said}");
            }
        }
    }
    // The second line of a broken key is a key.
    let said = format!("{:?}", of_file(&[("MIIEvQhunter2", "")]).findings);
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn of_a_login_module_only_what_is_harmless_is_shown() {
    let jaas = format!("{PLAIN} required username='alice' password='hunter2' hunter3='x';");
    let interpreted = of_file(&[
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", &jaas),
    ]);
    let shown: Vec<_> = interpreted
        .harmless
        .iter()
        .map(|spot| match &spot.part {
            Part::Within(range) => &jaas[range.clone()],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        shown,
        [PLAIN, "required", "username", "'alice'", "password"]
    );
}
