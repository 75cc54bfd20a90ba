//! Tokens for Amazon MSK, as the signers that AWS publishes make them (aws-msk-iam-sasl-signer for several languages): a
//! presigned URL for the action `kafka-cluster:Connect`, in base64url, shown to the broker as a bearer token.
//!
//! Credentials come from the environment or from a profile of the shared credentials file. Roles that have to be assumed over the network
//! (instance profiles, web identities) are not asked for; their credentials can be put into either.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;

use super::super::files::Files;
use super::BearerToken;
use super::sigv4::{self, Credentials, Request};
use crate::client::Secret;

const LIFE: Duration = Duration::from_secs(900);
const USER_AGENT: &str = concat!("kmirror/", env!("CARGO_PKG_VERSION"));

/// A variable of the environment.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Signs a token for the cluster that a broker at `host` belongs to.
///
/// # Errors
/// Which of credentials and region is missing, and where it was looked for.
pub(super) fn token(
    profile: Option<&str>,
    region: Option<&str>,
    host: &str,
    environment: Environment<'_>,
) -> Result<BearerToken, String> {
    let region = region
        .map(ToOwned::to_owned)
        .or_else(|| region_of(host).map(ToOwned::to_owned))
        .or_else(|| set(environment, "AWS_REGION"))
        .or_else(|| set(environment, "AWS_DEFAULT_REGION"))
        .ok_or_else(|| {
            format!(
                "the AWS region is not known: {host} does not name it, and AWS_REGION is not set"
            )
        })?;
    let credentials = credentials(profile, environment)?;
    let now = Timestamp::now();
    Ok(BearerToken {
        value: Secret::new(signed(&credentials, &region, now)),
        extensions: vec![],
        expires: Some(SystemTime::from(now) + LIFE),
    })
}

fn signed(credentials: &Credentials, region: &str, now: Timestamp) -> String {
    let at = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let url = sigv4::presign(
        credentials,
        Request {
            service: "kafka-cluster",
            region,
            host: &format!("kafka.{region}.amazonaws.com"),
            path: "/",
            query: &[("Action", "kafka-cluster:Connect")],
            seconds: u32::try_from(LIFE.as_secs()).unwrap_or(u32::MAX),
            at: &at,
            payload: &sigv4::empty_payload(),
        },
    );
    // Not part of what is signed.
    let url = format!("{url}&User-Agent={}", sigv4::encoded(USER_AGENT));
    URL_SAFE_NO_PAD.encode(url)
}

/// `us-east-1` of `b-1.demo.abc123.c2.kafka.us-east-1.amazonaws.com` and `boot-x.c1.kafka-serverless.us-east-1.amazonaws.com`.
fn region_of(host: &str) -> Option<&str> {
    let host = host
        .strip_suffix(".amazonaws.com")
        .or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let (rest, region) = host.rsplit_once('.')?;
    let service = rest.rsplit('.').next()?;
    matches!(service, "kafka" | "kafka-serverless").then_some(region)
}

fn set(environment: Environment<'_>, name: &str) -> Option<String> {
    environment(name).filter(|value| !value.trim().is_empty())
}

fn credentials(profile: Option<&str>, environment: Environment<'_>) -> Result<Credentials, String> {
    if profile.is_none()
        && let (Some(id), Some(secret)) = (
            set(environment, "AWS_ACCESS_KEY_ID"),
            set(environment, "AWS_SECRET_ACCESS_KEY"),
        )
    {
        return Ok(Credentials {
            access_key_id: id,
            secret_access_key: Secret::new(secret),
            session_token: set(environment, "AWS_SESSION_TOKEN").map(Secret::new),
        });
    }
    let named = profile
        .map(ToOwned::to_owned)
        .or_else(|| set(environment, "AWS_PROFILE"));
    let profile = named.as_deref().unwrap_or("default");
    let file = set(environment, "AWS_SHARED_CREDENTIALS_FILE")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set(environment, "HOME")?).join(".aws/credentials")))
        .ok_or("there are no AWS credentials: neither AWS_ACCESS_KEY_ID nor HOME is set")?;
    let shown = file.display();
    let text = Files::default().read(&file).map_err(|problem| match named {
        Some(_) => format!("no AWS credentials of profile {profile}: {problem}"),
        None => format!(
            "there are no AWS credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, and {problem}"
        ),
    })?;
    let text = String::from_utf8(text).map_err(|_| format!("{shown} is not UTF-8"))?;
    let mut section =
        section(&text, profile).ok_or_else(|| format!("{shown} has no profile [{profile}]"))?;
    let mut needed = |key: &str| {
        section
            .remove(key)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| {
                format!(
                    "profile [{profile}] of {shown} has no {key}; roles, SSO and credential processes are not \
                     followed, so export the credentials they give"
                )
            })
    };
    Ok(Credentials {
        access_key_id: needed("aws_access_key_id")?,
        secret_access_key: Secret::new(needed("aws_secret_access_key")?),
        session_token: needed("aws_session_token").ok().map(Secret::new),
    })
}

