//! TLS from the other side: certificate and key of a server of ours, read again when their files change, or made in memory.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use openssl::pkey::{PKey, Private};
use openssl::x509::X509;
use rustls::ServerConfig;
use rustls::crypto::ring;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::files::Files;
use super::pem;
use super::problem::{MaterialProblem, Source};
use super::stores::{OwnIdentity, pair};
use super::tls::{Always, certified};

/// Accepts TLS connections (1.2 and 1.3) with a certificate from PEM files.
pub struct Acceptor {
    certificate: PathBuf,
    key: PathBuf,
    loaded: Mutex<Loaded>,
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor")
            .field("certificate", &self.certificate)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

struct Loaded {
    files: Files,
    config: Arc<ServerConfig>,
}

impl Acceptor {
    /// Reads a certificate chain, leaf first, and its key.
    ///
    /// # Errors
    /// A file that is missing or cannot be used, or a key that belongs to another certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, MaterialProblem> {
        let mut files = Files::default();
        let config = config(certificate, key, &mut files)?;
        Ok(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            loaded: Mutex::new(Loaded { files, config }),
        })
    }

    /// Shakes hands with who has connected.
    ///
    /// # Errors
    /// The peer speaks no TLS, nothing of it that we speak, or went away.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current()).accept(stream).await
    }

    /// The certificate as its files have it now; the former one where those cannot be used.
    fn current(&self) -> Arc<ServerConfig> {
        // What it holds is whole between any two statements.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if !loaded.files.are_unchanged() {
            let mut files = Files::default();
            match config(&self.certificate, &self.key, &mut files) {
                Ok(config) => {
                    let path = self.certificate.display();
                    tracing::info!("the server's certificate {path} was renewed");
                    loaded.config = config;
                }
                Err(problem) => tracing::error!(
                    "the server's certificate has changed and cannot be used, the former one stays: {problem}"
                ),
            }
            // Also of files that cannot be used: they are tried again once they change.
            files.note(&self.certificate);
            files.note(&self.key);
            loaded.files = files;
        }
        Arc::clone(&loaded.config)
    }
}

fn config(
    certificate: &Path,
    key: &Path,
    files: &mut Files,
) -> Result<Arc<ServerConfig>, MaterialProblem> {
    let certificate_source = Source::File(certificate.to_owned());
    let key_source = Source::File(key.to_owned());
    let chain = pem::certificates(&files.read(certificate)?, &certificate_source)?;
    let key = Zeroizing::new(files.read(key)?);
    let key = pem::private_key(&key, None, &key_source)?;
    let identity: OwnIdentity = pair(chain, key, key_source.clone(), certificate_source)?;
    let mut config = server(&identity, &key_source)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn server(identity: &OwnIdentity, key_source: &Source) -> Result<ServerConfig, MaterialProblem> {
    let provider = Arc::new(ring::default_provider());
    let certified = certified(identity, &provider, key_source)?;
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| MaterialProblem::Settings(error.to_string()))?;
    Ok(builder
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(Arc::new(certified)))))
}

/// TLS (1.2 and 1.3) with a certificate that was made in this process and lies in no file. Cheap to clone.
#[derive(Clone)]
pub struct InMemory(TlsAcceptor);

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemory(…)")
    }
}

impl InMemory {
    /// Takes a certificate chain and the key of one of its certificates.
    ///
    /// # Errors
    /// The key belongs to none of them, or is of a kind that TLS has no use for.
    pub fn new(chain: Vec<X509>, key: PKey<Private>) -> Result<Self, MaterialProblem> {
        let identity = pair(chain, key, Source::Text, Source::Text)?;
        let config = server(&identity, &Source::Text)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands with who has connected.
    ///
    /// # Errors
    /// The peer speaks no TLS, nothing of it that we speak, or went away.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.0.accept(stream).await
    }
}
