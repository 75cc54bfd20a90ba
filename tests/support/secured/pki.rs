//! Authorities, certificates and stores, made for one test.
//!
//! Certificates come from rcgen. Stores and encrypted keys are made with the tools that Kafka's users make them with:
//! keytool for trust stores and JKS, openssl for PKCS12 key stores and for keys with a password.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::support::process;

/// A certificate authority of a test's own.
#[derive(Debug)]
pub struct Authority {
    name: String,
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, PEM.
    pub certificate: PathBuf,
}

/// Whether a certificate is valid when the test runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    Valid,
    /// Ended yesterday.
    Expired,
}

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate and its issuer's, PEM.
    pub chain: PathBuf,
    /// PKCS#8, PEM, not encrypted.
    pub key: PathBuf,
    /// Key and chain in one PEM file, as Kafka wants a PEM key store.
    pub both: PathBuf,
    stem: PathBuf,
    issuer: PathBuf,
}

/// The two kinds of stores that Java knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    Jks,
    Pkcs12,
}

impl Store {
    pub fn name(self) -> &'static str {
        match self {
            Self::Jks => "JKS",
            Self::Pkcs12 => "PKCS12",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Jks => "jks",
            Self::Pkcs12 => "p12",
        }
    }
}

/// How the key in a PEM file is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// PBES2 with AES-256, what openssl does by itself.
    Pbes2,
    /// PBE-SHA1-3DES, which Java 17 reads as well.
    Pbes1,
}

impl Authority {
    /// Makes one; its files are called after it.
    pub fn new(dir: &Path, name: &str) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        let certificate = dir.join(format!("{name}.pem"));
        fs::write(&certificate, pem)?;
        Ok(Self {
            name: name.to_owned(),
            dir: dir.to_owned(),
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// A certificate for a subject `CN=subject` and these hosts (names or addresses); files are called `file.*`.
    pub fn issue(
        &self,
        file: &str,
        subject: &str,
        hosts: &[&str],
        validity: Validity,
    ) -> Result<Identity> {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts)?;
        params.distinguished_name.push(DnType::CommonName, subject);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let day = Duration::from_secs(24 * 3600);
        let now = SystemTime::now();
        params.not_before = (now - day * 30).into();
        params.not_after = match validity {
            Validity::Valid => (now + day * 365).into(),
            Validity::Expired => (now - day).into(),
        };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let stem = self.dir.join(file);
        let chain_pem = format!(
            "{}{}",
            certificate.pem(),
            fs::read_to_string(&self.certificate)?
        );
        let key_pem = key.serialize_pem();
        let identity = Identity {
            chain: stem.with_extension("crt"),
            key: stem.with_extension("key"),
            both: stem.with_extension("pem"),
            issuer: self.certificate.clone(),
            stem,
        };
        fs::write(&identity.chain, &chain_pem)?;
        keep(&identity.key, key_pem.as_bytes())?;
        keep(&identity.both, format!("{key_pem}{chain_pem}").as_bytes())?;
        Ok(identity)
    }

    /// A trust store with this authority in it, made by keytool.
    pub fn trust_store(&self, store: Store, password: &str) -> Result<PathBuf> {
        let file = self
            .dir
            .join(format!("{}.truststore.{}", self.name, store.extension()));
        let _ = fs::remove_file(&file);
        let mut command = keytool();
        command
            .args(["-importcert", "-noprompt", "-alias", "caroot", "-file"])
            .arg(&self.certificate)
            .arg("-keystore")
            .arg(&file)
            .args(["-storetype", store.name(), "-storepass", password]);
        succeed(command)?;
        Ok(file)
    }
}

impl Identity {
    /// A key store with key and chain under one password for store and key.
    pub fn key_store(&self, store: Store, password: &str) -> Result<PathBuf> {
        let pkcs12 = self.stem.with_extension("keystore.p12");
        let _ = fs::remove_file(&pkcs12);
        let mut command = Command::new("openssl");
        command
            .args(["pkcs12", "-export", "-name", "kmirror", "-in"])
            .arg(&self.chain)
            .arg("-inkey")
            .arg(&self.key)
            .arg("-out")
            .arg(&pkcs12)
            .args(["-passout", &format!("pass:{password}")]);
        succeed(command)?;
        if store == Store::Pkcs12 {
            return Ok(pkcs12);
        }
        let jks = self.stem.with_extension("keystore.jks");
        let _ = fs::remove_file(&jks);
        let mut command = keytool();
        command
            .args(["-importkeystore", "-noprompt", "-srckeystore"])
            .arg(&pkcs12)
            .args(["-srcstoretype", "PKCS12", "-srcstorepass", password])
            .arg("-destkeystore")
            .arg(&jks)
            .args(["-deststoretype", "JKS", "-deststorepass", password]);
        succeed(command)?;
        Ok(jks)
    }

    /// The key with a password.
    pub fn encrypted_key(&self, how: Encryption, password: &str) -> Result<PathBuf> {
        let (method, extension) = match how {
            Encryption::Pbes2 => (["-v2", "aes-256-cbc"], "pbes2.key"),
            Encryption::Pbes1 => (["-v1", "PBE-SHA1-3DES"], "pbes1.key"),
        };
        let file = self.stem.with_extension(extension);
        let mut command = Command::new("openssl");
        command
            .args(["pkcs8", "-topk8", "-in"])
            .arg(&self.key)
            .arg("-out")
            .arg(&file)
            .args(method)
            .args(["-passout", &format!("pass:{password}")]);
        succeed(command)?;
        Ok(file)
    }

    /// An encrypted key and the chain in one PEM file, as Kafka wants a PEM key store with `ssl.key.password`.
    pub fn both_encrypted(&self, how: Encryption, password: &str) -> Result<PathBuf> {
        let key = fs::read_to_string(self.encrypted_key(how, password)?)?;
        let file = self.stem.with_extension("encrypted.pem");
        let chain = fs::read_to_string(&self.chain)?;
        keep(&file, format!("{key}{chain}").as_bytes())?;
        Ok(file)
    }

    /// The issuer's certificate, PEM.
    pub fn issuer(&self) -> &Path {
        &self.issuer
    }
}

/// An RSA key as openssl makes it, DER (PKCS#1 or PKCS#8, by version of openssl).
pub fn rsa_key(dir: &Path) -> Result<Vec<u8>> {
    let file = dir.join("rsa.der");
    let mut command = Command::new("openssl");
    command
        .args(["genpkey", "-algorithm", "RSA"])
        .args([
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-outform",
            "DER",
            "-out",
        ])
        .arg(&file);
    succeed(command)?;
    fs::read(&file).with_context(|| file.display().to_string())
}

/// Writes a file that nobody else may read, beside the old one and then over it.
pub fn keep(file: &Path, bytes: &[u8]) -> Result<()> {
    let next = file.with_extension("next");
    fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&next)
        .with_context(|| next.display().to_string())?
        .write_all(bytes)?;
    Ok(fs::rename(&next, file)?)
}

fn keytool() -> Command {
    let mut command = Command::new("keytool");
    // A short-lived JVM: compiling well costs more than it brings.
    command.args(["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC"]);
    command.env_remove("JAVA_TOOL_OPTIONS");
    command.env_remove("JDK_JAVA_OPTIONS");
    command
}

fn succeed(mut command: Command) -> Result<()> {
    let output = process::run(&mut command, None, Duration::from_secs(60))?;
    if !output.status.success() {
        bail!("{command:?} failed:\n{}", output.text());
    }
    Ok(())
}
