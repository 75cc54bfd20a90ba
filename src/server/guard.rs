//! Which requests a listener lets in by what they say of where they come from.
//!
//! A server on loopback is out of other machines' reach, but not out of the reach of the pages that a browser on this machine
//! shows. A page of elsewhere has to say so in `Origin`, and it can get around that only by giving its own host a loopback address
//! (DNS rebinding), which `Host` tells. So neither is let in. What knows neither browser nor page sends no `Origin`.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};

use super::problem::ApiError;

/// What a listener goes by.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Whether it can be reached from this machine alone.
    pub loopback: bool,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Further names that it is reached by: those of a proxy in front of it.
    pub hosts: Vec<String>,
}

impl Names {
    /// The `host:port` that the request was sent to, for addresses in the answer.
    ///
    /// # Errors
    /// No such host, one that is not this listener's, or a page of elsewhere.
    pub fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Authority, ApiError> {
        let host = host(uri, headers)?;
        if self.loopback && !is_loopback(&host) && !self.is_named(&host) {
            return Err(ApiError::forbidden(format!(
                "this server listens on loopback only, and `{}` is no loopback name; a proxy in front of it has to be named with --http-host",
                host.host()
            )));
        }
        for origin in headers.get_all(ORIGIN) {
            if !self.is_own(origin, &host) {
                return Err(ApiError::forbidden(
                    "the request comes from a page of another origin",
                ));
            }
        }
        Ok(host)
    }

    /// How the caller speaks to the server, for addresses in the answer. A proxy that was named may have a certificate where this listener has
    /// none; it says so in `X-Forwarded-Proto`.
    pub fn scheme(&self, host: &Authority, headers: &HeaderMap) -> &'static str {
        let forwarded = headers.get("x-forwarded-proto");
        let forwarded = forwarded.filter(|_| self.is_named(host));
        match forwarded.map(HeaderValue::as_bytes) {
            Some(b"https") => "https",
            Some(b"http") => "http",
            _ if self.secure => "https",
            _ => "http",
        }
    }

    fn is_named(&self, authority: &Authority) -> bool {
        let named = |host: &String| host.eq_ignore_ascii_case(authority.host());
        self.hosts.iter().any(named)
    }

    /// Whether a page of this origin was served by this listener, or by a proxy in front of it.
    fn is_own(&self, origin: &HeaderValue, host: &Authority) -> bool {
        let origin = origin.to_str().ok();
        let Some(origin) = origin.and_then(|origin| origin.parse::<Uri>().ok()) else {
            return false;
        };
        let (Some(scheme), Some(authority)) = (origin.scheme_str(), origin.authority()) else {
            return false;
        };
        if self.is_named(authority) {
            return true;
        }
        let port = |authority: &Authority, scheme: &str| {
            let usual = if scheme == "https" { 443 } else { 80 };
            authority.port_u16().unwrap_or(usual)
        };
        let own = if self.secure { "https" } else { "http" };
        scheme == own
            && authority.host().eq_ignore_ascii_case(host.host())
            && port(authority, scheme) == port(host, own)
    }
}

fn host(uri: &Uri, headers: &HeaderMap) -> Result<Authority, ApiError> {
    let refused = |message: &str| ApiError::plain(StatusCode::BAD_REQUEST, message).closing();
    let mut named = headers.get_all(HOST).iter();
    let host = named.next();
    if named.next().is_some() {
        return Err(refused("the request names more than one host"));
    }
    let host = match (uri.authority(), host) {
        // RFC 9112, 3.2.2: the address in the request line wins.
        (Some(authority), _) => Some(authority.clone()),
        (None, host) => host
            .and_then(|host| host.to_str().ok())
            .and_then(|host| host.parse().ok()),
    };
    let host: Authority = host.ok_or_else(|| refused("the request names no host"))?;
    if host.as_str().contains('@') {
        return Err(refused("the request names no host"));
    }
    Ok(host)
}

