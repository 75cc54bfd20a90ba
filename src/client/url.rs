//! Addresses of HTTP servers: token endpoints, REST and Connect endpoints.

use hyper::Uri;

/// Where an HTTP server is asked, without anything secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    pub secure: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// As it stands in the `Host` header.
    pub authority: String,
    /// With the query, at least `/`.
    pub path: String,
}

impl std::fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

impl HttpUrl {
    /// # Errors
    /// What is wrong with the address. It does not repeat the address, which may hold a password.
    pub fn of(url: &str) -> Result<Self, String> {
        let uri: Uri = url.trim().parse().map_err(|error| format!("{error}"))?;
        let secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(_) => return Err("it does not begin with https:// or http://".to_owned()),
            None => return Err("it does not begin with https://".to_owned()),
        };
        let authority = uri.authority().ok_or("it names no host")?;
        if authority.as_str().contains('@') {
            return Err("it has a user name in it".to_owned());
        }
        let host = authority.host();
        let port = &authority.as_str()[host.len()..];
        if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
            return Err("its port is none from 1 to 65535".to_owned());
        }
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return Err("it names no host".to_owned());
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }

    /// Whether nobody else can listen in.
    pub fn is_local(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_bad_ones_named() {
        let url = HttpUrl::of("https://idp.example/realms/k/token?x=1").unwrap();
        assert_eq!(
            (url.host.as_str(), url.port, url.path.as_str()),
            ("idp.example", 443, "/realms/k/token?x=1")
        );
        let url = HttpUrl::of("http://[::1]:8080").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 8080));
        assert!(url.is_local() && !url.secure);
        for bad in [
            "",
            "idp.example/token",
            "ftp://idp",
            "https://me:pw@idp/",
            "https://",
            "https://:443/",
            "https://a b/",
            "https://idp:99999/",
        ] {
            let error = HttpUrl::of(bad).expect_err(bad);
            assert!(!error.contains("pw"), "{error}");
        }
    }
}