/// One `[section]` of an INI file.
fn section(text: &str, name: &str) -> Option<HashMap<String, String>> {
    let mut found: Option<HashMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let header = header.split(']').next().unwrap_or_default().trim();
            inside = header == name;
            if inside {
                found.get_or_insert_default();
            }
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && let Some(found) = &mut found
        {
            found.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(session_token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIDEXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: session_token.map(Secret::new),
        }
    }

    /// `X-Amz-Signature` as botocore 1.44.5 computes it (SigV4QueryAuth, which AWS's signer for Python uses) for these
    /// credentials, which are those of AWS's test suite.
    #[test]
    fn the_published_signers_give_the_same_url() {
        const SESSION: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let now: Timestamp = "2023-05-24T12:30:45Z".parse().unwrap();
        for (session, signature) in [
            (
                Some(SESSION),
                "e2461ed747b0ed50f5fa376f3ef62dda0d4da69c091a2c4b0ffbc4ccda0d5699",
            ),
            (
                None,
                "ed3a96267180933552f3dcc8cc0bc32df2f3a4df54cff02c53340720e1ab1d4e",
            ),
        ] {
            let token = signed(&example(session), "us-west-2", now);
            let url = String::from_utf8(URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap();
            assert!(
                url.starts_with("https://kafka.us-west-2.amazonaws.com/?Action=kafka-cluster%3AConnect&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20230524%2Fus-west-2%2Fkafka-cluster%2Faws4_request&X-Amz-Date=20230524T123045Z&X-Amz-Expires=900&"),
                "{url}"
            );
            let end = format!("&X-Amz-Signature={signature}&User-Agent=kmirror%2F0.1.0");
            assert!(url.ends_with(&end), "{url}");
            assert_eq!(
                url.contains("X-Amz-Security-Token=AQoDYX"),
                session.is_some()
            );
        }
    }

    #[test]
    fn the_region_is_found_in_the_names_of_msk_brokers_only() {
        for (host, region) in [
            (
                "b-1.demo.abc123.c2.kafka.us-east-1.amazonaws.com",
                Some("us-east-1"),
            ),
            (
                "boot-x.c1.kafka-serverless.eu-west-1.amazonaws.com",
                Some("eu-west-1"),
            ),
            (
                "b-1.demo.abc123.c2.kafka.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            ("kafka.us-east-1.example.com", None),
            ("s3.us-east-1.amazonaws.com", None),
            ("localhost", None),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn credentials_are_taken_from_where_people_keep_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("credentials");
        std::fs::write(
            &file,
            "[default]\naws_access_key_id = D\naws_secret_access_key=d\n# [dev]\n[dev] ; a remark\n\
             AWS_ACCESS_KEY_ID=V\naws_secret_access_key = v=1\naws_session_token = s\n[sso]\nsso_session = x\n",
        )
        .unwrap();
        let file = file.to_str().unwrap().to_owned();
        let with = |variables: &[(&str, &str)], profile: Option<&str>| {
            let environment = |name: &str| {
                if name == "AWS_SHARED_CREDENTIALS_FILE" {
                    return Some(file.clone());
                }
                let mut all = variables.iter();
                all.find(|(key, _)| *key == name)
                    .map(|(_, value)| (*value).to_owned())
            };
            credentials(profile, &environment)
        };
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e")];
        assert_eq!(with(&keys, None).unwrap().access_key_id, "E");
        assert_eq!(with(&[], None).unwrap().access_key_id, "D");
        // A profile that was asked for wins over the environment.
        let dev = with(&keys, Some("dev")).unwrap();
        assert_eq!(dev.access_key_id, "V");
        assert_eq!(dev.secret_access_key.expose(), "v=1");
        assert_eq!(dev.session_token.unwrap().expose(), "s");
        let dev = with(&[("AWS_PROFILE", "dev")], None).unwrap();
        assert_eq!(dev.access_key_id, "V");
        let error = with(&[], Some("absent")).unwrap_err();
        assert!(error.contains("has no profile [absent]"), "{error}");
        let error = with(&[], Some("sso")).unwrap_err();
        assert!(error.contains("are not followed"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let empty = |_: &str| None;
        let error = token(None, None, "localhost", &empty).unwrap_err();
        assert!(error.contains("the AWS region is not known"), "{error}");
        let error = token(None, Some("us-east-1"), "localhost", &empty).unwrap_err();
        assert!(error.contains("there are no AWS credentials"), "{error}");
    }
}
