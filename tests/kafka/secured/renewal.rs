//! What changes while a worker runs: sessions that end, tokens that expire, passwords, certificates and authorities
//! that are replaced. The copy goes on, without a restart and without anybody noticing.

use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::copies::{client_credentials, static_token};
use super::{Pair, Way, text};
use crate::support::client::{self, Place};
use crate::support::jars::Version;
use crate::support::lab::Lab;
use crate::support::process::Process;
use crate::support::runner::{Test, Tier};
use crate::support::secured::pki::{Authority, Identity, Validity, keep};
use crate::support::secured::{Door, KMIRROR, SHORT_SESSION_MS};
use crate::support::worker::Kmirror;

pub fn tests() -> Vec<Test> {
    let test = |name, tier, seconds, body| Test {
        name,
        tier,
        brokers: 2,
        seconds,
        body,
    };
    vec![
        test(
            "secured::a_copy_outlives_its_sessions",
            Tier::Long,
            60,
            sessions,
        ),
        test(
            "secured::a_copy_outlives_its_tokens",
            Tier::Long,
            50,
            tokens,
        ),
        test(
            "secured::a_changed_password_is_taken_up",
            Tier::Long,
            40,
            passwords,
        ),
        test(
            "secured::renewed_certificates_are_taken_up",
            Tier::Long,
            40,
            certificates,
        ),
    ]
}

const TOPIC: &str = "orders";

/// A worker, and records that are written while it runs.
struct Copying<'a> {
    lab: &'a Lab,
    pair: &'a Pair,
    worker: Process,
    written: i32,
}

impl<'a> Copying<'a> {
    fn start(lab: &'a Lab, pair: &'a Pair, kmirror: &Kmirror) -> Result<Self> {
        kmirror.ok("apply", &["--yes"])?;
        let mut copying = Self {
            lab,
            pair,
            worker: kmirror.start(&["-v"])?,
            written: 0,
        };
        copying.more()?;
        copying.arrives()?;
        Ok(copying)
    }

    fn more(&mut self) -> Result<()> {
        let place = Place::new(self.pair.east.bootstrap(), TOPIC);
        client::produce(&place, &format!("run {}", self.written), 20)?;
        self.written += 20;
        let ended = self.worker.exited()?;
        ensure!(
            ended.is_none(),
            "the worker ended: {}",
            self.worker.log_text()
        );
        Ok(())
    }

    /// Everything that was written is there, soon.
    fn arrives(&self) -> Result<()> {
        let start = Instant::now();
        let wanted = u64::try_from(self.written)?;
        loop {
            match self.pair.same(TOPIC, wanted) {
                Ok(()) => break,
                Err(error) if start.elapsed() > Duration::from_secs(60) => {
                    return Err(error.context(self.worker.log_text()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        self.lab.note(format!(
            "{wanted} records are the same after {:.1} s",
            start.elapsed().as_secs_f64()
        ));
        Ok(())
    }

    /// Writes now and then, for so long.
    fn go_on(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.more()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        self.arrives()
    }

    /// Nothing went wrong on the way, and it stops when it is asked to.
    fn undisturbed(mut self) -> Result<()> {
        let log = self.worker.log_text();
        for word in [" WARN ", " ERROR "] {
            ensure!(!log.contains(word), "{word} in the worker's log:\n{log}");
        }
        self.stop()
    }

    fn stop(&mut self) -> Result<()> {
        self.worker.signal("TERM")?;
        let status = self.worker.wait(Duration::from_secs(20))?;
        ensure!(status.success(), "{status}: {}", self.worker.log_text());
        Ok(())
    }
}

/// Brokers that want to be shown again who one is (KIP-368): over three sessions' time, no connection is lost.
fn sessions(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Short])?;
    pair.topics(&[TOPIC], 0)?;
    let (east, west) = (pair.east.door(Door::Short), pair.west.door(Door::Short));
    let by = |address: &str, mechanism: &str| {
        Way::to(address)
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", KMIRROR.name)
            .refer("sasl.password", "{ env = \"PASSWORD\" }")
            .set("ssl.ca.location", text(&pair.realm.authority.certificate))
    };
    let ways = [
        (by(&east, "PLAIN"), by(&west, "SCRAM-SHA-512")),
        (
            static_token(lab, &pair, east.clone())?,
            client_credentials(lab, &pair, west.clone())?,
        ),
        (by(&east, "SCRAM-SHA-256"), by(&west, "PLAIN")),
    ];
    let mut written = 0;
    for (east, west) in ways {
        let kmirror = pair.kmirror(lab, &pair.file(&east, &west, &[TOPIC]))?;
        kmirror.ok("apply", &["--yes"])?;
        let mut copying = Copying {
            lab,
            pair: &pair,
            worker: kmirror.start(&["-v"])?,
            written,
        };
        copying.go_on(Duration::from_millis(u64::from(SHORT_SESSION_MS) * 3))?;
        written = copying.written;
        copying.undisturbed()?;
        std::fs::remove_file(lab.dir().join("kmirror.log"))?;
    }
    Ok(())
}

/// Tokens that are good for seconds: fetched again in time, from the endpoint and from a file that somebody keeps fresh.
fn tokens(lab: &Lab) -> Result<()> {
    const LIFETIME: Duration = Duration::from_secs(8);
    let pair = Pair::start(lab, Version::V4_3, &[Door::Sasl])?;
    pair.topics(&[TOPIC], 0)?;
    pair.realm.oidc.set_lifetime(LIFETIME);
    let (east, west) = (pair.east.door(Door::Sasl), pair.west.door(Door::Sasl));
    let file = lab.dir().join("kmirror.token");
    let next = lab.dir().join("next.token");
    let refresh = || {
        let lifetime = LIFETIME.as_secs().cast_signed();
        let token = pair.realm.oidc.token(KMIRROR.name, lifetime)?;
        keep(&next, token.as_bytes())?;
        std::fs::rename(&next, &file).context("a fresh token")
    };
    let west = static_token(lab, &pair, west)?;
    refresh()?;
    let east = client_credentials(lab, &pair, east)?;
    let kmirror = pair.kmirror(lab, &pair.file(&east, &west, &[TOPIC]))?;
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel::<()>();
        let keeper = scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LIFETIME / 4) {
                refresh()?;
            }
            anyhow::Ok(())
        });
        let copied = (|| {
            let start = Instant::now();
            let asked = pair.realm.oidc.asked().len();
            let mut copying = Copying::start(lab, &pair, &kmirror)?;
            copying.go_on(LIFETIME * 2)?;
            let asked = pair.realm.oidc.asked().len() - asked;
            // Twice for `apply` and the worker; from then on in time, and not all the time.
            let lifetimes = usize::try_from(start.elapsed().as_secs() / LIFETIME.as_secs())?;
            ensure!(
                (4..=4 * (lifetimes + 2)).contains(&asked),
                "{asked} tokens asked for in {lifetimes} lifetimes"
            );
            copying.undisturbed()
        })();
        drop(done);
        keeper.join().expect("it does not panic")?;
        copied
    })
}

