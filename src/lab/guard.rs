//! Who may call a store.
//!
//! It listens on this machine only, unless told otherwise. Even so any page in a browser here can send it requests, so:
//!
//! - on a loopback address the `Host` must be one too (a name that an attacker lets point here is none), and so must the
//!   `Origin`, which browsers send along with what a page asks for;
//! - on any other address the admin calls need the token: `Authorization: Bearer TOKEN`.

use std::net::SocketAddr;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    AUTHORIZATION, HOST, ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Refusal;
use crate::error::{Error, Result};
use crate::sync::Arc;

/// Whom the store lets in.
#[derive(Clone, Debug)]
pub struct Guard {
    address: SocketAddr,
    token: Option<Arc<str>>,
}

impl Guard {
    /// For a store at this address. Beyond this machine nobody but who has the token may administer it.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] where a token is needed and none is given.
    pub fn new(address: SocketAddr, token: Option<&str>) -> Result<Self> {
        if token.is_none() && !address.ip().is_loopback() {
            let message =
                format!("{address} can be reached from elsewhere: the admin calls need a --token");
            return Err(Error::InvalidInput(message));
        }
        Ok(Self { address, token: token.map(Arc::from) })
    }

    fn check(&self, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let forbidden = |message: &str| Err(Refusal::new(StatusCode::FORBIDDEN, message));
        if self.address.ip().is_loopback() {
            let several =
                [HOST, ORIGIN].iter().any(|name| headers.get_all(name).iter().count() > 1);
            if several {
                return forbidden("one Host, and one Origin");
            }
            let host = text(headers, HOST).unwrap_or_default();
            if !is_loopback(host) {
                return forbidden("the Host is not this machine");
            }
            if text(headers, ORIGIN).is_some_and(|origin| !is_own_origin(origin)) {
                return forbidden("the Origin is not this machine");
            }
        }
        if !path.starts_with("/admin/") || self.token.is_none() {
            return Ok(());
        }
        let given = text(headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
        match given
            .is_some_and(|given| self.token.as_deref().is_some_and(|token| same(given, token)))
        {
            true => Ok(()),
            false => Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "the admin calls need: Authorization: Bearer TOKEN",
            )),
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("unreadable"))
}

/// Compares all bytes, so that the time it takes tells nothing.
fn same(given: &str, token: &str) -> bool {
    let differing = given.bytes().zip(token.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
    given.len() == token.len() && differing == 0
}

/// Whether an authority, with a port or without, is this machine by itself.
fn is_loopback(authority: &str) -> bool {
    if authority.contains(['/', '?', '#', '@']) {
        return false;
    }
    let uri: Result<Uri, _> = format!("http://{authority}/").parse();
    let host = uri.ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn is_own_origin(origin: &str) -> bool {
    origin.strip_prefix("http://").is_some_and(is_loopback)
}

/// Lets a request pass, or refuses it; answers what browsers ask before they send one from the lab's page.
pub async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    // What a browser asks before has no token yet, and changes nothing.
    let asks_before = request.method() == Method::OPTIONS;
    let path = if asks_before { "" } else { request.uri().path() };
    let checked = guard.check(path, request.headers());
    let origin = request.headers().get(ORIGIN).cloned();
    let mut response = match checked {
        Err(refusal) => return refusal.into_response(),
        Ok(()) if asks_before => StatusCode::NO_CONTENT.into_response(),
        Ok(()) => next.run(request).await,
    };
    let is_own = |origin: &HeaderValue| origin.to_str().is_ok_and(is_own_origin);
    if let Some(origin) = origin.filter(is_own) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(VARY, HeaderValue::from_static("Origin"));
        let methods = HeaderValue::from_static("GET, POST, DELETE");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        let allowed = HeaderValue::from_static("content-type, authorization");
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn asked(guard: &Guard, path: &str, headers: &[(HeaderName, &'static str)]) -> Option<u16> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect();
        guard.check(path, &headers).err().map(|refusal| refusal.status.as_u16())
    }

    #[test]
    fn pages_of_others_are_kept_out_of_this_machine() {
        let guard = Guard::new("127.0.0.1:8001".parse().unwrap(), None).unwrap();
        for host in ["127.0.0.1:8001", "localhost:8001", "LOCALHOST", "[::1]:8001", "127.0.0.2"] {
            assert_eq!(asked(&guard, "/kv", &[(HOST, host)]), None, "{host}");
        }
        for host in [
            "evil.example:8001",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "a b",
            "localhost@evil.example",
            "evil@localhost",
            "localhost/.evil.example",
            "localhost?.evil.example",
        ] {
            assert_eq!(asked(&guard, "/kv", &[(HOST, host)]), Some(403), "{host}");
        }
        let from = |origin| asked(&guard, "/admin/crash", &[(HOST, "localhost"), (ORIGIN, origin)]);
        assert_eq!(from("http://127.0.0.1:8000"), None);
        for origin in [
            "http://evil.example",
            "https://127.0.0.1",
            "null",
            "http://localhost.evil.example:8000",
        ] {
            assert_eq!(from(origin), Some(403), "{origin}");
        }
    }

    #[test]
    fn beyond_this_machine_a_token_is_needed() {
        let address = "0.0.0.0:8001".parse().unwrap();
        assert!(Guard::new(address, None).is_err());
        let guard = Guard::new(address, Some("secret")).unwrap();
        assert_eq!(asked(&guard, "/kv", &[(HOST, "lab.example")]), None);
        for value in ["Bearer secreu", "Bearer secre", "secret", "Bearer secrets", "Bearer "] {
            assert_eq!(
                asked(&guard, "/admin/crash", &[(AUTHORIZATION, value)]),
                Some(401),
                "{value}"
            );
        }
        assert_eq!(asked(&guard, "/admin/crash", &[]), Some(401));
        assert_eq!(asked(&guard, "/admin/crash", &[(AUTHORIZATION, "Bearer secret")]), None);
    }
}
