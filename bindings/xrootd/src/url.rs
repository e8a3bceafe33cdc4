//! Names of places: an endpoint (`host:port`) and a URL on it. Pure text; nothing is looked up.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The port of a door whose name states none.
pub const DEFAULT_PORT: u16 = 1094;

/// A server: host and port. Hosts are compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    host: String,
    port: u16,
}

impl Endpoint {
    /// An endpoint of a host name or an address (an IPv6 one in brackets).
    pub fn new(host: &str, port: u16) -> Result<Self, Error> {
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let good = match bare {
            Some(address) => {
                !address.is_empty()
                    && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.')
            }
            None => {
                !host.is_empty()
                    && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-' || b == b'_')
            }
        };
        if !good || port == 0 {
            return Err(Error::invalid(format!("endpoint {host}:{port}"), "not a host and a port"));
        }
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }

    /// Host name or address, lower-case.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = Error;

    /// `host`, `host:port`, `[address]:port`; what stands before an `@` is a user's name and is left out.
    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = || Error::invalid(format!("endpoint {text}"), "not host:port");
        let place = text.rsplit_once('@').map_or(text, |(_, place)| place);
        let after = if place.starts_with('[') { place.find(']').ok_or_else(refuse)? + 1 } else { 0 };
        match place[after..].find(':') {
            None => Self::new(place, DEFAULT_PORT),
            Some(colon) => {
                let (host, port) = place.split_at(after + colon);
                Self::new(host, port[1..].parse().map_err(|_| refuse())?)
            }
        }
    }
}

/// How a URL is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Root { tls: bool, endpoint: Endpoint },
    Local,
}

/// `root://host:port//path?key=value&...`, `roots://` for TLS, or `file:///path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Url {
    place: Place,
    path: String,
    params: Vec<(String, String)>,
}

impl Url {
    /// A path at a server. The path is checked when the URL is used.
    pub fn new(endpoint: &Endpoint, path: &str) -> Self {
        let place = Place::Root { tls: false, endpoint: endpoint.clone() };
        Self { place, path: one_slash(path), params: Vec::new() }
    }

    /// A file of this machine.
    pub fn local(path: &str) -> Self {
        Self { place: Place::Local, path: one_slash(path), params: Vec::new() }
    }

    /// The server; `None` for a local file.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.place {
            Place::Root { endpoint, .. } => Some(endpoint),
            Place::Local => None,
        }
    }

    /// The absolute path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The same place and parameters with another path. It is checked when the URL is used.
    #[must_use]
    pub fn with_path(mut self, path: &str) -> Self {
        self.path = one_slash(path);
        self
    }

    /// The value of a parameter behind the `?`.
    pub fn param(&self, key: &str) -> Option<&str> {
        self.params.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The same with a parameter added, or replaced.
    #[must_use]
    pub fn with_param(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.params.retain(|(name, _)| name != key);
        self.params.push((key.to_owned(), value.to_string()));
        self
    }

    /// The whole, with something before the host.
    pub(crate) fn text(&self, user: &str) -> String {
        let mut text = match &self.place {
            Place::Root { tls, endpoint } => {
                format!("{}://{user}{endpoint}/{}", if *tls { "roots" } else { "root" }, self.path)
            }
            Place::Local => format!("file://{}", self.path),
        };
        for (at, (key, value)) in self.params.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(key);
            text.push('=');
            text.push_str(value);
        }
        text
    }

    /// Refuses what would be read as something else on its way to the server.
    pub(crate) fn check(&self, what: &str) -> Result<(), Error> {
        check_path(what, &self.path)?;
        let bad = |text: &str| text.bytes().any(|b| b < 0x21 || b == 0x7f || b == b'&' || b == b'?');
        match self.params.iter().find(|(key, value)| bad(key) || bad(value)) {
            Some((key, _)) => {
                Err(Error::invalid(what, format!("parameter {key} holds a character it must not")))
            }
            None => Ok(()),
        }
    }
}

/// A path that the server will read as exactly this path.
pub(crate) fn check_path(what: &str, path: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::invalid(what, format!("the path {why}")));
    if !path.starts_with('/') {
        return refuse("is not absolute");
    }
    if path.bytes().any(|b| b < 0x20 || b == 0x7f || b == b'?' || b == b'&') {
        return refuse("holds a control character, a `?` or a `&`");
    }
    if path.split('/').any(|part| part == "..") {
        return refuse("holds a `..`");
    }
    Ok(())
}

