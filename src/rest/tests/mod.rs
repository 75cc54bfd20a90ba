//! The client against a stand-in that answers as servers of different versions do.

mod steps;
mod turn;
mod versions;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::client::Secret;
use crate::client::settings::TlsSettings;
use crate::kafka::security::rest::{Asker, RestClient};
use crate::rest::documents::{
    ConfigChange, ConfigOperation, LinkState, MirrorState, NewConfig, NewLink, NewMirror,
};
use crate::rest::links::{Action, LinkApi, LinkError, Validation, base_of};
use crate::rest::refusal::Refusal;

/// What is expected to be asked, and what is answered.
struct Exchange {
    asked: &'static str,
    status: u16,
    body: String,
}

fn exchange(asked: &'static str, status: u16, body: &str) -> Exchange {
    Exchange {
        asked,
        status,
        body: body.to_owned(),
    }
}

/// A server that follows a script, and what it was asked.
struct StandIn {
    url: String,
    /// Method, path and body of each request.
    asked: Arc<Mutex<Vec<(String, String)>>>,
    left: Arc<Mutex<VecDeque<Exchange>>>,
}

impl StandIn {
    async fn start(script: Vec<Exchange>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/kafka", listener.local_addr().expect("bound"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(VecDeque::from(script)));
        let (notes, script) = (Arc::clone(&asked), Arc::clone(&left));
        let own = url.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (head, body, mut stream) = request(stream).await;
                let next = script.lock().expect("not poisoned").pop_front();
                let (status, answer) = match next {
                    Some(it) if it.asked == head => (it.status, it.body.replace("{url}", &own)),
                    Some(it) => (599, format!("expected {}", it.asked)),
                    None => (599, "nothing more was expected".to_owned()),
                };
                notes.lock().expect("not poisoned").push((head, body));
                let answer = format!(
                    "HTTP/1.1 {status} Word\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{answer}",
                    answer.len()
                );
                stream
                    .write_all(answer.as_bytes())
                    .await
                    .expect("the client listens");
            }
        });
        Self { url, asked, left }
    }

    fn api(&self) -> LinkApi {
        let password = Secret::new("pw");
        let asker = Asker::Basic {
            username: "user",
            password: &password,
        };
        let http = RestClient::new(&TlsSettings::default(), Some(asker));
        LinkApi::new(http.expect("no material"), &self.url, "lkc-1")
    }

    fn bodies(&self) -> Vec<String> {
        let asked = self.asked.lock().expect("not poisoned");
        asked.iter().map(|(_, body)| body.clone()).collect()
    }

    /// Everything that was expected was asked.
    fn is_done(&self) -> bool {
        self.left.lock().expect("not poisoned").is_empty()
    }
}

async fn request(stream: TcpStream) -> (String, String, TcpStream) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.expect("a line");
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let length = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().expect("a number"))
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await.expect("the body");
    let first: Vec<&str> = lines[0].split(' ').collect();
    let body = String::from_utf8(body).expect("text");
    (
        format!("{} {}", first[0], first[1]),
        body,
        stream.into_inner(),
    )
}

const LINKS: &str = "/kafka/v3/clusters/lkc-1/links";

