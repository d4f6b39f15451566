//! What no request may be, whoever sends it: too large in its head, or made by a web page that somebody has open.
//!
//! Without tokens whoever reaches the port is the operator. A browser reaches it too, for any page: by a request to another site,
//! which it marks, and by a name that the page's owner lets stand for 127.0.0.1, which then is in `Host`.

use std::net::IpAddr;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::problem::{self, Problem};

/// The most headers.
pub const MOST_HEADERS: usize = 64;

/// The most bytes of headers, and of the path with its query.
pub const LARGEST_HEAD: usize = 16 << 10;
pub const LONGEST_URI: usize = 8 << 10;

/// Refuses what is too large in its head, sees to it that every error is a [`Problem`], and that no browser takes an answer for
/// anything but data.
pub async fn stand_guard(request: Request, next: Next) -> Response {
    let mut response = match head(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let status = response.status();
    let is_problem = |headers: &HeaderMap| {
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::MEDIA_TYPE)
    };
    if (status.is_client_error() || status.is_server_error()) && !is_problem(response.headers()) {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = Problem::of_status(status).into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

fn head(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if uri.path().len() + uri.query().map_or(0, str::len) > LONGEST_URI {
        return Err(Problem::of_status(StatusCode::URI_TOO_LONG));
    }
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > MOST_HEADERS || bytes > LARGEST_HEAD {
        return Err(Problem::of_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
    }
    if headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Problem::of_status(StatusCode::BAD_REQUEST));
    }
    Ok(())
}

/// Refuses what a browser sends for a page of another site, and what was sent to a name that is not ours: `names`, addresses, and
/// `localhost`.
pub fn same_site(uri: &Uri, headers: &HeaderMap, names: &[String]) -> Result<(), Problem> {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let refuse = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, "other-site", detail));
    let host = text(header::HOST).or(uri.authority().map(|authority| authority.as_str()));
    if host.is_some_and(|host| !is_ours(host, names)) || uri.host().is_some_and(|host| !is_ours(host, names))
    {
        return refuse(
            "without a token only an address, localhost and names given by --http-name are served",
        );
    }
    if text(header::HeaderName::from_static("sec-fetch-site"))
        .is_some_and(|site| site != "same-origin" && site != "none")
    {
        return refuse("without a token no page of another site may ask");
    }
    let origin = text(header::ORIGIN).map(|origin| origin.split_once("://").map_or("", |(_, host)| host));
    if origin.is_some_and(|origin| Some(origin) != host) {
        return refuse("without a token no page of another site may ask");
    }
    Ok(())
}

/// Whether `host`, perhaps with a port, is an address, `localhost` or one of the names.
fn is_ours(host: &str, names: &[String]) -> bool {
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, rest)) => (name, rest.strip_prefix(':').unwrap_or(rest)),
        None => host.rsplit_once(':').unwrap_or((host, "")),
    };
    let is_known = name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name));
    is_known && port.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(headers: &[(&'static str, &str)]) -> Result<(), Problem> {
        let headers = headers.iter().map(|(name, value)| {
            (header::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        });
        same_site(&Uri::from_static("/v1/tasks"), &headers.collect(), &["tasks.lan".to_owned()])
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:8000",
            "localhost:8000",
            "LocalHost",
            "[::1]:8000",
            "tasks.lan:80",
            "10.1.2.3",
        ] {
            assert_eq!(asked(&[("host", good)]), Ok(()), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:8000",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "[::1",
            "localhost:8000@evil.example",
            "é",
        ] {
            assert!(asked(&[("host", bad)]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_of_another_site_is_refused() {
        let host = ("host", "localhost:8000");
        assert_eq!(
            asked(&[host, ("sec-fetch-site", "same-origin"), ("origin", "http://localhost:8000")]),
            Ok(())
        );
        assert_eq!(asked(&[host, ("sec-fetch-site", "none")]), Ok(()));
        for bad in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "http://evil.example"),
            ("origin", "http://localhost:9000"),
            ("origin", "null"),
        ] {
            assert!(asked(&[host, bad]).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_head_has_bounds() {
        let uri = |length: usize| format!("/{}", "x".repeat(length)).parse::<Uri>().unwrap();
        let headers = |count: usize, size: usize| {
            let name = |n: usize| header::HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
            let value = HeaderValue::from_str(&"x".repeat(size)).unwrap();
            (0..count).map(|n| (name(n), value.clone())).collect::<HeaderMap>()
        };
        assert_eq!(head(&uri(10), &headers(MOST_HEADERS, 10)), Ok(()));
        for (uri, headers, status) in [
            (uri(LONGEST_URI), headers(1, 1), 414),
            (uri(1), headers(MOST_HEADERS + 1, 1), 431),
            (uri(1), headers(2, LARGEST_HEAD / 2), 431),
        ] {
            assert_eq!(head(&uri, &headers).unwrap_err().status, status);
        }
    }
}
