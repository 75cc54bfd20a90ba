//! An identity provider of the tests' own: an OAuth 2.0 token endpoint for client credentials, and the JWKS with which
//! brokers check its tokens.
//!
//! It speaks as much HTTP/1.1 as Java's and Rust's clients need: one request per connection, over plain TCP and over
//! TLS. Tokens are RS256 JWTs. It remembers every token that it gave, so that a test can look for them where they do
//! not belong, and it can be told to misbehave.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::pki::{self, Identity};
use crate::support::lab::Lab;

/// What brokers expect in the tokens' `aud`.
pub const AUDIENCE: &str = "kafka";
/// What brokers expect in the tokens' `iss`.
pub const ISSUER: &str = "https://identity.example";
const KEY_ID: &str = "tests-1";
const TOKEN_PATH: &str = "/oauth2/token";
const JWKS_PATH: &str = "/oauth2/jwks";

/// A running provider; dropped, it stops.
#[derive(Debug)]
pub struct Oidc {
    provider: Arc<Provider>,
    http: SocketAddr,
    https: SocketAddr,
    // Holds the threads that answer.
    _runtime: tokio::runtime::Runtime,
}

/// How the token endpoint answers right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// 503 with a page for people.
    Unavailable,
    /// 200 with a body that is no JSON.
    Nonsense,
}

/// A request for a token, as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub client: String,
    pub scope: Option<String>,
    pub granted: bool,
}

#[derive(Debug)]
struct Provider {
    key: RsaKeyPair,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    clients: HashMap<String, String>,
    lifetime: Duration,
    mood: Mood,
    asked: Vec<Asked>,
    issued: Vec<String>,
}

impl Oidc {
    /// Starts it on two free ports; `identity` is what it shows on the one for HTTPS.
    pub fn start(lab: &Lab, identity: &Identity) -> Result<Self> {
        let der = pki::rsa_key(lab.dir())?;
        let key = RsaKeyPair::from_pkcs8(&der)
            .or_else(|_| RsaKeyPair::from_der(&der))
            .map_err(|e| anyhow!("openssl's RSA key: {e}"))?;
        let provider = Arc::new(Provider {
            key,
            state: Mutex::new(State {
                clients: HashMap::new(),
                lifetime: Duration::from_secs(600),
                mood: Mood::Well,
                asked: Vec::new(),
                issued: Vec::new(),
            }),
        });
        let acceptor = acceptor(identity)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        // Port 0 is safe for a listener that is bound at once and stays.
        let (plain, secure) = runtime.block_on(async {
            anyhow::Ok((
                TcpListener::bind("127.0.0.1:0").await?,
                TcpListener::bind("127.0.0.1:0").await?,
            ))
        })?;
        let (http, https) = (plain.local_addr()?, secure.local_addr()?);
        runtime.spawn(serve(plain, None, Arc::clone(&provider)));
        runtime.spawn(serve(secure, Some(acceptor), Arc::clone(&provider)));
        Ok(Self {
            provider,
            http,
            https,
            _runtime: runtime,
        })
    }

    pub fn token_url(&self) -> String {
        format!("http://{}{TOKEN_PATH}", self.http)
    }

    pub fn token_url_https(&self) -> String {
        format!("https://{}{TOKEN_PATH}", self.https)
    }

    pub fn jwks_url(&self) -> String {
        format!("http://{}{JWKS_PATH}", self.http)
    }

    /// All its addresses, as `org.apache.kafka.sasl.oauthbearer.allowed.urls` takes them.
    pub fn urls(&self) -> String {
        [self.token_url(), self.token_url_https(), self.jwks_url()].join(",")
    }

    /// From now on this client may ask for tokens.
    pub fn allow(&self, client: &str, secret: &str) {
        let mut state = self.provider.state();
        state.clients.insert(client.to_owned(), secret.to_owned());
    }

    /// How long tokens are good for from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        self.provider.state().lifetime = lifetime;
    }

    pub fn set_mood(&self, mood: Mood) {
        self.provider.state().mood = mood;
    }

    /// A token for `subject` without anybody asking; a negative lifetime gives one that is no longer good.
    pub fn token(&self, subject: &str, lifetime_seconds: i64) -> Result<String> {
        self.provider.token(subject, None, lifetime_seconds)
    }

    /// Every request for a token so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.provider.state().asked.clone()
    }

    /// Every token given so far.
    pub fn issued(&self) -> Vec<String> {
        self.provider.state().issued.clone()
    }
}