/// A password is changed at both brokers and in its file.
fn passwords(lab: &Lab) -> Result<()> {
    let pair = Pair::start(lab, Version::V4_3, &[Door::Short])?;
    pair.topics(&[TOPIC], 0)?;
    let file = lab.dir().join("kmirror.password");
    keep(&file, KMIRROR.password.as_bytes())?;
    let by = |address: String| {
        Way::to(address)
            .set("security.protocol", "SASL_SSL")
            .set("sasl.mechanism", "SCRAM-SHA-256")
            .set("sasl.username", KMIRROR.name)
            .refer("sasl.password", "{ file = \"kmirror.password\" }")
            .set("ssl.ca.location", text(&pair.realm.authority.certificate))
    };
    let (east, west) = (pair.east.door(Door::Short), pair.west.door(Door::Short));
    let kmirror = pair.kmirror(lab, &pair.file(&by(east), &by(west), &[TOPIC]))?;
    let mut copying = Copying::start(lab, &pair, &kmirror)?;
    for side in [&pair.east, &pair.west] {
        side.scram_user(KMIRROR.name, "another-Ahk3aeph")?;
    }
    keep(&file, b"another-Ahk3aeph")?;
    copying.go_on(Duration::from_millis(u64::from(SHORT_SESSION_MS) * 3))?;
    copying.stop()
}

/// Both sides get certificates of a new authority; after a restart the brokers trust no other.
fn certificates(lab: &Lab) -> Result<()> {
    let mut pair = Pair::start(lab, Version::V4_3, &[Door::Mtls])?;
    pair.topics(&[TOPIC], 0)?;
    let folder = lab.subdir("certificates")?;
    let install = |authority: &Path, identity: &Identity| {
        for (from, name) in [
            (authority, "ca.pem"),
            (&identity.chain, "kmirror.crt"),
            (&identity.key, "kmirror.key"),
        ] {
            // As tools that renew certificates do it: beside, then over.
            std::fs::copy(from, folder.join("next"))?;
            std::fs::rename(folder.join("next"), folder.join(name))?;
        }
        anyhow::Ok(())
    };
    install(
        &pair.realm.authority.certificate,
        &pair.realm.client(KMIRROR.name)?,
    )?;
    let by = |address: String| {
        Way::to(address)
            .set("security.protocol", "SSL")
            .set("ssl.ca.location", "certificates/ca.pem")
            .set("ssl.certificate.location", "certificates/kmirror.crt")
            .set("ssl.key.location", "certificates/kmirror.key")
    };
    let (east, west) = (pair.east.door(Door::Mtls), pair.west.door(Door::Mtls));
    let kmirror = pair.kmirror(lab, &pair.file(&by(east), &by(west), &[TOPIC]))?;
    let mut copying = Copying::start(lab, &pair, &kmirror)?;

    let next = Authority::new(pair.realm.dir(), "next-ca")?;
    let broker = next.issue("next-broker", "broker", &["127.0.0.1"], Validity::Valid)?;
    let client = next.issue("next-client", KMIRROR.name, &[], Validity::Valid)?;
    install(&next.certificate, &client)?;
    let (worker, written) = (copying.worker, copying.written);
    for side in [&mut pair.east, &mut pair.west] {
        side.stop(0)?;
        side.reconfigure("ssl.keystore.location", text(&broker.both))?;
        side.reconfigure("ssl.truststore.location", text(&next.certificate))?;
        side.start(0)?;
    }
    copying = Copying {
        lab,
        pair: &pair,
        worker,
        written,
    };
    copying.more()?;
    copying.arrives()?;
    copying.stop()
}
