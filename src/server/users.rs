//! Who may ask: HTTP's Basic authentication against a file of users with hashed passwords.
//!
//! A line of the file is `name:hash`, as Apache's `htpasswd -B` writes it and `kmirror user` does: bcrypt hashes, so that whoever
//! reads the file has no password yet. Checking one is slow on purpose. A password that was right is therefore remembered for a
//! while, as a keyed digest that is of no use outside this process; few are checked at the same time; and a name that is
//! not in the file costs as much as one that is, so that the time tells nobody which names there are.
//!
//! The file is looked at with each request and read again when it has changed. One that cannot be read any more changes nothing:
//! the users stay as they were, and the log says so.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use ring::hmac;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::problem::{ApiError, codes};
use crate::report::clean;

/// How much work a new hash is: 2^10 rounds, some 50 ms on a present machine.
pub const COST: u32 = 10;
/// A hash that asks for more would hold a core for minutes.
const MOST_COST: u32 = 16;
/// bcrypt looks at no more, so a longer password is refused rather than cut.
pub const LONGEST_PASSWORD: usize = 72;
const LARGEST_FILE: u64 = 1 << 20;
const LONGEST_NAME: usize = 256;
/// How long a password that was right is not checked again; counted from when it was checked.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Passwords that are remembered at a time.
const MOST_REMEMBERED: usize = 256;
/// Passwords that are checked at the same time, and how long others wait for their turn.
const AT_ONCE: usize = 2;
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a users file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    #[error("the users file {} cannot be read: {cause}", path.display())]
    Unreadable { path: PathBuf, cause: io::Error },
    #[error("{}:{line}: {problem}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        problem: &'static str,
    },
    #[error("the users file {} names nobody", path.display())]
    Nobody { path: PathBuf },
}

/// Entries by name: their hashes.
type Entries = HashMap<String, String>;

/// The users of a listener.
pub struct Users {
    path: PathBuf,
    file: Mutex<File>,
    remembered: Mutex<HashMap<Digest, Instant>>,
    /// Of this process alone.
    key: hmac::Key,
    /// Checked against where there is no such name.
    nobody: String,
    turns: Semaphore,
}

/// Passwords and hashes are not shown.
impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct File {
    stamp: Option<Stamp>,
    entries: Arc<Entries>,
}

/// What tells a file from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    size: u64,
    modified: (i64, i64),
    inode: u64,
}

type Digest = [u8; 32];

impl Users {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, a line is none, or it names nobody.
    pub fn open(path: &Path) -> Result<Self, UsersError> {
        let stamp = stamp(path);
        let entries = read(path)?;
        warn_of_readers(path);
        // Nobody knows its password; a hash is needed to check against.
        let secret: [u8; 32] = rand::random();
        let cost = entries.values().filter_map(|hash| cost_of(hash)).max();
        let nobody = hash_with(&STANDARD.encode(secret), cost.unwrap_or(COST))
            .map_err(|cause| unreadable(path, io::Error::other(cause)))?;
        let key: [u8; 32] = rand::random();
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(File {
                stamp,
                entries: Arc::new(entries),
            }),
            remembered: Mutex::default(),
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            nobody,
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// The user that an `Authorization` header names, once the password was found right.
    ///
    /// # Errors
    /// No user, a wrong password, or too many passwords to check.
    pub async fn identify(&self, header: Option<&HeaderValue>) -> Result<String, ApiError> {
        let Some(header) = header else {
            return Err(ApiError::plain(
                StatusCode::UNAUTHORIZED,
                "Unauthorized: this server asks for a user name and a password",
            ));
        };
        let failed = || {
            let code = codes::AUTHENTICATION;
            ApiError::new(StatusCode::UNAUTHORIZED, code, "Authentication failed")
        };
        let (name, password) = credentials(header).ok_or_else(failed)?;
        let entries = self.entries();
        let hash = entries.get(&name);
        let digest = self.digest(&name, &password, hash.map_or("", |hash| hash));
        if hash.is_some() && self.remembers(&digest) {
            return Ok(name);
        }
        let turn = tokio::time::timeout(PATIENCE, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(ApiError::too_many("too many passwords are being checked"));
        };
        let known = hash.is_some();
        let hash = hash.unwrap_or(&self.nobody).clone();
        // On a thread of its own: the others go on meanwhile.
        let checked = tokio::task::spawn_blocking(move || is_right(&password, &hash)).await;
        if !(checked.unwrap_or(false) && known) {
            tracing::warn!(target: "kmirror::audit", user = %clean(&name), "audit: user name or password is wrong");
            return Err(failed());
        }
        self.remember(digest);
        Ok(name)
    }

    /// The entries as the file has them now.
    fn entries(&self) -> Arc<Entries> {
        let now = stamp(&self.path);
        let mut file = lock(&self.file);
        if now == file.stamp {
            return Arc::clone(&file.entries);
        }
        // Looked at before it is read: a change in between is noticed the next time.
        file.stamp = now;
        match read(&self.path) {
            Ok(entries) => {
                tracing::info!(
                    users = entries.len(),
                    "the users file has changed and was read again"
                );
                file.entries = Arc::new(entries);
                lock(&self.remembered).clear();
            }
            Err(error) => {
                tracing::error!(%error, "the users file has changed and cannot be used; its former users stay");
            }
        }
        Arc::clone(&file.entries)
    }

    /// Of name, password and hash, so that a changed entry is another one.
    fn digest(&self, name: &str, password: &str, hash: &str) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [name, password, hash] {
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            context.update(&length.to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(context.sign().as_ref());
        digest
    }

    /// Looked up by a keyed digest: how long that takes says nothing about a password.
    fn remembers(&self, digest: &Digest) -> bool {
        lock(&self.remembered)
            .get(digest)
            .is_some_and(|checked| checked.elapsed() < REMEMBERED)
    }

    fn remember(&self, digest: Digest) {
        let mut remembered = lock(&self.remembered);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, checked| checked.elapsed() < REMEMBERED);
        }
        if remembered.len() < MOST_REMEMBERED {
            remembered.insert(digest, Instant::now());
        }
    }
}

