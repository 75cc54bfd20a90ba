//! A scripted peer at the other end of an in-memory pipe.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, MetadataRequest, MetadataResponse, RequestHeader,
    SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Encodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::client::settings::{Credentials, Keyed, SaslSettings};
use crate::client::{ClientSettings, Place, SecurityProtocol, Text};
use crate::kafka::security::problem::Problem;

const LIMIT: usize = 1024 * 1024;

fn options(timeout_ms: u64) -> ConnectionOptions {
    ConnectionOptions {
        address: "peer:1".into(),
        client_id: "test".into(),
        request_timeout: Duration::from_millis(timeout_ms),
        max_response_bytes: LIMIT,
        security: Security::plaintext("east"),
    }
}

struct Asked {
    header: RequestHeader,
    body: Bytes,
}

/// The peer's side of the pipe.
struct Peer {
    stream: DuplexStream,
}

impl Peer {
    async fn asked(&mut self) -> Asked {
        let size = self.stream.read_i32().await.expect("a request");
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        self.stream.read_exact(&mut frame).await.expect("all of it");
        let mut frame = Bytes::from(frame);
        let header =
            kafka_protocol::protocol::decode_request_header_from_buffer(&mut frame).unwrap();
        Asked {
            header,
            body: frame,
        }
    }

    async fn answer<T: Encodable + HeaderVersion>(&mut self, asked: &Asked, response: &T) {
        let version = asked.header.request_api_version;
        self.answer_in(asked, response, version).await;
    }

    async fn answer_in<T: Encodable + HeaderVersion>(
        &mut self,
        asked: &Asked,
        response: &T,
        version: i16,
    ) {
        let mut frame = BytesMut::new();
        ResponseHeader::default()
            .with_correlation_id(asked.header.correlation_id)
            .encode(&mut frame, T::header_version(version))
            .unwrap();
        response.encode(&mut frame, version).unwrap();
        self.raw(&frame).await;
    }

    async fn raw(&mut self, frame: &[u8]) {
        let size = i32::try_from(frame.len()).unwrap();
        // The other side may have gone, which is what some tests are about.
        let _ = self.stream.write_i32(size).await;
        let _ = self.stream.write_all(frame).await;
    }

    /// Answers the handshake like a broker that knows three requests.
    async fn shake_hands(&mut self) {
        let asked = self.asked().await;
        assert_eq!(asked.header.request_api_key, ApiKey::ApiVersions as i16);
        self.answer(&asked, &versions()).await;
    }
}

fn versions() -> ApiVersionsResponse {
    let api = |key: ApiKey, min, max| {
        ApiVersion::default()
            .with_api_key(key as i16)
            .with_min_version(min)
            .with_max_version(max)
    };
    ApiVersionsResponse::default().with_api_keys(vec![
        api(ApiKey::Metadata, 0, 12),
        api(ApiKey::ApiVersions, 0, 3),
        api(ApiKey::Fetch, 0, 3),
        api(ApiKey::SaslHandshake, 0, 1),
        api(ApiKey::SaslAuthenticate, 0, 2),
    ])
}

fn named(cluster: &str) -> MetadataResponse {
    MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_string(cluster.to_owned())))
        .with_topics(vec![])
}

async fn connected(timeout_ms: u64) -> (Connection, Peer) {
    let (ours, theirs) = tokio::io::duplex(LIMIT);
    let mut peer = Peer { stream: theirs };
    let (connection, ()) = tokio::join!(
        Connection::open(ours, options(timeout_ms)),
        peer.shake_hands()
    );
    (connection.expect("the handshake succeeds"), peer)
}