fn config(name: &str, value: &str) -> NewConfig {
    NewConfig {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

/// Brokers have the API under /kafka/v3, the REST Proxy under /v3, so that either address may be written.
#[test]
fn the_api_is_found_under_each_address() {
    for (url, base) in [
        ("http://b:8090", "http://b:8090/kafka/v3"),
        ("http://b:8090/", "http://b:8090/kafka/v3"),
        ("http://b:8090/kafka", "http://b:8090/kafka/v3"),
        ("http://b:8090/kafka/v3", "http://b:8090/kafka/v3"),
        ("http://b:8082/v3/", "http://b:8082/v3"),
    ] {
        assert_eq!(base_of(url), base);
    }
}

/// Cloud answers 201 and Confluent Platform 204, both without a body. The name is part of the address.
#[tokio::test]
async fn a_link_is_made_whatever_success_is_called() {
    let link = NewLink {
        source_cluster_id: Some("lkc-2".to_owned()),
        configs: vec![config("bootstrap.servers", "src:9092")],
        ..NewLink::default()
    };
    for status in [200, 201, 204] {
        let asked = "POST /kafka/v3/clusters/lkc-1/links?link_name=my%20link&validate_only=false&validate_link=true";
        let server = StandIn::start(vec![exchange(asked, status, "")]).await;
        let made = server
            .api()
            .create_link("my link", &link, Validation::default())
            .await;
        made.expect("made");
        let body = r#"{"source_cluster_id":"lkc-2","configs":[{"name":"bootstrap.servers","value":"src:9092"}]}"#;
        assert_eq!(server.bodies(), [body]);
    }
}

/// Without this, a password would end in a log because a server repeated what it did not like.
#[tokio::test]
async fn what_a_server_repeats_is_hidden() {
    let jaas = r#"PlainLoginModule required username="u" password="tops3cret";"#;
    let link = NewLink {
        configs: vec![config("sasl.jaas.config", jaas)],
        ..NewLink::default()
    };
    let body = r#"{"error_code":40002,"message":"Invalid value tops3cret in sasl.jaas.config"}"#;
    let asked =
        "POST /kafka/v3/clusters/lkc-1/links?link_name=a&validate_only=true&validate_link=false";
    let server = StandIn::start(vec![exchange(asked, 400, body)]).await;
    let validation = Validation {
        only: true,
        leave_out_connection: true,
    };
    let refused = server.api().create_link("a", &link, validation).await;
    let error = refused.expect_err("it is refused").to_string();
    assert_eq!(
        error,
        "Invalid value (hidden) in sasl.jaas.config (400 Bad Request, error code 40002)"
    );
    assert!(!format!("{link:?}").contains("tops3cret"));
}

/// A list comes in pages; what is left of a link whose other half was deleted has no name.
#[tokio::test]
async fn links_are_listed_page_by_page_without_leftovers() {
    let first = format!("GET {LINKS}");
    let script = vec![
        exchange(
            first.leak(),
            200,
            r#"{"metadata":{"next":"{url}/v3/clusters/lkc-1/links?page=2"},"data":[
                {"link_name":"a","link_state":"active","cluster_link_id":"AAA","topic_names":null},
                {"link_name":"","link_state":"UNMANAGED_SOURCE"}]}"#,
        ),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links?page=2",
            200,
            r#"{"metadata":{"next":null},"data":[{"link_name":"b","link_state":"RESTING","topic_names":["t"]}]}"#,
        ),
    ];
    let server = StandIn::start(script).await;
    let links = server.api().links().await.expect("listed");
    let found: Vec<_> = links
        .iter()
        .map(|it| (it.link_name.as_str(), it.link_state.clone()))
        .collect();
    let resting = LinkState::Other("RESTING".to_owned());
    assert_eq!(
        found,
        [("a", Some(LinkState::Active)), ("b", Some(resting))]
    );
    assert_eq!(links[1].topic_names, ["t"]);
}

/// Credentials go to no other server, whatever a list says.
#[tokio::test]
async fn a_next_page_elsewhere_is_not_asked_for() {
    let body = r#"{"metadata":{"next":"http://elsewhere.example/v3"},"data":[]}"#;
    let first = format!("GET {LINKS}");
    let server = StandIn::start(vec![exchange(first.leak(), 200, body)]).await;
    let error = server.api().links().await.expect_err("refused");
    assert!(error.to_string().contains("on another server"), "{error}");
}

/// Cloud writes `is_read_only`, the document of Confluent Platform `read_only`; servers may send both.
#[tokio::test]
async fn configs_are_read_in_both_spellings() {
    let asked = format!("GET {LINKS}/a/configs");
    let body = r#"{"data":[
        {"name":"link.mode","value":"DESTINATION","is_default":true,"is_read_only":true,"is_sensitive":false,"source":"DEFAULT_CONFIG"},
        {"name":"sasl.jaas.config","value":null,"default":false,"read_only":false,"sensitive":true},
        {"name":"acl.sync.ms","value":"5100","default":false,"is_default":false,"read_only":false,"is_read_only":false,"source":"DYNAMIC_CLUSTER_LINK_CONFIG"}]}"#;
    let server = StandIn::start(vec![exchange(asked.leak(), 200, body)]).await;
    let configs = server
        .api()
        .configs("a")
        .await
        .expect("read")
        .expect("there");
    let told: Vec<_> = configs
        .iter()
        .map(|it| (it.is_set(), it.is_read_only, it.is_sensitive))
        .collect();
    assert_eq!(
        told,
        [
            (false, true, false),
            (true, false, true),
            (true, false, false)
        ]
    );
}

/// A link that was just made may not be known yet where its configs are asked for.
#[tokio::test]
async fn what_is_not_there_is_no_error() {
    let script = vec![
        exchange("GET /kafka/v3/clusters/lkc-1/links/a/configs", 404, "{}"),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/a?include_tasks=true",
            404,
            "",
        ),
        exchange(
            "GET /kafka/v3/clusters/lkc-1/links/a/mirrors/t",
            404,
            "<html>",
        ),
    ];
    let server = StandIn::start(script).await;
    let api = server.api();
    assert_eq!(api.configs("a").await.expect("answered"), None);
    assert_eq!(api.link("a").await.expect("answered"), None);
    assert_eq!(api.mirror("a", "t").await.expect("answered"), None);
    assert!(server.is_done());
}