impl Provider {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while the lock is held")
    }

    fn token(&self, subject: &str, scope: Option<&str>, lifetime_seconds: i64) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let now = i64::try_from(now)?;
        // A token that has ended began before that.
        let issued = now.min(now + lifetime_seconds - 1);
        let mut claims = json!({
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "iat": issued,
            "exp": now + lifetime_seconds,
        });
        if let Some(scope) = scope {
            claims["scope"] = scope.into();
        }
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": KEY_ID });
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|e| anyhow!("signing: {e}"))?;
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        self.state().issued.push(token.clone());
        Ok(token)
    }

    fn jwks(&self) -> String {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.key.public());
        json!({ "keys": [{
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": KEY_ID,
            "n": URL_SAFE_NO_PAD.encode(public.n),
            "e": URL_SAFE_NO_PAD.encode(public.e),
        }] })
        .to_string()
    }

    /// The client credentials grant of RFC 6749, section 4.4.
    fn answer_token(&self, request: &Request) -> Result<Response> {
        match self.state().mood {
            Mood::Well => {}
            Mood::Unavailable => {
                return Ok(Response {
                    status: "503 Service Unavailable",
                    kind: "text/html",
                    body: "<html><body>down for maintenance</body></html>".to_owned(),
                });
            }
            Mood::Nonsense => return Ok(Response::json("200 OK", "certainly".to_owned())),
        }
        let form = form(&request.body);
        let (client, secret) = match request.basic() {
            Some(both) => both,
            None => (
                form.get("client_id").cloned().unwrap_or_default(),
                form.get("client_secret").cloned().unwrap_or_default(),
            ),
        };
        let scope = form.get("scope").cloned();
        let grant = form.get("grant_type").map(String::as_str);
        let known = self.state().clients.get(&client) == Some(&secret);
        let granted = known && grant == Some("client_credentials");
        self.state().asked.push(Asked {
            client: client.clone(),
            scope: scope.clone(),
            granted,
        });
        if !known {
            return Ok(Response::json(
                "401 Unauthorized",
                json!({ "error": "invalid_client", "error_description": "unknown client or wrong secret" })
                    .to_string(),
            ));
        }
        if !granted {
            return Ok(Response::json(
                "400 Bad Request",
                json!({ "error": "unsupported_grant_type" }).to_string(),
            ));
        }
        let lifetime = i64::try_from(self.state().lifetime.as_secs())?;
        let token = self.token(&client, scope.as_deref(), lifetime)?;
        Ok(Response::json(
            "200 OK",
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": lifetime })
                .to_string(),
        ))
    }
}

fn acceptor(identity: &Identity) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(&fs::read(&identity.chain)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| anyhow!("{}: {e:?}", identity.chain.display()))?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(&identity.key)?)
        .map_err(|e| anyhow!("{}: {e:?}", identity.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, provider: Arc<Provider>) {
    // The listener ends with the runtime; a failed accept concerns one connection.
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (provider, tls) = (Arc::clone(&provider), tls.clone());
        tokio::spawn(async move {
            // Whoever hangs up early learns nothing, and that is tested at their end.
            let _ = match tls {
                None => converse(stream, &provider).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => converse(stream, &provider).await,
                    Err(error) => Err(error.into()),
                },
            };
        });
    }
}

#[derive(Debug)]
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Request {
    /// Client id and secret from the header, decoded as section 2.3.1 of RFC 6749 has them encoded.
    fn basic(&self) -> Option<(String, String)> {
        let value = self.headers.get("authorization")?.strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
        let (client, secret) = text.split_once(':')?;
        Some((unescaped(client), unescaped(secret)))
    }
}

#[derive(Debug)]
struct Response {
    status: &'static str,
    kind: &'static str,
    body: String,
}

impl Response {
    fn json(status: &'static str, body: String) -> Self {
        Self {
            status,
            kind: "application/json",
            body,
        }
    }
}

async fn converse<S>(stream: S, provider: &Provider) -> Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = BufReader::new(stream);
    let request = read(&mut stream).await?;
    let response = match (request.method.as_str(), request.path.as_str()) {
        ("POST", TOKEN_PATH) => provider.answer_token(&request)?,
        ("GET", JWKS_PATH) => Response::json("200 OK", provider.jwks()),
        _ => Response::json("404 Not Found", "{}".to_owned()),
    };
    let text = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        response.status,
        response.kind,
        response.body.len(),
        response.body
    );
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(())
}

async fn read<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> Result<Request> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut words = line.split_whitespace();
    let method = words.next().context("an empty request")?.to_owned();
    let path = words.next().context("no path")?.to_owned();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers
        .get("content-length")
        .map_or(Ok(0), |value| value.parse())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Request {
        method,
        path,
        headers,
        body: String::from_utf8(body)?,
    })
}

fn form(body: &str) -> HashMap<String, String> {
    body.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (unescaped(name), unescaped(value)))
        .collect()
}

/// `application/x-www-form-urlencoded`, backwards.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                let code = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(code.unwrap_or(b'?'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
