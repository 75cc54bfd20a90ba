//! A broker made of a script: TLS and SASL like a real one, and one answer to everything else.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, MetadataResponse, RequestHeader, ResponseHeader,
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use ring::{digest, hmac, pbkdf2};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::certificates::Pair;

/// How a scripted broker listens.
#[derive(Clone, Default)]
pub(in super::super) struct Listener {
    pub tls: Option<ServerTls>,
    /// Mechanisms offered; none means no SASL at all.
    pub mechanisms: Vec<&'static str>,
    pub user: &'static str,
    pub password: Arc<Mutex<String>>,
    /// In milliseconds; 0 for no limit.
    pub lifetime: i64,
    pub asked: Arc<Asked>,
}

/// What was asked of a broker.
#[derive(Default)]
pub(in super::super) struct Asked {
    pub connections: AtomicUsize,
    pub logins: AtomicUsize,
    /// The subjects of client certificates, as DER.
    pub client_certificates: Mutex<Vec<Vec<u8>>>,
    /// First messages of SASL exchanges.
    pub messages: Mutex<VecDeque<Vec<u8>>>,
}

#[derive(Clone)]
pub(in super::super) struct ServerTls {
    pub own: Pair,
    /// More certificates to send.
    pub chain: Vec<Pair>,
    /// Authorities of clients; a client certificate is required where there are any.
    pub clients: Vec<Pair>,
    pub version: &'static rustls::SupportedProtocolVersion,
}

impl ServerTls {
    pub fn new(own: &Pair) -> Self {
        Self {
            own: own.clone(),
            chain: vec![],
            clients: vec![],
            version: &rustls::version::TLS13,
        }
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let der = |pair: &Pair| CertificateDer::from(pair.certificate.to_der().unwrap());
        let chain = std::iter::once(&self.own).chain(&self.chain).map(der);
        let key = self.own.key.private_key_to_pkcs8().unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[self.version])
            .unwrap();
        let builder = if self.clients.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for client in &self.clients {
                roots.add(der(client)).unwrap();
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        };
        let resolver = Resolver(Arc::new(rustls::sign::CertifiedKey::new(
            chain.collect(),
            rustls::crypto::ring::sign::any_supported_type(&key).unwrap(),
        )));
        TlsAcceptor::from(Arc::new(builder.with_cert_resolver(Arc::new(resolver))))
    }
}

/// Hands out certificates that rustls itself would find too old.
#[derive(Debug)]
struct Resolver(Arc<rustls::sign::CertifiedKey>);

impl rustls::server::ResolvesServerCert for Resolver {
    fn resolve(
        &self,
        _hello: rustls::server::ClientHello<'_>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

impl Listener {
    pub fn plain() -> Self {
        Self::default()
    }

    pub fn tls(tls: ServerTls) -> Self {
        Self {
            tls: Some(tls),
            ..Self::default()
        }
    }

    pub fn sasl(mechanisms: &[&'static str], user: &'static str, password: &str) -> Self {
        Self {
            mechanisms: mechanisms.to_vec(),
            user,
            password: Arc::new(Mutex::new(password.to_owned())),
            ..Self::default()
        }
    }

    /// Serves until the test ends; gives the port.
    pub async fn start(&self) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let broker = self.clone();
        let acceptor = self.tls.as_ref().map(ServerTls::acceptor);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (broker, acceptor) = (broker.clone(), acceptor.clone());
                broker.asked.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Some(acceptor) = acceptor else {
                        return broker.serve(stream, port).await;
                    };
                    let stream = acceptor.accept(stream).await.ok()?;
                    if let Some([leaf, ..]) = stream.get_ref().1.peer_certificates() {
                        let mut seen = broker.asked.client_certificates.lock().unwrap();
                        seen.push(leaf.to_vec());
                    }
                    broker.serve(stream, port).await
                });
            }
        });
        port
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        mut stream: S,
        port: u16,
    ) -> Option<()> {
        let mut login = (!self.mechanisms.is_empty()).then(Login::default);
        loop {
            let size = stream.read_i32().await.ok()?;
            // As Kafka: more than that is no request, and no answer is given.
            let size = usize::try_from(size)
                .ok()
                .filter(|size| *size < 100 << 20)?;
            let mut frame = vec![0; size];
            stream.read_exact(&mut frame).await.ok()?;
            let mut frame = Bytes::from(frame);
            let header =
                kafka_protocol::protocol::decode_request_header_from_buffer(&mut frame).ok()?;
            let mut answer = BytesMut::new();
            match ApiKey::try_from(header.request_api_key).ok()? {
                ApiKey::ApiVersions => put(&mut answer, &header, &versions()),
                ApiKey::SaslHandshake => self.handshake(&header, frame, &mut login, &mut answer),
                ApiKey::SaslAuthenticate => {
                    self.authenticate(&header, frame, login.as_mut()?, &mut answer);
                }
                // Unauthenticated requests are no good here.
                _ if login.as_ref().is_some_and(|login| !login.done) => return None,
                ApiKey::Metadata => put(&mut answer, &header, &metadata(port)),
                _ => return None,
            }
            let size = i32::try_from(answer.len()).unwrap();
            stream.write_i32(size).await.ok()?;
            stream.write_all(&answer).await.ok()?;
            stream.flush().await.ok()?;
        }
    }

    fn handshake(
        &self,
        header: &RequestHeader,
        mut frame: Bytes,
        login: &mut Option<Login>,
        answer: &mut BytesMut,
    ) {
        let request = SaslHandshakeRequest::decode(&mut frame, header.request_api_version).unwrap();
        let names = self.mechanisms.iter();
        let mut response = SaslHandshakeResponse::default()
            .with_mechanisms(names.map(|name| StrBytes::from_static_str(name)).collect());
        match login {
            None => response.error_code = 34,
            Some(login) => {
                let wanted = request.mechanism.as_str();
                if let Some(mechanism) = self.mechanisms.iter().find(|name| **name == wanted) {
                    *login = Login {
                        mechanism,
                        ..Login::default()
                    };
                } else {
                    response.error_code = 33;
                }
            }
        }
        put(answer, header, &response);
    }

    fn authenticate(
        &self,
        header: &RequestHeader,
        mut frame: Bytes,
        login: &mut Login,
        answer: &mut BytesMut,
    ) {
        let request =
            SaslAuthenticateRequest::decode(&mut frame, header.request_api_version).unwrap();
        let password = self.password.lock().unwrap().clone();
        if login.first.is_none() {
            let mut messages = self.asked.messages.lock().unwrap();
            messages.push_back(request.auth_bytes.to_vec());
        }
        let mut response = SaslAuthenticateResponse::default();
        match login.step(self.user, &password, &request.auth_bytes) {
            Ok(reply) => {
                response.auth_bytes = Bytes::from(reply);
                if login.done {
                    response.session_lifetime_ms = self.lifetime;
                    self.asked.logins.fetch_add(1, Ordering::SeqCst);
                }
            }
            Err(message) => {
                response.error_code = 58;
                response.error_message = Some(StrBytes::from_static_str(message));
            }
        }
        put(answer, header, &response);
    }
}