#[tokio::test]
async fn requests_leave_in_the_order_of_the_calls_and_answers_find_their_futures() {
    let (connection, mut peer) = connected(5_000).await;
    let futures: Vec<_> = (0..20)
        .map(|_| connection.send(&MetadataRequest::default()))
        .collect();
    let script = async {
        let mut last = None;
        let mut asked = Vec::new();
        for _ in 0..20 {
            let one = peer.asked().await;
            assert!(last < Some(one.header.correlation_id));
            last = Some(one.header.correlation_id);
            asked.push(one);
        }
        for (index, one) in asked.iter().enumerate() {
            peer.answer(one, &named(&format!("cluster-{index}"))).await;
        }
    };
    // Polled backwards: the order of the calls counts, not that of the polls.
    let waiting = async {
        for (index, future) in futures.into_iter().enumerate().rev() {
            let response = future.await.expect("an answer");
            let cluster = response.cluster_id.unwrap();
            assert_eq!(cluster.as_str(), format!("cluster-{index}"));
        }
    };
    tokio::join!(script, waiting);
    assert_eq!(connection.in_flight(), 0);
}

#[tokio::test]
async fn a_dropped_future_leaves_the_others_in_step() {
    let (connection, mut peer) = connected(5_000).await;
    let first = connection.send(&MetadataRequest::default());
    let second = connection.send(&MetadataRequest::default());
    drop(first);
    let (one, two) = (peer.asked().await, peer.asked().await);
    peer.answer(&one, &named("first")).await;
    peer.answer(&two, &named("second")).await;
    assert_eq!(second.await.unwrap().cluster_id.unwrap().as_str(), "second");
}

#[tokio::test]
async fn a_broker_that_does_not_know_our_handshake_is_asked_again_in_version_0() {
    let (ours, theirs) = tokio::io::duplex(LIMIT);
    let mut peer = Peer { stream: theirs };
    let script = async {
        let asked = peer.asked().await;
        assert_eq!(asked.header.request_api_version, 3);
        let refusal = ApiVersionsResponse::default().with_error_code(35);
        peer.answer_in(&asked, &refusal, 0).await;
        let asked = peer.asked().await;
        assert_eq!(asked.header.request_api_version, 0);
        assert!(asked.body.is_empty());
        peer.answer(&asked, &versions()).await;
    };
    let (connection, ()) = tokio::join!(Connection::open(ours, options(5_000)), script);
    let connection = connection.unwrap();
    assert_eq!(connection.version::<MetadataRequest>(), Ok(12));
}

