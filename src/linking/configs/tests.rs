//! Which configs a link takes, and what becomes of their secrets.

use proptest::prelude::*;

use super::*;

fn change(name: &str, value: &str) -> Change {
    Change {
        name: name.to_owned(),
        value: Some(Secret::new(value)),
    }
}

fn configs(pairs: &[(&str, &str)]) -> Result<Configs, Invalid> {
    Configs::new(
        pairs
            .iter()
            .map(|(name, value)| change(name, value))
            .collect(),
    )
}

const TO: (&str, &str) = ("bootstrap.servers", "east-1:9092, east-2:9092");
const JAAS: &str = r#"org.apache.kafka.common.security.plain.PlainLoginModule required username="u" password="hunter2";"#;

fn secured() -> Configs {
    configs(&[
        TO,
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.jaas.config", JAAS),
    ])
    .expect("they are taken")
}

#[test]
fn what_would_be_left_out_in_silence_is_refused_with_words() {
    let filters =
        r#"{"topicFilters":[{"name":"a","patternType":"LITERAL","filterType":"EXCLUDE"}]}"#;
    let refused = [
        vec![TO, ("consumer.offset.sync.enable", "true")],
        vec![TO, ("acl.sync.enable", "TRUE")],
        vec![TO, ("consumer.group.prefix.enable", "true")],
        vec![TO, ("topic.config.sync.include", "cleanup.policy")],
        vec![
            ("link.mode", "BIDIRECTIONAL"),
            ("connection.mode", "INBOUND"),
            ("remote.link.connection.mode", "INBOUND"),
        ],
        vec![("link.mode", "BIDIRECTIONAL")],
        vec![TO, ("link.mode", "SOURCE"), ("connection.mode", "INBOUND")],
        vec![TO, ("link.mode", "SOURCE"), ("cluster.link.prefix", "a.")],
        vec![TO, ("auto.create.mirror.topics.enable", "true")],
        vec![
            TO,
            ("auto.create.mirror.topics.enable", "true"),
            ("auto.create.mirror.topics.filters", filters),
        ],
        vec![("link.mode", "DESTINATION")],
        vec![TO, ("cluster.link.prefix", "a b")],
        vec![("bootstrap.servers", "east-1:9092,east-2")],
        vec![TO, ("topic.config.sync.ms", "10")],
        vec![TO, ("num.cluster.link.fetchers", "many")],
        vec![TO, ("mirror.start.offset.spec", "yesterday")],
        vec![TO, ("security.protocol", "SASL_SSL")],
        vec![TO, ("security.protocol", "SSLL")],
        vec![
            TO,
            ("sasl.mechanism", "AWS_MSK_IAM"),
            ("security.protocol", "SASL_SSL"),
            (
                "sasl.jaas.config",
                "software.amazon.msk.auth.iam.IAMLoginModule required;",
            ),
        ],
        vec![
            TO,
            ("sasl.mechanism", "OAUTHBEARER"),
            ("security.protocol", "SASL_SSL"),
            ("sasl.oauthbearer.token.endpoint.url", "file:///etc/passwd"),
            (
                "sasl.jaas.config",
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;",
            ),
        ],
        vec![
            TO,
            ("ssl.truststore.certificates", "hunter2"),
            ("security.protocol", "SSL"),
        ],
    ];
    let words: Vec<String> = refused
        .iter()
        .map(|pairs| configs(pairs).expect_err(&format!("{pairs:?}")).0)
        .collect();
    insta::with_settings!({
        prepend_module_to_snapshot => false,
        snapshot_path => concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"),
    }, {
        insta::assert_snapshot!("link_configs_refused", words.join("\n"));
    });
}

#[test]
fn secrets_are_neither_read_back_nor_seen_in_a_debug_line() {
    let configs = secured();
    let jaas = configs.shown_one("sasl.jaas.config").expect("there is one");
    assert_eq!(
        (jaas.value, jaas.is_default, jaas.is_sensitive),
        (None, false, true)
    );
    assert_eq!(jaas.default, None);
    assert!(!format!("{configs:?} {:?}", configs.shown()).contains("hunter2"));
    let stored = configs.store(Uuid::from_u128(1), Some(&Key::generate()));
    let json = serde_json::to_string(&stored.expect("there is a key")).expect("serialises");
    assert!(!json.contains("hunter2"), "{json}");
}

#[test]
fn configs_with_secrets_are_refused_without_a_key_and_told_how_to_make_one() {
    let refused = secured().store(Uuid::nil(), None).expect_err("no key");
    assert!(refused.0.contains("kmirror key new"), "{refused}");
    let plain = configs(&[TO]).expect("they are taken");
    assert!(plain.store(Uuid::nil(), None).is_ok());
}

