//! How often each may call.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::get;
use edge::{CallerPolicy, Peer, RateLimits, Rates, UserIdHeader};
use std::net::SocketAddr;
use tower::ServiceExt as _;

use crate::answers::whole;

fn limited(rates: Rates) -> Router {
    let routes = Router::new()
        .route(
            "/user",
            get(async |UserIdHeader(user)| edge::ok(user.as_str())),
        )
        .route("/all", get(async || edge::ok("OK")))
        .merge(edge::health(async || vec![]));
    let limits = RateLimits::new(rates);
    let proxies = vec!["10.0.0.7".parse().unwrap()];
    edge::with_middleware(
        routes,
        CallerPolicy {
            limits,
            proxies,
            ..CallerPolicy::default()
        },
    )
}

/// What a request over a connection from `peer` is answered.
async fn call(
    router: &Router,
    peer: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let request = headers
        .iter()
        .fold(Request::get(path), |request, (name, value)| {
            request.header(*name, *value)
        });
    let mut request = request.body(Body::empty()).unwrap();
    request
        .extensions_mut()
        .insert(Peer(SocketAddr::new(peer.parse().unwrap(), 1)));
    whole(router.clone().oneshot(request).await.unwrap()).await
}

async fn status(router: &Router, peer: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
    call(router, peer, path, headers).await.0.as_u16()
}

fn rate(text: &str) -> Option<edge::Rate> {
    Some(text.parse().unwrap())
}

/// Hours, so that a slow machine gives none back meanwhile.
#[tokio::test]
async fn a_user_who_calls_too_often_is_told_when_to_come_back() {
    let router = limited(Rates {
        per_user: rate("1/h:2"),
        ..Rates::default()
    });
    let ann = [("x-user-id", "ann")];
    assert_eq!(
        [
            status(&router, "192.0.2.1", "/user", &ann).await,
            status(&router, "192.0.2.2", "/user", &ann).await
        ],
        [200; 2]
    );
    let (refused, headers, body) = call(&router, "192.0.2.3", "/user", &ann).await;
    assert_eq!(refused, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        body,
        r#"{"result":false,"code":"RATE_LIMITED","message":"Too many requests and not accepted, try again later : at most 2 in 7200 s from one user","data":null,"status":429}"#
    );
    assert_eq!(headers["ratelimit-policy"], r#""user";q=2;w=7200"#);
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    assert_eq!(headers["ratelimit"], format!(r#""user";r=0;t={wait}"#));
    assert_eq!(
        status(&router, "192.0.2.1", "/user", &[("x-user-id", "bob")]).await,
        200
    );
    assert_eq!(
        status(&router, "192.0.2.1", "/all", &ann).await,
        200,
        "what is nobody's is not counted"
    );
}

#[tokio::test]
async fn an_address_is_counted_also_behind_a_proxy_that_is_trusted() {
    let router = limited(Rates {
        per_address: rate("1/h:1"),
        ..Rates::default()
    });
    let forwarded = |client: &'static str| [("x-forwarded-for", client)];
    assert_eq!(status(&router, "192.0.2.1", "/all", &[]).await, 200);
    assert_eq!(
        status(&router, "192.0.2.1", "/all", &forwarded("192.0.2.9")).await,
        429,
        "nobody is another by saying so"
    );
    assert_eq!(
        status(&router, "10.0.0.7", "/all", &forwarded("192.0.2.1")).await,
        429
    );
    assert_eq!(
        status(&router, "10.0.0.7", "/all", &forwarded("192.0.2.2")).await,
        200
    );
    assert_eq!(status(&router, "2001:db8::1", "/all", &[]).await, 200);
    assert_eq!(
        status(&router, "2001:db8::2", "/all", &[]).await,
        429,
        "one network is one caller"
    );
    assert_eq!(
        status(&router, "192.0.2.1", "/livez", &[]).await,
        200,
        "probes are not counted"
    );
}

#[tokio::test]
async fn all_together_may_call_only_so_often() {
    let router = limited(Rates {
        in_all: rate("1/h:2"),
        ..Rates::default()
    });
    let mut statuses = Vec::new();
    for peer in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        statuses.push(status(&router, peer, "/none", &[]).await);
    }
    assert_eq!(statuses, [404, 404, 429], "also what leads nowhere");
}