fn one_slash(path: &str) -> String {
    format!("/{}", path.trim_start_matches('/'))
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(""))
    }
}

impl FromStr for Url {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refuse = |why: &str| Error::invalid(format!("url {text}"), why.to_owned());
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| refuse("neither root://host//path nor file:///path"))?;
        let (place, cgi) = rest.split_once('?').map_or((rest, ""), |(place, cgi)| (place, cgi));
        let params = cgi
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').map_or((pair, ""), |(key, value)| (key, value)))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let slash = place.find('/').ok_or_else(|| refuse("no path"))?;
        let (host, path) = place.split_at(slash);
        let place = match scheme {
            "root" | "xroot" => Place::Root { tls: false, endpoint: host.parse()? },
            "roots" | "xroots" => Place::Root { tls: true, endpoint: host.parse()? },
            "file" if host.is_empty() || host == "localhost" => Place::Local,
            _ => return Err(refuse("only root://, roots:// and file:/// are known")),
        };
        Ok(Self { place, path: one_slash(path), params })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_are_read_in_all_their_forms() {
        assert_eq!(endpoint("Dtn01.nersc.gov:1095").to_string(), "dtn01.nersc.gov:1095");
        assert_eq!(endpoint("localhost").to_string(), "localhost:1094");
        assert_eq!(endpoint("[::127.0.0.1]:31295").to_string(), "[::127.0.0.1]:31295");
        assert_eq!(endpoint("user@h:7").to_string(), "h:7");
        for bad in ["", ":1094", "h:", "h:0", "h:70000", "a b", "[::1", "h/x", "h:1:2", "[]:5"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn urls_come_back_as_they_went() {
        for text in ["root://h:1094//a/b?x=1&y=2", "roots://h:7//a", "file:///tmp/a b"] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), text);
        }
        let url: Url = "xroot://me@h/data/f".parse().unwrap();
        assert_eq!(url.to_string(), "root://h:1094//data/f");
        for bad in ["/a", "root://h", "http://h/a", "file://h/a", "root:///a"] {
            assert!(bad.parse::<Url>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_parameter_replaces_its_like() {
        let url = Url::new(&endpoint("h:1"), "/a").with_param("k", 1).with_param("l", 2).with_param("k", 3);
        assert_eq!(url.to_string(), "root://h:1//a?l=2&k=3");
        assert_eq!(url.param("k"), Some("3"));
    }

    #[test]
    fn another_path_at_the_same_place() {
        let url: Url = "roots://h:7//a/b?k=1".parse().unwrap();
        assert_eq!(url.with_path("a/c").to_string(), "roots://h:7//a/c?k=1");
    }

    #[test]
    fn paths_that_would_be_read_otherwise_are_refused() {
        for bad in ["a", "/a?b", "/a&b", "/a\0", "/a\nb", "/../a", "/a/.."] {
            assert!(check_path("stat", bad).is_err(), "{bad:?} was taken");
        }
        check_path("stat", "/a/..b/c d").unwrap();
    }

    /// What we read and what `XrdCl` reads must be one thing.
    #[test]
    #[allow(unsafe_code)]
    fn xrdcl_reads_our_urls_as_we_do() {
        for text in
            ["root://h.example.org:1095//a/b?x=1&y=2", "root://[::1]:31295//a", "root://h:1094//a.b-c/_d"]
        {
            let ours: Url = text.parse().unwrap();
            let asked = std::ffi::CString::new(ours.to_string()).unwrap();
            let mut out = vec![0u8; 512];
            // SAFETY: a NUL-terminated string, and a buffer with its true length.
            let length =
                unsafe { xrootd_sys::xrds_url_split(asked.as_ptr(), out.as_mut_ptr().cast(), out.len()) };
            out.truncate(length);
            let theirs = String::from_utf8(out).unwrap();
            let place = ours.endpoint().unwrap();
            let mut lines = theirs.lines();
            assert_eq!(lines.next(), Some("root"));
            assert_eq!(lines.next(), Some(place.host()));
            assert_eq!(lines.next(), Some(place.port().to_string().as_str()));
            assert_eq!(
                lines.next().map(|path| format!("/{}", path.trim_start_matches('/'))).as_deref(),
                Some(ours.path())
            );
        }
    }
}