#[test]
fn other_configs_can_be_changed_without_the_key() {
    let (link, key) = (Uuid::from_u128(7), Key::generate());
    let stored = secured().store(link, Some(&key)).expect("there is a key");
    let altered = Configs::sealed(&stored)
        .altered(&[change("cluster.link.paused", "true")])
        .expect("is taken");
    let stored = altered.store(link, None).expect("nothing is to be sealed");
    let opened = Configs::open(&stored, link, Some(&key)).expect("the same key");
    assert!(opened.is_paused());
    assert_eq!(opened.exposed("sasl.jaas.config"), Some(Some(JAAS)));
    assert!(Configs::open(&stored, link, None).is_err());
    assert!(Configs::open(&stored, link, Some(&Key::generate())).is_err());
    assert!(Configs::open(&stored, Uuid::from_u128(8), Some(&key)).is_err());
}

#[test]
fn what_is_fixed_stays_and_a_feature_takes_its_filters_along() {
    let filters =
        r#"{"topicFilters":[{"name":"*","patternType":"LITERAL","filterType":"INCLUDE"}]}"#;
    let made = configs(&[
        TO,
        ("cluster.link.prefix", "east."),
        ("auto.create.mirror.topics.enable", "true"),
        ("auto.create.mirror.topics.filters", filters),
    ])
    .expect("they are taken");
    assert_eq!(made.topic_filters().include.len(), 1);
    let refused = made.altered(&[change("cluster.link.prefix", "west.")]);
    assert!(
        refused
            .expect_err("is fixed")
            .0
            .contains("fixed once the link is there")
    );
    let reset = Change {
        name: "cluster.link.prefix".to_owned(),
        value: None,
    };
    assert!(made.altered(&[reset]).is_err());
    assert!(
        made.altered(&[change("cluster.link.prefix", "east.")])
            .is_ok()
    );
    let off = made.altered(&[change("auto.create.mirror.topics.enable", "false")]);
    assert!(
        !off.expect("is taken")
            .is_set("auto.create.mirror.topics.filters")
    );
}

#[test]
fn an_inbound_half_needs_no_addresses() {
    let inbound = configs(&[("link.mode", "DESTINATION"), ("connection.mode", "INBOUND")]);
    let inbound = inbound.expect("they are taken");
    assert_eq!(inbound.connection_mode(), ConnectionMode::Inbound);
    let source = configs(&[
        TO,
        ("link.mode", "SOURCE"),
        ("local.bootstrap.servers", "a:1"),
    ]);
    assert_eq!(
        source.expect("they are taken").link_mode(),
        LinkMode::Source
    );
}

#[test]
fn a_link_of_both_ways_says_whether_it_carries_its_other_half() {
    let both = |more: &[(&str, &str)]| {
        let pairs: Vec<(&str, &str)> = [("link.mode", "bidirectional")]
            .iter()
            .chain(more)
            .copied()
            .collect();
        configs(&pairs).expect("they are taken")
    };
    let connects = both(&[TO]);
    assert_eq!(connects.link_mode(), LinkMode::Bidirectional);
    assert!(!connects.carries_other_half());
    let waits = both(&[("connection.mode", "INBOUND")]);
    assert!(!waits.carries_other_half());
    let carries = both(&[TO, ("remote.link.connection.mode", "INBOUND")]);
    assert!(carries.carries_other_half());
    // As the word says, whatever it stands beside.
    let one_way = configs(&[TO, ("remote.link.connection.mode", "INBOUND")]);
    assert!(!one_way.expect("they are taken").carries_other_half());
}

proptest! {
    /// What is kept is read back the same, and taken again as it was read.
    #[test]
    fn what_is_read_back_can_be_set_again(
        paused in any::<bool>(), fetchers in 1..100i64, sync in 1_000..i64::MAX, prefix in "[a-z._-]{1,12}",
        start in prop_oneof![Just("latest".to_owned()), (0..4_000_000_000i64).prop_map(|at| jiff::Timestamp::from_second(at).expect("in range").to_string())],
    ) {
        let fetchers = fetchers.to_string();
        let sync = sync.to_string();
        let made = configs(&[
            TO,
            ("cluster.link.paused", if paused { "True" } else { "FALSE" }),
            ("num.cluster.link.fetchers", &fetchers),
            ("topic.config.sync.ms", &sync),
            ("cluster.link.prefix", &prefix),
            ("mirror.start.offset.spec", &start),
        ]).expect("they are taken");
        let read: Vec<Change> = made.shown().into_iter().filter(|shown| !shown.is_default)
            .map(|shown| change(shown.name, &shown.value.expect("none is secret"))).collect();
        prop_assert_eq!(&Configs::new(read).expect("as it was read"), &made);
        let stored = made.store(Uuid::nil(), None).expect("nothing is secret");
        let json = serde_json::to_string(&stored).expect("serialises");
        let stored: LinkConfigsRecord = serde_json::from_str(&json).expect("deserialises");
        prop_assert_eq!(&Configs::open(&stored, Uuid::nil(), None).expect("nothing is sealed"), &made);
        prop_assert_eq!(made.is_paused(), paused);
        prop_assert_eq!(made.prefix(), Some(prefix.as_str()));
    }
}