fn is_loopback(authority: &Authority) -> bool {
    let host = authority.host();
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(host: Option<&str>, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in [(HOST, host), (ORIGIN, origin)] {
            if let Some(value) = value {
                headers.append(name, value.parse().unwrap());
            }
        }
        headers
    }

    fn admitted(names: &Names, host: Option<&str>, origin: Option<&str>) -> Result<(), u16> {
        let uri = Uri::from_static("/v3/clusters");
        let outcome = names.admit(&uri, &headers(host, origin));
        outcome.map(drop).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn a_page_in_a_browser_cannot_drive_a_server_on_loopback() {
        let names = Names {
            loopback: true,
            ..Names::default()
        };
        for (host, origin, expected) in [
            ("127.0.0.1:8090", None, Ok(())),
            ("LOCALHOST:8090", None, Ok(())),
            ("[::1]:8090", None, Ok(())),
            ("127.9.9.9", None, Ok(())),
            // DNS rebinding: the page's own name, with a loopback address.
            ("evil.example:8090", None, Err(403)),
            ("localhost.evil.example", None, Err(403)),
            ("192.0.2.7:8090", None, Err(403)),
            ("127.0.0.1:8090", Some("https://evil.example"), Err(403)),
            ("127.0.0.1:8090", Some("null"), Err(403)),
            // Another server on the same machine is elsewhere, too.
            ("127.0.0.1:8090", Some("http://127.0.0.1:3000"), Err(403)),
            ("127.0.0.1:8090", Some("https://127.0.0.1:8090"), Err(403)),
            ("127.0.0.1:8090", Some("http://127.0.0.1:8090"), Ok(())),
            ("localhost", Some("http://localhost:80"), Ok(())),
        ] {
            let outcome = admitted(&names, Some(host), origin);
            assert_eq!(outcome, expected, "{host} {origin:?}");
        }
    }

    #[test]
    fn a_proxy_in_front_is_let_in_once_it_is_named() {
        let names = Names {
            loopback: true,
            hosts: vec!["kafka.example".to_owned()],
            ..Names::default()
        };
        let through = |origin| admitted(&names, Some("kafka.example"), origin);
        assert_eq!(through(None), Ok(()));
        assert_eq!(through(Some("https://kafka.example")), Ok(()));
        assert_eq!(through(Some("https://evil.example")), Err(403));
    }

    #[test]
    fn only_a_proxy_that_is_named_says_how_it_is_spoken_to() {
        let names = Names {
            hosts: vec!["kafka.example".to_owned()],
            ..Names::default()
        };
        let scheme = |host: &'static str, proto: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-proto", proto.parse().unwrap());
            names.scheme(&Authority::from_static(host), &headers)
        };
        assert_eq!(scheme("kafka.example", "https"), "https");
        assert_eq!(scheme("kafka.example", "javascript"), "http");
        assert_eq!(scheme("other.example", "https"), "http");
    }

    #[test]
    fn a_server_beyond_loopback_takes_any_name_and_no_foreign_page() {
        let names = Names {
            secure: true,
            ..Names::default()
        };
        let at = |origin| admitted(&names, Some("west.example"), origin);
        assert_eq!(at(None), Ok(()));
        assert_eq!(at(Some("https://west.example:443")), Ok(()));
        assert_eq!(at(Some("http://west.example")), Err(403));
        assert_eq!(at(Some("https://evil.example")), Err(403));
    }

    #[test]
    fn a_host_is_one_and_well_formed() {
        let names = Names::default();
        assert_eq!(admitted(&names, None, None), Err(400));
        assert_eq!(admitted(&names, Some("a b"), None), Err(400));
        assert_eq!(admitted(&names, Some("user@west"), None), Err(400));
        let mut two = headers(Some("a"), None);
        two.append(HOST, "b".parse().unwrap());
        let uri = Uri::from_static("/");
        assert!(names.admit(&uri, &two).is_err());
    }
}