/// What a Basic header says: RFC 7617, in UTF-8.
fn credentials(header: &HeaderValue) -> Option<(String, Zeroizing<String>)> {
    let (scheme, encoded) = header.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), Zeroizing::new(password.to_owned())))
}

fn is_right(password: &str, hash: &str) -> bool {
    // Neither would be compared as a whole.
    if password.len() > LONGEST_PASSWORD || password.contains('\0') {
        return false;
    }
    bcrypt::verify(password, hash).unwrap_or(false)
}

/// A line's hash for a new password.
///
/// # Errors
/// A password that cannot be one, in words.
pub fn hash(password: &str) -> Result<String, &'static str> {
    if password.is_empty() {
        return Err("the password is empty");
    }
    if password.len() > LONGEST_PASSWORD {
        return Err("the password is longer than 72 bytes, which is the most that bcrypt looks at");
    }
    if password.contains('\0') {
        return Err("the password has a NUL in it");
    }
    hash_with(password, COST)
}

fn hash_with(password: &str, cost: u32) -> Result<String, &'static str> {
    bcrypt::hash(password, cost).map_err(|_| "the password cannot be hashed")
}

/// Whether a name can stand in a file and in a Basic header.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("the user name is empty");
    }
    if name.len() > LONGEST_NAME {
        return Err("the user name is longer than 256 bytes");
    }
    if name.contains(':') || name.contains(char::is_control) {
        return Err("a user name has neither colons nor control characters in it");
    }
    if name.trim() != name || name.starts_with('#') {
        return Err("a user name neither begins with `#` nor begins or ends with a space");
    }
    Ok(())
}

/// The text of a users file with an entry in place of the former one, or behind all others; without it for `None`. The rest
/// stays as it is. Says whether there was such an entry.
pub fn edited(text: &str, name: &str, hash: Option<&str>) -> (String, bool) {
    let line = hash.map(|hash| format!("{name}:{hash}\n"));
    let mut line = line.as_deref();
    let mut found = false;
    let mut edited = String::with_capacity(text.len() + 128);
    for old in text.lines() {
        match entry(old) {
            Some((of, _)) if of == name => {
                found = true;
                edited.push_str(line.take().unwrap_or_default());
            }
            _ => {
                edited.push_str(old);
                edited.push('\n');
            }
        }
    }
    edited.push_str(line.unwrap_or_default());
    (edited, found)
}

fn entry(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    Some(line.split_once(':').unwrap_or((line, "")))
}

