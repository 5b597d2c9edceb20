//! TLS to RabbitMQ and Redis.

use rstest::rstest;
use testbed::certificates::{Authority, Shown};
use testbed::{RedisServer, TempFolder};

use super::{STRANGER, says};
use crate::deployment::RabbitMq;
use crate::harness::{Start, TEST_TIMEOUT, TestApp, within};

const CONNECTED: &str = "connected to RabbitMQ";
const NO_CERTIFICATE: &str = "it may want a client's certificate";
const DISBELIEVED: &str = "it does not believe our client's certificate";

/// Shows the certificate that this CA issued to the servers that ask for one.
fn showing(start: Start, authority: &Authority, folder: &TempFolder) -> Start {
    let files = authority.issue("moa").write(folder);
    start
        .env("MOA_TLS_CLIENT_CERT_FILE", &files.certificate)
        .env("MOA_TLS_CLIENT_KEY_FILE", &files.key)
}

/// Steps: a broker wants its clients' certificates. Moas come, in turn, with everything right, by another name, without its CA,
/// without a certificate, with one of another CA. Then a broker with an expired certificate is met.
#[tokio::test]
async fn rabbitmq_is_believed_for_its_certificate_and_believes_ours() {
    let (folder, authority, stranger) = (
        TempFolder::new("encrypted"),
        Authority::new("a"),
        Authority::new("b"),
    );
    let rabbit = RabbitMq::start_encrypted(&authority.issue("localhost"), &authority).await;
    let to = |url: &str| {
        Start::serve()
            .env("AMQP_URL", url)
            .env("MOA_TLS_CA_FILE", &authority.write(&folder))
    };
    let ours = |start: Start| showing(start, &authority, &folder);
    let (url, by_address) = (
        rabbit.encrypted_url("localhost"),
        rabbit.encrypted_url("127.0.0.1"),
    );
    for (start, expected) in [
        (ours(to(&url)), CONNECTED),
        (
            ours(to(&by_address)),
            "it is for localhost, not for 127.0.0.1",
        ),
        (ours(to(&url).without("MOA_TLS_CA_FILE")), STRANGER),
        (to(&url), NO_CERTIFICATE),
        (showing(to(&url), &stranger, &folder), DISBELIEVED),
    ] {
        let app = TestApp::of(1, start).await;
        says(&app.processes[0], expected).await;
        assert!(
            !app.processes[0].logged().contains("guest:guest"),
            "{}",
            app.processes[0].logged()
        );
    }
    drop(rabbit);
    let rabbit = RabbitMq::start_encrypted(&authority.issue_expired("localhost"), &authority).await;
    let app = TestApp::of(1, ours(to(&rabbit.encrypted_url("localhost")))).await;
    says(
        &app.processes[0],
        "it expired at 2021-01-01T00:00:00Z: renew it",
    )
    .await;
}

#[rstest]
#[case::right(Shown::Right, None)]
#[case::expired(Shown::Expired, Some("it expired at 2021-01-01T00:00:00Z: renew it"))]
#[case::of_another_name(Shown::OtherName, Some("it is for other.example, not for localhost"))]
#[case::of_another_ca(Shown::OtherAuthority, Some(STRANGER))]
#[tokio::test]
async fn redis_is_believed_for_its_certificate(
    #[case] shown: Shown,
    #[case] expected: Option<&str>,
) {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let redis = RedisServer::start_encrypted(&authority.issue_as(shown, "localhost"), None);
    let start = Start::serve().env("REDIS_URL", &redis.encrypted_url("localhost"));
    meets(
        start.env("MOA_TLS_CA_FILE", &authority.write(&folder)),
        &redis,
        expected,
    )
    .await;
}

#[tokio::test]
async fn redis_is_shown_the_certificate_that_it_asks_for() {
    let (folder, authority, stranger) = (
        TempFolder::new("encrypted"),
        Authority::new("a"),
        Authority::new("b"),
    );
    let redis = RedisServer::start_encrypted(&authority.issue("localhost"), Some(&authority));
    let start = Start::serve().env("REDIS_URL", &redis.encrypted_url("localhost"));
    let start = start.env("MOA_TLS_CA_FILE", &authority.write(&folder));
    meets(start.clone(), &redis, Some(NO_CERTIFICATE)).await;
    meets(
        showing(start.clone(), &stranger, &folder),
        &redis,
        Some(DISBELIEVED),
    )
    .await;
    meets(showing(start, &authority, &folder), &redis, None).await;
}

/// It has the counters of a product then, or the process says why it has not.
async fn meets(start: Start, redis: &RedisServer, expected: Option<&str>) {
    let app = TestApp::of(1, start).await;
    app.open_product("counted", 1_000).await;
    if let Some(expected) = expected {
        says(&app.processes[0], expected).await;
    }
    let plain = redis
        .client()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    let keys = async || {
        redis::cmd("KEYS")
            .arg("moa:*")
            .query_async::<Vec<String>>(&mut plain.clone())
            .await
            .unwrap()
    };
    match expected {
        Some(_) => assert_eq!(keys().await, [""; 0]),
        None => {
            within(TEST_TIMEOUT, "the counters", async || {
                (!keys().await.is_empty()).then_some(())
            })
            .await
        }
    }
}

#[tokio::test]
async fn a_redis_that_is_not_to_be_verified_is_refused() {
    let database = testbed::Database::fresh().await;
    let start = Start::serve()
        .on(database.url())
        .env("REDIS_URL", "rediss://localhost:1/#insecure");
    let ended = start.end().await;
    assert!(
        !ended.status.success() && ended.err.contains("REDIS_URL must not end with #insecure"),
        "{}",
        ended.err
    );
}