#[tokio::test]
async fn a_request_that_the_broker_does_not_offer_is_not_sent() {
    let (connection, _peer) = connected(5_000).await;
    let error = connection.send(&FetchRequest::default()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "peer:1 offers Fetch in versions 0 to 3, kmirror needs one of 4 to 18"
    );
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn an_oversized_answer_is_refused_before_it_is_read() {
    let (connection, mut peer) = connected(5_000).await;
    let future = connection.send(&MetadataRequest::default());
    let other = connection.send(&MetadataRequest::default());
    peer.asked().await;
    peer.stream.write_i32(LIMIT as i32 + 1).await.unwrap();
    let error = future.await.unwrap_err();
    assert!(matches!(error, Error::Oversized { size, .. } if size == LIMIT as u64 + 1));
    assert!(matches!(other.await, Err(Error::Disconnected { .. })));
    connection.closed().await;
}

#[tokio::test]
async fn an_answer_as_large_as_the_limit_is_read() {
    let (connection, mut peer) = connected(5_000).await;
    let answer = connection
        .queue(MetadataRequest::KEY, 12, Vec::new())
        .unwrap();
    let asked = peer.asked().await;
    let mut frame = asked.header.correlation_id.to_be_bytes().to_vec();
    frame.resize(LIMIT, 7);
    let (answer, ()) = tokio::join!(answer.frame(), peer.raw(&frame));
    assert_eq!(answer.unwrap(), frame);
}

#[tokio::test]
async fn a_web_server_is_told_apart_from_a_broker() {
    let (ours, mut theirs) = tokio::io::duplex(LIMIT);
    theirs
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let error = Connection::open(ours, options(5_000)).await.unwrap_err();
    assert!(matches!(error, Error::Oversized { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("is this the port of a Kafka broker")
    );
}

#[tokio::test]
async fn a_peer_that_hangs_up_fails_everything_that_waits_by_name() {
    let (connection, mut peer) = connected(5_000).await;
    let first = connection.send(&MetadataRequest::default());
    let second = connection.send(&MetadataRequest::default());
    peer.asked().await;
    drop(peer);
    for future in [first, second] {
        let error = future.await.unwrap_err();
        assert!(
            matches!(&error, Error::Disconnected { address, during, .. } if address == "peer:1" && during == "Metadata"),
            "{error:?}"
        );
    }
    connection.closed().await;
    assert!(connection.is_closed());
    let late = connection.send(&MetadataRequest::default()).await;
    assert!(matches!(late, Err(Error::Disconnected { .. })));
}

#[tokio::test]
async fn a_peer_that_hangs_up_in_the_middle_of_an_answer_is_noticed() {
    let (connection, mut peer) = connected(5_000).await;
    let future = connection.send(&MetadataRequest::default());
    peer.asked().await;
    peer.stream.write_i32(100).await.unwrap();
    peer.stream.write_all(&[0; 50]).await.unwrap();
    drop(peer);
    assert!(matches!(future.await, Err(Error::Disconnected { .. })));
}

#[tokio::test]
async fn an_answer_to_nothing_ends_the_connection() {
    let (connection, mut peer) = connected(5_000).await;
    let future = connection.send(&MetadataRequest::default());
    peer.asked().await;
    peer.raw(&4711_i32.to_be_bytes()).await;
    let error = future.await.unwrap_err();
    assert!(matches!(&error, Error::Protocol { problem, .. } if problem.contains("4711")));
    connection.closed().await;
}

#[tokio::test]
async fn garbage_in_an_answer_names_the_request_and_the_peer() {
    let (connection, mut peer) = connected(5_000).await;
    let future = connection.send(&MetadataRequest::default());
    let asked = peer.asked().await;
    let mut frame = asked.header.correlation_id.to_be_bytes().to_vec();
    frame.extend([0, 0, 0, 0, 0, 3, 9]);
    peer.raw(&frame).await;
    let error = future.await.unwrap_err();
    assert!(
        matches!(&error, Error::Protocol { address, during, .. } if address == "peer:1" && during == "Metadata"),
        "{error:?}"
    );
    // The frame itself was in step, so the connection goes on.
    assert!(!connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_connection_after_the_time_limit() {
    let (connection, mut peer) = connected(1_000).await;
    let started = Instant::now();
    let first = connection.send(&MetadataRequest::default());
    let second = connection.send(&MetadataRequest::default());
    peer.asked().await;
    let error = first.await.unwrap_err();
    assert!(matches!(&error, Error::Timeout { during, .. } if during == "Metadata"));
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(started.elapsed() < Duration::from_millis(1_200));
    let error = second.await.unwrap_err();
    assert!(
        matches!(&error, Error::Disconnected { cause: Some(cause), .. } if cause.contains("no answer")),
        "{error:?}"
    );
    assert!(connection.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_request_behind_slow_ones_is_not_late_while_answers_arrive() {
    let (connection, mut peer) = connected(1_000).await;
    let futures: Vec<_> = (0..5)
        .map(|_| connection.send(&MetadataRequest::default()))
        .collect();
    let script = async {
        for index in 0..5 {
            let asked = peer.asked().await;
            tokio::time::sleep(Duration::from_millis(800)).await;
            peer.answer(&asked, &named(&index.to_string())).await;
        }
    };
    let waiting = futures::future::try_join_all(futures);
    let (answers, ()) = tokio::join!(waiting, script);
    assert_eq!(answers.unwrap().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_never_times_out() {
    let (connection, mut peer) = connected(100).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let future = connection.send(&MetadataRequest::default());
    let asked = peer.asked().await;
    peer.answer(&asked, &named("still here")).await;
    assert!(future.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_a_time_out_too() {
    let (ours, theirs) = tokio::io::duplex(512);
    let mut peer = Peer { stream: theirs };
    let (connection, ()) = tokio::join!(Connection::open(ours, options(1_000)), peer.shake_hands());
    let connection = connection.unwrap();
    let large = vec![Bytes::from(vec![0; 10_000])];
    let answer = connection.queue(3, 12, large).unwrap();
    assert!(matches!(answer.frame().await, Err(Error::Timeout { .. })));
}

#[tokio::test]
async fn an_answer_still_arrives_when_the_connection_itself_was_dropped() {
    let (connection, mut peer) = connected(5_000).await;
    let future = connection.send(&MetadataRequest::default());
    drop(connection);
    let asked = peer.asked().await;
    peer.answer(&asked, &named("late")).await;
    assert_eq!(future.await.unwrap().cluster_id.unwrap().as_str(), "late");
    // With the last holder gone the peer sees the end.
    assert!(peer.stream.read_i32().await.is_err());
}

#[tokio::test]
async fn pieces_of_a_frame_arrive_whole_and_in_order() {
    let (connection, mut peer) = connected(5_000).await;
    let pieces: Vec<Bytes> = (0..200_u8).map(|n| Bytes::from(vec![n; 300])).collect();
    let expected: Vec<u8> = pieces.iter().flatten().copied().collect();
    let _answer = connection.queue(3, 0, pieces).unwrap();
    let asked = peer.asked().await;
    assert_eq!(asked.body, expected);
}

/// A connection that authenticates with PLAIN; the broker lets its sessions live for ten seconds.
async fn logged_in() -> (Connection, Peer) {
    let (ours, theirs) = tokio::io::duplex(LIMIT);
    let mut peer = Peer { stream: theirs };
    let options = ConnectionOptions {
        security: Security::new("east", plain_settings()),
        ..options(5_000)
    };
    let script = async {
        let asked = peer.asked().await;
        peer.answer(&asked, &versions()).await;
        peer.accept(10_000).await;
    };
    let (connection, ()) = tokio::join!(Connection::open(ours, options), script);
    (connection.expect("the password is right"), peer)
}

fn plain_settings() -> ClientSettings {
    let text = |text: &str, key: &str| Keyed {
        value: Text::inline(text),
        place: Place {
            key: key.to_owned(),
            at: "west.properties:4".to_owned(),
        },
    };
    let credentials = Credentials {
        username: text("bob", "sasl.username"),
        password: text("bob-pw", "sasl.password"),
    };
    ClientSettings {
        protocol: Keyed {
            value: SecurityProtocol::SaslPlaintext,
            place: Place::default(),
        },
        sasl: Some(Keyed {
            value: SaslSettings::Plain(credentials),
            place: Place::default(),
        }),
        ..ClientSettings::default()
    }
}

impl Peer {
    /// Lets the other side in, for so long.
    async fn accept(&mut self, lifetime_ms: i64) {
        let asked = self.asked().await;
        assert_eq!(asked.header.request_api_key, ApiKey::SaslHandshake as i16);
        self.answer(&asked, &SaslHandshakeResponse::default()).await;
        let asked = self.asked().await;
        assert_eq!(
            asked.header.request_api_key,
            ApiKey::SaslAuthenticate as i16
        );
        let response = SaslAuthenticateResponse::default().with_session_lifetime_ms(lifetime_ms);
        self.answer(&asked, &response).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_is_renewed_in_time_and_the_pipeline_around_it_stays_in_order() {
    let (connection, mut peer) = logged_in().await;
    let began = Instant::now();
    // A producer that never stops: always eight requests on their way.
    let sender = connection.clone();
    let sending = tokio::spawn(async move {
        let mut in_flight = std::collections::VecDeque::new();
        for count in 0..4_000_u32 {
            in_flight.push_back((count, sender.send(&MetadataRequest::default())));
            if in_flight.len() >= 8 {
                let (count, answer) = in_flight.pop_front().unwrap();
                let answered = answer.await.expect("nothing is lost");
                assert_eq!(
                    answered.cluster_id.unwrap().as_str(),
                    format!("cluster-{count}")
                );
            }
        }
        for (_, answer) in in_flight {
            answer.await.expect("nothing is lost");
        }
    });
    // The broker: one request after the other, ten milliseconds each, and no mercy while it is being talked into a new session.
    let (mut served, mut renewals) = (0, Vec::new());
    while served < 4_000 {
        let asked = peer.asked().await;
        if asked.header.request_api_key == ApiKey::SaslHandshake as i16 {
            peer.answer(&asked, &SaslHandshakeResponse::default()).await;
            let next = peer.asked().await;
            assert_eq!(
                next.header.request_api_key,
                ApiKey::SaslAuthenticate as i16,
                "something came in between"
            );
            renewals.push(began.elapsed());
            let response = SaslAuthenticateResponse::default().with_session_lifetime_ms(10_000);
            peer.answer(&next, &response).await;
            continue;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        peer.answer(&asked, &named(&format!("cluster-{served}")))
            .await;
        served += 1;
    }
    sending.await.unwrap();
    assert!(renewals.len() >= 4, "{renewals:?}");
    let mut former = Duration::ZERO;
    for renewal in renewals {
        let age = (renewal - former).as_secs_f64();
        assert!((8.4..9.9).contains(&age), "renewed after {age} s");
        former = renewal;
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_is_renewed_too_and_does_not_keep_the_connection_open() {
    let (connection, mut peer) = logged_in().await;
    peer.accept(10_000).await;
    peer.accept(0).await;
    // Without a limit now, nothing more is asked for.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let future = connection.send(&MetadataRequest::default());
    let asked = peer.asked().await;
    peer.answer(&asked, &named("still here")).await;
    assert!(future.await.is_ok());

    let (connection, mut peer) = logged_in().await;
    drop(connection);
    assert!(peer.stream.read_i32().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_renewed_ends_with_the_brokers_reason() {
    let (connection, mut peer) = logged_in().await;
    tokio::time::sleep(Duration::from_secs(7)).await;
    let asked = peer.asked().await;
    peer.answer(&asked, &SaslHandshakeResponse::default()).await;
    let asked = peer.asked().await;
    let waiting = connection.send(&MetadataRequest::default());
    let refusal = SaslAuthenticateResponse::default()
        .with_error_code(58)
        .with_error_message(Some(StrBytes::from_static_str("bob has left")));
    peer.answer(&asked, &refusal).await;
    connection.closed().await;
    let error = waiting.await.unwrap_err().to_string();
    assert!(
        error.contains("the session's time is over and it could not be renewed")
            && error.contains("bob has left")
            && error.contains("`sasl.password` (west.properties:4)"),
        "{error}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever bytes come back, the caller gets an error or an answer, and never waits for good.
    #[test]
    fn no_bytes_can_hang_or_crash_a_caller(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (connection, mut peer) = connected(1_000).await;
            let future = connection.send(&MetadataRequest::default());
            peer.asked().await;
            peer.stream.write_all(&bytes).await.unwrap();
            let _ = future.await;
        });
    }
}

/// A broker of TLS 1.3 may refuse our certificate before anything was asked; the user would be told of a lost connection.
#[test]
fn a_refusal_that_comes_before_the_question_is_still_heard() {
    let shared = Shared::new(options(5_000));
    let security = Arc::clone(&shared.options.security);
    let problem = Problem::TlsPort(SecurityProtocol::Plaintext);
    let refusal = Error::from(security.at("peer:1", problem));
    shared.close(Some(refusal.to_string()), Some(refusal.clone()));
    assert_eq!(shared.disconnected(ApiKey::ApiVersions as i16), refusal);
}