fn read(path: &Path) -> Result<Entries, UsersError> {
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|cause| unreadable(path, cause))?;
    let size = file
        .take(LARGEST_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|cause| unreadable(path, cause))?;
    if size as u64 > LARGEST_FILE {
        let cause = io::Error::new(io::ErrorKind::FileTooLarge, "larger than 1 MiB");
        return Err(unreadable(path, cause));
    }
    let entries = parse(&text).map_err(|(line, problem)| UsersError::Line {
        path: path.to_owned(),
        line,
        problem,
    })?;
    if entries.is_empty() {
        return Err(UsersError::Nobody {
            path: path.to_owned(),
        });
    }
    Ok(entries)
}

fn parse(text: &str) -> Result<Entries, (usize, &'static str)> {
    let mut entries = Entries::new();
    for (number, line) in (1..).zip(text.lines()) {
        let Some((name, hash)) = entry(line) else {
            continue;
        };
        check_name(name).map_err(|problem| (number, problem))?;
        match cost_of(hash) {
            None => {
                return Err((
                    number,
                    "the hash is none of bcrypt ($2b$, $2y$); `kmirror user` and `htpasswd -B` make them",
                ));
            }
            Some(cost) if cost > MOST_COST => {
                return Err((
                    number,
                    "checking this hash would take too long; 16 is the most cost",
                ));
            }
            Some(_) => {}
        }
        if entries.insert(name.to_owned(), hash.to_owned()).is_some() {
            return Err((number, "this name has an entry already"));
        }
    }
    Ok(entries)
}

/// The cost of a bcrypt hash, if it is one.
fn cost_of(hash: &str) -> Option<u32> {
    let version = hash.get(..4)?;
    if !["$2a$", "$2b$", "$2x$", "$2y$"].contains(&version) || hash.len() != 60 {
        return None;
    }
    let parts: bcrypt::HashParts = hash.parse().ok()?;
    Some(parts.get_cost())
}

