//! Who comes in, and from where. A session is the token itself, in a cookie that no script reads: it is held
//! against the database at every request, so that it ends with its token, and any coordinator knows it.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use service::token::Token;

use super::pages;
use crate::dispatch::tokens::Role;
use crate::dispatch::{Dispatch, Error};

/// The browser forgets the cookie after a working day.
const SESSION_SECONDS: u32 = 12 * 60 * 60;

/// Our own script, nothing from elsewhere, in nobody's frame, and forms that only we receive.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; \
                      img-src data:; form-action 'self'; \
                      base-uri 'none'; frame-ancestors 'none'";

/// Before anything else: the request is meant for loopback, which a name of somebody else's that leads here is
/// not, and what changes something comes from a page of this very address. SameSite is not enough for that: all
/// ports of a machine are one site.
pub async fn fence(request: Request, next: Next) -> Response {
    let host = text_of(request.headers(), &header::HOST).unwrap_or_default();
    let origin = text_of(request.headers(), &header::ORIGIN);
    let ours = origin.and_then(|origin| origin.strip_prefix("http://")) == Some(host);
    let mut response = if !names_loopback(host) {
        let why =
            "This address is not the dashboard's: open the one that `mlx-fleet serve` printed.";
        pages::refusal(StatusCode::MISDIRECTED_REQUEST, why)
    } else if !request.method().is_safe() && !ours {
        let why = "This was not sent by a page of this dashboard, and nothing was done: go to the page and try again.";
        pages::refusal(StatusCode::FORBIDDEN, why)
    } else {
        spoken(next.run(request).await)
    };
    let headers = response.headers_mut();
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(POLICY));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // With `no-referrer` browsers would hide the origin of a form.
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What axum refuses by itself is bare text; a reader gets a page.
fn spoken(response: Response) -> Response {
    let kind = text_of(response.headers(), &header::CONTENT_TYPE).unwrap_or_default();
    let status = response.status();
    let why = match status {
        StatusCode::PAYLOAD_TOO_LARGE => {
            "This is more than the dashboard takes, 1 MB: a larger plan is submitted with `mlx-fleet run`."
        }
        StatusCode::BAD_REQUEST => {
            "This address asks for something that the page does not know, or twice for one thing: go to the page and choose there."
        }
        _ => return response,
    };
    if kind.starts_with("text/plain") {
        pages::refusal(status, why)
    } else {
        response
    }
}

fn names_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// What stands before a route.
#[derive(Clone)]
pub struct Guard {
    pub dispatch: Dispatch,
    pub role: Role,
}

/// Who asks, for the handler, or why not.
pub async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let Some(token) = token_of(request.headers()) else {
        return to_sign_in(&request);
    };
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let from = from.map(|ConnectInfo(address)| address.ip());
    match guard.dispatch.caller_from(from, &token).await {
        Ok(caller) if caller.role >= guard.role => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(caller) => pages::refusal(
            StatusCode::FORBIDDEN,
            &format!(
                "This needs the role {}, and your token has the role {}.",
                guard.role.as_str(),
                caller.role.as_str()
            ),
        ),
        Err(Error::Guessed(_) | Error::Unauthenticated(_)) => {
            let mut response = to_sign_in(&request);
            forget(request.headers(), &mut response);
            response
        }
        Err(error) => pages::failure(&error),
    }
}

/// And from there to what was asked for, where that is a page.
fn to_sign_in(request: &Request) -> Response {
    let asked = request.uri().path_and_query().map(PathAndQuery::as_str);
    let asked = asked.filter(|path| request.method() == Method::GET && own_page(path).is_some());
    let Some(asked) = asked.filter(|path| *path != "/") else {
        return Redirect::to("/sign-in").into_response();
    };
    let to: String = form_urlencoded::byte_serialize(asked.as_bytes()).collect();
    Redirect::to(&format!("/sign-in?to={to}")).into_response()
}

/// A path of this dashboard, and no address of somebody else's: a browser takes `//name` and `/\name` for one.
pub fn own_page(path: &str) -> Option<&str> {
    let rest = path.strip_prefix('/')?;
    let elsewhere = rest.starts_with(['/', '\\']) || path.parse::<PathAndQuery>().is_err();
    // Events are no page.
    (!elsewhere && !rest.starts_with("live/")).then_some(path)
}

pub fn remember(asked: &HeaderMap, token: &Token, response: &mut Response) {
    set_cookie(asked, token.expose().as_str(), SESSION_SECONDS, response);
}

pub fn forget(asked: &HeaderMap, response: &mut Response) {
    set_cookie(asked, "", 0, response);
}

fn set_cookie(asked: &HeaderMap, value: &str, seconds: u32, response: &mut Response) {
    let name = cookie_name(asked);
    // Lax, so that a link in somebody's message leads to its page: what changes something is held by its origin.
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax");
    // A token has letters, digits and `_`, and a host got through the fence.
    if let Ok(mut value) = HeaderValue::try_from(text) {
        value.set_sensitive(true);
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
}

fn token_of(headers: &HeaderMap) -> Option<Token> {
    let name = cookie_name(headers);
    let cookies = headers.get_all(header::COOKIE).iter();
    let mut pairs = cookies
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split("; "));
    let value = pairs.find_map(|pair| pair.strip_prefix(&name)?.strip_prefix('='))?;
    value.parse().ok()
}

/// Browsers send a cookie to all ports of a machine: two coordinators on one would end each other's sessions.
fn cookie_name(headers: &HeaderMap) -> String {
    let host = text_of(headers, &header::HOST).unwrap_or_default();
    let port = host
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    format!("mlx_fleet_{}", port.unwrap_or(80_u16))
}

fn text_of<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::{names_loopback, own_page};

    #[test]
    fn a_sign_in_leads_to_pages_of_ours_alone() {
        for path in ["/", "/explore?metric=a&x=b%20c", "/runs/latest"] {
            assert_eq!(own_page(path), Some(path));
        }
        let others = [
            "",
            "runs",
            "//evil.test",
            "/\\evil.test",
            "http://evil.test",
            "/a\r\nb: c",
            "/live/fleet",
        ];
        for path in others {
            assert_eq!(own_page(path), None, "{path}");
        }
    }

    #[test]
    fn a_name_of_somebody_elses_that_leads_here_is_not_ours() {
        for host in ["127.0.0.1:7421", "localhost:7421", "[::1]:1", "localhost"] {
            assert!(names_loopback(host), "{host}");
        }
        for host in ["", "evil.test:7421", "127.0.0.1.evil.test", "localhost.:1"] {
            assert!(!names_loopback(host), "{host}");
        }
    }
}