/// The broker's side of an exchange.
#[derive(Default)]
struct Login {
    mechanism: &'static str,
    first: Option<String>,
    server_first: String,
    refused: bool,
    done: bool,
}

impl Login {
    fn step(
        &mut self,
        user: &str,
        password: &str,
        message: &[u8],
    ) -> Result<Vec<u8>, &'static str> {
        let text = String::from_utf8(message.to_vec()).unwrap();
        match self.mechanism {
            "PLAIN" => {
                self.done = text == format!("\0{user}\0{password}");
                if self.done {
                    Ok(vec![])
                } else {
                    Err("Authentication failed: Invalid username or password")
                }
            }
            "SCRAM-SHA-256" => self.scram(&digest::SHA256, password, text),
            "SCRAM-SHA-512" => self.scram(&digest::SHA512, password, text),
            "OAUTHBEARER" if self.refused => Err("Authentication failed"),
            "OAUTHBEARER" => {
                let expected = format!("n,,\u{1}auth=Bearer {password}\u{1}");
                self.first = Some(text.clone());
                self.done = text.starts_with(&expected);
                self.refused = !self.done;
                Ok(if self.done {
                    vec![]
                } else {
                    br#"{"status":"invalid_token"}"#.to_vec()
                })
            }
            other => panic!("{other} is not scripted"),
        }
    }

    fn scram(
        &mut self,
        hash: &'static digest::Algorithm,
        password: &str,
        text: String,
    ) -> Result<Vec<u8>, &'static str> {
        const SALT: &[u8] = b"sixteen bytes of";
        let Some(first) = &self.first else {
            let bare = text.strip_prefix("n,,").unwrap().to_owned();
            let nonce = bare.split(',').find_map(|field| field.strip_prefix("r="));
            self.server_first = format!(
                "r={}server,s={},i=4096",
                nonce.unwrap(),
                STANDARD.encode(SALT)
            );
            self.first = Some(bare);
            return Ok(self.server_first.clone().into_bytes());
        };
        let (algorithm, derivation) = if hash == &digest::SHA256 {
            (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256)
        } else {
            (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512)
        };
        let sign = |key: &[u8], message: &[u8]| {
            let tag = hmac::sign(&hmac::Key::new(algorithm, key), message);
            tag.as_ref().to_vec()
        };
        let mut salted = vec![0; hash.output_len()];
        let iterations = NonZeroU32::new(4096).unwrap();
        pbkdf2::derive(
            derivation,
            iterations,
            SALT,
            password.as_bytes(),
            &mut salted,
        );
        let (bare, proof) = text.rsplit_once(",p=").unwrap();
        let signed = format!("{first},{},{bare}", self.server_first);
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(hash, &client_key);
        let signature = sign(stored.as_ref(), signed.as_bytes());
        let proof = STANDARD.decode(proof).unwrap();
        let shown: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        if shown != client_key {
            return Err(
                "Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM",
            );
        }
        self.done = true;
        let server_key = sign(&salted, b"Server Key");
        let verifier = STANDARD.encode(sign(&server_key, signed.as_bytes()));
        Ok(format!("v={verifier}").into_bytes())
    }
}

fn put<T: Encodable + HeaderVersion>(answer: &mut BytesMut, header: &RequestHeader, body: &T) {
    let version = header.request_api_version;
    ResponseHeader::default()
        .with_correlation_id(header.correlation_id)
        .encode(answer, T::header_version(version))
        .unwrap();
    body.encode(answer, version).unwrap();
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
        api(ApiKey::SaslHandshake, 0, 1),
        api(ApiKey::SaslAuthenticate, 0, 2),
    ])
}

fn metadata(port: u16) -> MetadataResponse {
    MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_static_str("scripted")))
        .with_topics(vec![])
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(1.into())
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(port)),
        ])
}