fn changes() -> Vec<ConfigChange> {
    vec![
        ConfigChange {
            name: "acl.sync.ms".to_owned(),
            value: Some("5100".to_owned()),
            operation: ConfigOperation::Set,
        },
        ConfigChange {
            name: "acl.filters".to_owned(),
            value: None,
            operation: ConfigOperation::Delete,
        },
    ]
}

#[tokio::test]
async fn configs_are_changed_in_one_request() {
    let asked = "PUT /kafka/v3/clusters/lkc-1/links/a/configs:alter?validate_only=false";
    let server = StandIn::start(vec![exchange(asked, 204, "")]).await;
    server
        .api()
        .alter_configs("a", &changes())
        .await
        .expect("changed");
    let body = r#"{"data":[{"name":"acl.sync.ms","value":"5100","operation":"SET"},{"name":"acl.filters","operation":"DELETE"}]}"#;
    assert_eq!(server.bodies(), [body]);
}

/// Where `configs:alter` is another verb (7.0 has POST), each config is changed by itself.
#[tokio::test]
async fn configs_are_changed_one_by_one_where_there_is_no_such_request() {
    let script = vec![
        exchange(
            "PUT /kafka/v3/clusters/lkc-1/links/a/configs:alter?validate_only=false",
            405,
            "",
        ),
        exchange(
            "PUT /kafka/v3/clusters/lkc-1/links/a/configs/acl.sync.ms",
            204,
            "",
        ),
        exchange(
            "DELETE /kafka/v3/clusters/lkc-1/links/a/configs/acl.filters",
            204,
            "",
        ),
    ];
    let server = StandIn::start(script).await;
    server
        .api()
        .alter_configs("a", &changes())
        .await
        .expect("changed");
    assert!(server.is_done());
    assert_eq!(server.bodies()[1], r#"{"value":"5100"}"#);
}

/// 7.0 and 7.1 know no other name than the source's, so that it is sent only where it differs.
#[tokio::test]
async fn a_mirror_is_made_with_no_more_than_it_needs() {
    let asked = "POST /kafka/v3/clusters/lkc-1/links/a/mirrors";
    let server = StandIn::start(vec![exchange(asked, 201, "")]).await;
    let mirror = NewMirror {
        source_topic_name: "orders".to_owned(),
        mirror_topic_name: None,
        replication_factor: None,
        configs: Vec::new(),
    };
    server
        .api()
        .create_mirror("a", &mirror)
        .await
        .expect("made");
    assert_eq!(server.bodies(), [r#"{"source_topic_name":"orders"}"#]);
}

/// A refusal of one topic comes inside an answer of status 200.
#[tokio::test]
async fn each_topic_of_an_action_has_its_own_outcome() {
    let asked = "POST /kafka/v3/clusters/lkc-1/links/a/mirrors:promote?validate_only=false";
    let body = r#"{"kind":"KafkaPromoteMirror","data":[
        {"mirror_topic_name":"one","error_code":null,"error_message":null,"mirror_lags":[{"partition":0,"lag":3,"last_source_fetch_offset":7}]},
        {"mirror_topic_name":"two","error_code":400,"error_message":"Topic 'two' has already stopped its mirror.","mirror_lags":[{"partition":0,"lag":-1,"last_source_fetch_offset":-1}]}]}"#;
    let server = StandIn::start(vec![exchange(asked, 200, body)]).await;
    let topics = ["one".to_owned(), "two".to_owned()];
    let outcomes = server.api().act("a", Action::Promote, &topics, false).await;
    let outcomes = outcomes.expect("answered");
    assert_eq!(outcomes[0].refusal(), None);
    assert_eq!(outcomes[0].mirror_lags[0].known(), Some(3));
    let refusal = "Topic 'two' has already stopped its mirror. (error code 400)";
    assert_eq!(outcomes[1].refusal().as_deref(), Some(refusal));
    assert_eq!(outcomes[1].mirror_lags[0].known(), None);
    assert_eq!(server.bodies(), [r#"{"mirror_topic_names":["one","two"]}"#]);
}

/// Confluent Platform called reversal otherwise at first.
#[tokio::test]
async fn older_names_of_an_action_are_tried() {
    let script = vec![
        exchange(
            "POST /kafka/v3/clusters/lkc-1/links/a/mirrors:reverse-and-start-mirror?validate_only=false",
            404,
            "",
        ),
        exchange(
            "POST /kafka/v3/clusters/lkc-1/links/a/mirrors:promote-local-and-start-remote-mirror?validate_only=false",
            200,
            r#"{"data":[]}"#,
        ),
    ];
    let server = StandIn::start(script).await;
    let done = server
        .api()
        .act("a", Action::ReverseAndStart, &["t".to_owned()], false)
        .await;
    assert_eq!(done.expect("done"), []);
}

/// Mirrors are listed for all links under a hyphen; 7.0 writes states in lower case, and may know others.
#[tokio::test]
async fn states_are_read_in_any_case_and_unknown_ones_kept() {
    let asked = "GET /kafka/v3/clusters/lkc-1/links/-/mirrors";
    let row = |status: &str| {
        format!(
            r#"{{"link_name":"a","mirror_topic_name":"t","source_topic_name":"t","mirror_lags":null,"mirror_status":"{status}","state_time_ms":0}}"#
        )
    };
    let rows = [row("pending_stopped"), row("STOPPED"), row("DREAMING")].join(",");
    let body = format!(r#"{{"data":[{rows}]}}"#);
    let server = StandIn::start(vec![exchange(asked, 200, &body)]).await;
    let mirrors = server.api().mirrors(None).await.expect("listed");
    let states: Vec<_> = mirrors.into_iter().map(|it| it.mirror_status).collect();
    let dreaming = MirrorState::Other("DREAMING".to_owned());
    assert_eq!(
        states,
        [MirrorState::PendingStopped, MirrorState::Stopped, dreaming]
    );
    assert!(states[0].is_pending() && !states[1].is_pending());
}

/// A 429 may be a page of HTML; it is asked again, also what must not be done twice, as nothing was done.
#[tokio::test]
async fn too_many_requests_are_waited_out() {
    let asked = "POST /kafka/v3/clusters/lkc-1/links/a/mirrors:pause?validate_only=false";
    let page = "<html><body>Too many requests</body></html>";
    let script = vec![
        exchange(asked, 429, page),
        exchange(asked, 429, r#"{"error_code":42901,"message":"slow down"}"#),
        exchange(asked, 200, r#"{"data":[]}"#),
    ];
    let server = StandIn::start(script).await;
    let done = server
        .api()
        .act("a", Action::Pause, &["t".to_owned()], false)
        .await;
    assert_eq!(done.expect("done"), []);
    assert!(server.is_done());
}

/// What may have been done is not asked for twice, and reading is.
#[tokio::test]
async fn only_what_may_be_done_twice_is_asked_again() {
    let failed = r#"{"error_code":50003,"message":"broker is not available"}"#;
    let create = "POST /kafka/v3/clusters/lkc-1/links/a/mirrors";
    let list = "GET /kafka/v3/clusters/lkc-1/links/-/mirrors";
    let script = vec![
        exchange(create, 500, failed),
        exchange(list, 503, failed),
        exchange(list, 200, r#"{"data":[]}"#),
    ];
    let server = StandIn::start(script).await;
    let mirror = NewMirror {
        source_topic_name: "t".to_owned(),
        mirror_topic_name: None,
        replication_factor: None,
        configs: Vec::new(),
    };
    let refused = server.api().create_mirror("a", &mirror).await;
    let refused = refused.expect_err("refused");
    assert_eq!(refused.refusal().and_then(|it| it.code), Some(50003));
    assert_eq!(server.api().mirrors(None).await.expect("listed"), []);
    assert!(server.is_done());
}

/// What a server says, in whatever form; and the two races after something was made.
#[test]
fn refusals_are_read_leniently() {
    let of = |status: u16, body: &str| {
        Refusal::of(
            hyper::StatusCode::from_u16(status).expect("a status"),
            body.as_bytes(),
        )
    };
    assert_eq!(of(401, "").to_string(), "401 Unauthorized");
    assert_eq!(
        of(400, "bad\n\u{7}request ").to_string(),
        "bad request (400 Bad Request)"
    );
    assert_eq!(of(429, "<html>").message, None);
    let absent = of(
        404,
        r#"{"error_code":404,"message":"Cluster link 'x' does not exist."}"#,
    );
    assert_eq!(
        absent.to_string(),
        "Cluster link 'x' does not exist. (404 Not Found)"
    );
    assert!(absent.is_not_found() && absent.awaits_link() && !absent.may_pass());
    let half = r#"{"error_code":40002,"message":"The remote cluster link 'x' does not exist"}"#;
    assert!(of(400, half).awaits_link());
    assert!(
        !of(
            400,
            r#"{"error_code":40002,"message":"Topic 't' already exists."}"#
        )
        .awaits_link()
    );
    assert!(of(503, "").may_pass() && !of(501, "").may_pass());
}

/// The server is no server of this kind, or is gone.
#[tokio::test]
async fn what_is_no_document_is_said_so() {
    let asked = "GET /kafka/v3/clusters/lkc-1/links/-/mirrors";
    let server = StandIn::start(vec![exchange(asked, 200, "hello")]).await;
    let error = server.api().mirrors(None).await.expect_err("no document");
    assert!(matches!(error, LinkError::Unreadable(_)), "{error}");
}