/// A hash is not the password, but guessing is a matter of time for who has it.
fn warn_of_readers(path: &Path) {
    if fs::metadata(path).is_ok_and(|data| data.mode() & 0o007 != 0) {
        let path = path.display();
        tracing::warn!(
            "everybody on this machine may read or write the users file {path}; `chmod o= {path}` changes that"
        );
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let data = fs::metadata(path).ok()?;
    Some(Stamp {
        size: data.len(),
        modified: (data.mtime(), data.mtime_nsec()),
        inode: data.ino(),
    })
}

fn unreadable(path: &Path, cause: io::Error) -> UsersError {
    UsersError::Unreadable {
        path: path.to_owned(),
        cause,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What these hold is whole between any two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The least work that bcrypt can be asked for.
    fn line(name: &str, password: &str) -> String {
        format!("{name}:{}\n", hash_with(password, 4).unwrap())
    }

    fn basic(pair: &str) -> HeaderValue {
        HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).unwrap()
    }

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn with(text: &str) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            folder.write(text);
            folder
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("users")
        }

        /// By renaming, so that size and time may be equal.
        fn write(&self, text: &str) {
            let new = self.0.path().join("new");
            fs::write(&new, text).unwrap();
            fs::rename(new, self.path()).unwrap();
        }
    }

    async fn outcome(users: &Users, header: Option<HeaderValue>) -> Result<String, i32> {
        let outcome = users.identify(header.as_ref()).await;
        outcome.map_err(|error| error.error_code)
    }

    #[tokio::test]
    async fn only_the_right_password_lets_a_user_in() {
        let folder = Folder::with(&line("ada", "lovelace:1"));
        let users = Users::open(&folder.path()).unwrap();
        for _ in 0..2 {
            assert_eq!(
                outcome(&users, Some(basic("ada:lovelace:1"))).await,
                Ok("ada".to_owned())
            );
        }
        for (header, code) in [
            (None, 401),
            (Some(basic("ada:lovelace:2")), 40101),
            (Some(basic("ada:")), 40101),
            (Some(basic("eve:lovelace:1")), 40101),
            (Some(basic("nothing")), 40101),
            (Some(HeaderValue::from_static("Bearer abc")), 40101),
            (Some(HeaderValue::from_static("Basic")), 40101),
        ] {
            assert_eq!(
                outcome(&users, header.clone()).await,
                Err(code),
                "{header:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_entry_that_is_gone_or_changed_no_longer_lets_in() {
        let folder = Folder::with(&(line("ada", "one") + &line("eve", "apple")));
        let users = Users::open(&folder.path()).unwrap();
        assert!(outcome(&users, Some(basic("ada:one"))).await.is_ok());
        assert!(outcome(&users, Some(basic("eve:apple"))).await.is_ok());

        folder.write(&line("ada", "two"));
        assert_eq!(outcome(&users, Some(basic("ada:one"))).await, Err(40101));
        assert_eq!(outcome(&users, Some(basic("eve:apple"))).await, Err(40101));
        assert!(outcome(&users, Some(basic("ada:two"))).await.is_ok());

        // Half-written: nobody is locked out by that.
        folder.write("ada");
        assert!(outcome(&users, Some(basic("ada:two"))).await.is_ok());
    }

    #[test]
    fn a_file_with_a_mistake_is_refused_at_its_line() {
        let good = line("ada", "one");
        for (text, expected) in [
            ("ada:secret\n".to_owned(), "1: the hash is none of bcrypt"),
            (
                format!("# users\n\n{good}{good}"),
                "4: this name has an entry already",
            ),
            ("ada\n".to_owned(), "1: the hash is none of bcrypt"),
            (format!(":{good}"), "1: the user name is empty"),
            (
                good.replace("$04$", "$31$"),
                "1: checking this hash would take too long",
            ),
            ("# nobody\n".to_owned(), " names nobody"),
        ] {
            let folder = Folder::with(&text);
            let error = Users::open(&folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = Users::open(Path::new("absent")).unwrap_err();
        assert!(matches!(error, UsersError::Unreadable { .. }));
    }

    #[test]
    fn htpasswds_own_hashes_are_understood() {
        // As Apache's `htpasswd -nbB ada lovelace` prints it, with the identifier that only it uses.
        let ours = hash_with("lovelace", 4).unwrap();
        let theirs = ours.replacen("$2b$", "$2y$", 1);
        assert!(is_right("lovelace", &theirs));
        assert!(parse(&format!("ada:{theirs}\n")).is_ok());
    }

    #[test]
    fn an_edited_file_keeps_its_remarks_and_other_users() {
        let text = "# ops\nada:1\n\neve:2";
        assert_eq!(
            edited(text, "ada", Some("3")),
            ("# ops\nada:3\n\neve:2\n".to_owned(), true)
        );
        assert_eq!(
            edited(text, "bob", Some("3")),
            ("# ops\nada:1\n\neve:2\nbob:3\n".to_owned(), false)
        );
        assert_eq!(
            edited(text, "eve", None),
            ("# ops\nada:1\n\n".to_owned(), true)
        );
    }

    #[test]
    fn passwords_that_bcrypt_would_cut_are_refused() {
        assert!(hash(&"x".repeat(73)).is_err());
        assert!(hash("a\0b").is_err());
        assert!(hash("").is_err());
        let cut = hash_with(&"x".repeat(72), 4).unwrap();
        assert!(!is_right(&"x".repeat(73), &cut));
    }

    proptest! {
        #[test]
        fn whatever_a_header_says_is_no_panic(bytes in prop::collection::vec(32_u8..=255, 0..80)) {
            if let Ok(header) = HeaderValue::from_bytes(&bytes) {
                prop_assert!(credentials(&header).is_none());
            }
        }

        /// A colon parts the two; all further ones belong to the password.
        #[test]
        fn a_name_and_a_password_come_through(name in "[^:\\x00-\\x1f]{0,20}", password in "\\PC{0,20}") {
            let header = basic(&format!("{name}:{password}"));
            let found = credentials(&header).map(|(name, password)| (name, password.to_string()));
            prop_assert_eq!(found, Some((name, password)));
        }

        /// What is written by `kmirror user` is read by the server, and nothing else of the file is lost.
        #[test]
        fn an_edited_file_is_read_again(name in "[a-z][a-z0-9.@-]{0,20}", cost in 4_u32..6) {
            let hash = hash_with("x", cost).unwrap();
            let before = "# ops\n".to_owned() + &line("zoe.0", "y");
            let (text, _) = edited(&before, &name, Some(&hash));
            let entries = parse(&text).unwrap();
            prop_assert_eq!(entries.get(&name), Some(&hash));
            prop_assert!(entries.contains_key("zoe.0") && text.starts_with("# ops\n"));
            prop_assert_eq!(edited(&text, &name, None).0, before);
        }
    }

    #[test]
    fn nothing_secret_is_shown() {
        let folder = Folder::with(&line("ada", "one"));
        let users = Users::open(&folder.path()).unwrap();
        let shown = format!("{users:?}");
        assert!(!shown.contains("$2") && !shown.contains("ada"), "{shown}");
    }
}
