//! AWS Signature Version 4 for a presigned URL: what the signers that AWS publishes for MSK do, and no more.

use ring::{digest, hmac};

use crate::client::Secret;

/// What signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: Secret,
    pub session_token: Option<Secret>,
}

/// What is signed: a GET of `/` at a host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub service: &'a str,
    pub region: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    /// Besides those of the signature.
    pub query: &'a [(&'a str, &'a str)],
    pub seconds: u32,
    /// `20230524T123045Z`
    pub at: &'a str,
    /// The digest of the body, or what stands for it.
    pub payload: &'a str,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The URL with its signature.
pub(super) fn presign(credentials: &Credentials, request: Request<'_>) -> String {
    let day = request.at.get(..8).unwrap_or(request.at);
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let credential = format!("{}/{scope}", credentials.access_key_id);
    let seconds = request.seconds.to_string();
    let mut query: Vec<(&str, &str)> = request.query.to_vec();
    query.extend([
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", &credential),
        ("X-Amz-Date", request.at),
        ("X-Amz-Expires", &seconds),
        ("X-Amz-SignedHeaders", "host"),
    ]);
    if let Some(token) = &credentials.session_token {
        query.push(("X-Amz-Security-Token", token.expose()));
    }
    let query = canonical_query(&query);
    let canonical = format!(
        "GET\n{}\n{query}\nhost:{}\n\nhost\n{}",
        request.path, request.host, request.payload
    );
    let signature = sign(
        &credentials.secret_access_key,
        [day, request.region, request.service],
        &to_sign(request.at, &scope, &canonical),
    );
    format!(
        "https://{}{}?{query}&X-Amz-Signature={signature}",
        request.host, request.path
    )
}

/// Sorted by name and value, everything but unreserved characters encoded.
fn canonical_query(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    pairs.sort_unstable();
    pairs.join("&")
}

fn to_sign(at: &str, scope: &str, canonical: &str) -> String {
    let hash = digest::digest(&digest::SHA256, canonical.as_bytes());
    format!("{ALGORITHM}\n{at}\n{scope}\n{}", hex(hash.as_ref()))
}

fn sign(secret: &Secret, scope: [&str; 3], text: &str) -> String {
    let key = |key: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut current = key(format!("AWS4{}", secret.expose()).as_bytes());
    for part in scope.into_iter().chain(["aws4_request"]) {
        current = key(hmac::sign(&current, part.as_bytes()).as_ref());
    }
    hex(hmac::sign(&current, text.as_bytes()).as_ref())
}

/// The digest of an empty body.
pub(super) fn empty_payload() -> String {
    hex(digest::digest(&digest::SHA256, b"").as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla`, `get-vanilla-query-order-key` and `get-unreserved` of AWS's test suite for Signature Version 4.
    #[test]
    fn aws_own_test_suite_gives_the_same_signatures() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let scope = "20150830/us-east-1/service/aws4_request";
        let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        assert_eq!(encoded(unreserved), unreserved);
        for (path, query, hash, signature) in [
            (
                "/".to_owned(),
                canonical_query(&[]),
                "bb579772317eb040ac9ed261061d46c1f17a8133879d6129b6e1c25292927e63",
                "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
            ),
            (
                "/".to_owned(),
                canonical_query(&[("Param1", "value2"), ("Param1", "Value1")]),
                "704b4cef673542d84cdff252633f065e8daeba5f168b77116f8b1bcaf3d38f89",
                "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1",
            ),
            (
                "/".to_owned(),
                canonical_query(&[("Param2", "value2"), ("Param1", "value1")]),
                "816cd5b414d056048ba4f7c5386d6e0533120fb1fcfa93762cf0fc39e2cf19e0",
                "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
            ),
            (
                format!("/{unreserved}"),
                canonical_query(&[]),
                "6a968768eefaa713e2a6b16b589a8ea192661f098f37349f4e2c0082757446f9",
                "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
            ),
        ] {
            let canonical = format!(
                "GET\n{path}\n{query}\nhost:example.amazonaws.com\nx-amz-date:20150830T123600Z\n\nhost;x-amz-date\n{}",
                empty_payload()
            );
            let text = to_sign("20150830T123600Z", scope, &canonical);
            assert_eq!(text.lines().last(), Some(hash));
            assert_eq!(
                sign(&secret, ["20150830", "us-east-1", "service"], &text),
                signature
            );
        }
    }

    /// The example of "Authenticating Requests: Using Query Parameters" in the documentation of Amazon S3.
    #[test]
    fn the_documented_presigned_url_is_reproduced() {
        let credentials = Credentials {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: Secret::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        let request = Request {
            service: "s3",
            region: "us-east-1",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: &[],
            seconds: 86400,
            at: "20130524T000000Z",
            payload: "UNSIGNED-PAYLOAD",
        };
        assert_eq!(
            presign(&credentials, request),
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }
}
