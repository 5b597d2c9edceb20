//! TLS to HTTP servers: the payment provider, and the identity provider's keys.

use axum::Router;
use axum::routing::get;
use rstest::rstest;
use serde_json::json;
use testbed::certificates::{Authority, Shown};
use testbed::payments::Payments;
use testbed::{TempFolder, TlsFront};
use tokio_util::task::AbortOnDropHandle;

use super::{STRANGER, says};
use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, within};

/// Invests that are enough for a provider to count as away.
const INVESTS: usize = 20;

#[rstest]
#[case::right(Shown::Right, None)]
#[case::expired(Shown::Expired, Some("it expired at 2021-01-01T00:00:00Z: renew it"))]
#[case::of_another_name(Shown::OtherName, Some("it is for other.example, not for localhost"))]
#[case::of_another_ca(Shown::OtherAuthority, Some(STRANGER))]
#[tokio::test]
async fn a_payment_provider_is_believed_for_its_certificate(
    #[case] shown: Shown,
    #[case] expected: Option<&str>,
) {
    let (folder, authority, payments) = (
        TempFolder::new("encrypted"),
        Authority::new("a"),
        Payments::open().await,
    );
    let plain = payments.url();
    let certificate = authority.issue_as(shown, "localhost");
    let front = TlsFront::before(
        plain.trim_start_matches("http://"),
        certificate.server_config(None),
    )
    .await;
    let start = Start::serve()
        .env("MOA_PAYMENT_PROVIDER", "http")
        .env("MOA_PAYMENT_URL", &front.url("localhost"));
    let app = TestApp::of(1, start.env("MOA_TLS_CA_FILE", &authority.write(&folder))).await;
    let product = app.open_product("paid", 1_000_000).await;
    for number in 0..INVESTS {
        assert!(
            app.invest(ask(format!("user{number}"), product, 10))
                .await
                .is_accepted()
        );
    }
    match expected {
        Some(expected) => {
            says(&app.processes[0], expected).await;
            assert!(payments.ledger().is_empty(), "it was asked all the same");
        }
        None => {
            within(TEST_TIMEOUT, "the payments", async || {
                (payments.ledger().len() == INVESTS).then_some(())
            })
            .await
        }
    }
}

#[rstest]
#[case::right(Shown::Right, None)]
#[case::expired(Shown::Expired, Some("it expired at 2021-01-01T00:00:00Z: renew it"))]
#[case::of_another_name(Shown::OtherName, Some("it is for other.example, not for localhost"))]
#[case::of_another_ca(Shown::OtherAuthority, Some(STRANGER))]
#[tokio::test]
async fn an_identity_provider_is_believed_for_its_certificate(
    #[case] shown: Shown,
    #[case] expected: Option<&str>,
) {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let (keys, _serving) = serve_keys().await;
    let front = TlsFront::before(
        &keys,
        authority.issue_as(shown, "localhost").server_config(None),
    )
    .await;
    let start = Start::serve()
        .env("MOA_USER_AUTH", "jwt")
        .env("MOA_JWT_KEYS", &format!("{}/jwks", front.url("localhost")))
        .env("MOA_JWT_ISSUER", "i")
        .env("MOA_JWT_AUDIENCE", "moa")
        .env("MOA_TLS_CA_FILE", &authority.write(&folder));
    let app = TestApp::of(1, start).await;
    let ready = async || {
        (reqwest::get(format!("{}/readyz", app.processes[0].ops))
            .await
            .ok()?
            .status()
            == 200)
            .then_some(())
    };
    match expected {
        Some(expected) => {
            says(&app.processes[0], expected).await;
            assert_eq!(ready().await, None, "it has no keys");
        }
        None => within(TEST_TIMEOUT, "the keys", ready).await,
    }
}

/// A JWK set at `/jwks` of this address, which is served for as long as the handle is kept.
async fn serve_keys() -> (String, AbortOnDropHandle<()>) {
    // RFC 8037, appendix A.2.
    let key = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "a"});
    let router = Router::new().route(
        "/jwks",
        get(async move || json!({"keys": [key]}).to_string()),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, AbortOnDropHandle::new(serving))
}
