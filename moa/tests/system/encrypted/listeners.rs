//! Listeners that speak TLS, and a whole Moa where everything does.

use chrono::Utc;
use reqwest::redirect::Policy;
use reqwest::{Client, Method};
use rstest::rstest;
use serde_json::json;
use std::path::Path;
use testbed::certificates::{Authority, let_others_read};
use testbed::{PostgresServer, RedisServer, TempFolder};
use tls::Trust;

use super::says;
use crate::deployment::RabbitMq;
use crate::harness::{
    ApiClient, Ended, Journal, MoaProcess, OPERATOR, Start, TEST_TIMEOUT, TestApp, ask,
    seconds_from, within,
};

/// Shows a certificate for this address, which is what the banner says.
fn showing(start: Start, authority: &Authority, folder: &TempFolder) -> Start {
    let files = authority.issue("127.0.0.1").write(folder);
    start
        .env("MOA_TLS_CERT_FILE", &files.certificate)
        .env("MOA_TLS_KEY_FILE", &files.key)
}

/// A client that believes this CA.
fn client(ca: &str) -> Client {
    let config = Trust::open(Some(Path::new(ca)), None)
        .unwrap()
        .client_config();
    let client = Client::builder()
        .no_proxy()
        .timeout(TEST_TIMEOUT)
        .redirect(Policy::none());
    client.tls_backend_preconfigured(config).build().unwrap()
}

fn api(moa: &MoaProcess, ca: &str) -> ApiClient {
    ApiClient::of(0, moa, client(ca), Journal::default())
}

/// Steps: PostgreSQL, RabbitMQ, which wants a certificate, and Redis show certificates of a CA, and so do Moa's listeners. A product is
/// opened, an invest accepted, and its SUCCESS read, through https. The counters are in Redis, and RabbitMQ is connected.
#[tokio::test]
async fn an_invest_succeeds_where_every_connection_is_encrypted() {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let (server, ca, shown) = (
        authority.issue("localhost"),
        authority.write(&folder),
        authority.issue("moa").write(&folder),
    );
    let postgres = PostgresServer::start(Some(&server), &authority);
    let (rabbit, redis) = (
        RabbitMq::start_encrypted(&server, &authority).await,
        RedisServer::start_encrypted(&server, None),
    );
    let start = Start::serve()
        .on(&postgres.url("encrypted", "localhost", "sslmode=verify-full"))
        .env("AMQP_URL", &rabbit.encrypted_url("localhost"))
        .env("REDIS_URL", &redis.encrypted_url("localhost"))
        .env("MOA_TLS_CA_FILE", &ca)
        .env("MOA_TLS_CLIENT_CERT_FILE", &shown.certificate)
        .env("MOA_TLS_CLIENT_KEY_FILE", &shown.key);
    let moa = showing(start, &authority, &folder).open().await;
    assert!(
        [&moa.read, &moa.write, &moa.admin]
            .iter()
            .all(|url| url.starts_with("https://")),
        "{}",
        moa.said()
    );
    let (api, now) = (api(&moa, &ca), Utc::now());
    let body = json!({"title": "encrypted", "totalInvestingAmount": 1_000,
                      "startedAt": seconds_from(now, -60), "finishedAt": seconds_from(now, 3_600)});
    let opened = api
        .operate(Method::POST, "/admin/product", Some(&body))
        .await;
    let product = opened.data()["productId"]
        .as_i64()
        .unwrap_or_else(|| panic!("not opened: {}", opened.body));
    assert!(api.invest(ask("ann", product, 10)).await.is_accepted());
    let succeeded = async || {
        let log = api.get_as("ann", "/api/invest/log").await.data();
        (log["list"][0]["investResult"] == "SUCCESS").then_some(())
    };
    within(TEST_TIMEOUT, "SUCCESS", succeeded).await;
    // A cookie of the console is never sent without TLS.
    let login = client(&ca)
        .post(format!("{}/console/login", moa.admin))
        .body(format!("token={OPERATOR}"));
    let answer = login
        .header("content-type", "application/x-www-form-urlencoded")
        .send()
        .await
        .unwrap();
    let cookie = answer.headers()["set-cookie"].to_str().unwrap();
    assert!(
        cookie.ends_with("; HttpOnly; SameSite=Lax; Secure"),
        "{cookie}"
    );
    says(&moa, "connected to RabbitMQ").await;
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
    within(TEST_TIMEOUT, "the counters", async || {
        (!keys().await.is_empty()).then_some(())
    })
    .await;
}

/// Whoever asks the process: operators' and auditors' commands, and a health check. Each says what is wrong with a certificate.
#[tokio::test]
async fn commands_reach_an_encrypted_listener_that_they_believe() {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let app = TestApp::of(1, showing(Start::serve(), &authority, &folder)).await;
    let ca = authority.write(&folder);
    let url = app.processes[0].admin.clone();
    let by_name = url.replace("127.0.0.1", "localhost");
    let command = async |args: &[&str], ca: Option<&str>| -> Ended {
        let start = Start::bare(args).env("MOA_OPERATOR_TOKEN", OPERATOR);
        ca.into_iter()
            .fold(start, |start, ca| start.env("MOA_TLS_CA_FILE", ca))
            .end()
            .await
    };
    for args in [
        &["status", "--check", "--admin-url", &url][..],
        &["audit", "seals", "--admin-url", &url],
        &["healthcheck", &url],
    ] {
        let ended = command(args, Some(&ca)).await;
        assert!(ended.status.success(), "{args:?}: {}", ended.err);
        let ended = command(args, None).await;
        assert!(
            !ended.status.success() && ended.err.contains("no CA that is trusted issued it"),
            "{}",
            ended.err
        );
    }
    let ended = command(&["status", "--admin-url", &by_name], Some(&ca)).await;
    assert!(
        !ended.status.success() && ended.err.contains("it is for 127.0.0.1, not for localhost"),
        "{}",
        ended.err
    );
    let plain = command(
        &["status", "--admin-url", &url.replace("https", "http")],
        None,
    )
    .await;
    assert!(!plain.status.success(), "{}", plain.out);
}

/// A service alone speaks TLS where it is called, and not on its ops port.
#[tokio::test]
async fn an_ops_port_speaks_no_tls() {
    let (folder, authority) = (TempFolder::new("encrypted"), Authority::new("a"));
    let database = testbed::Database::fresh().await;
    let listen = [
        "serve",
        "query-api",
        "--query-listen",
        "127.0.0.1:0",
        "--ops-listen",
        "127.0.0.1:0",
    ];
    let moa = showing(Start::bare(&listen).on(database.url()), &authority, &folder)
        .open()
        .await;
    let ops = moa.ops.clone();
    let ready = async || {
        Some(
            reqwest::get(format!("{ops}/readyz"))
                .await
                .ok()?
                .status()
                .as_u16()
                == 200,
        )
    };
    assert!(within(TEST_TIMEOUT, "an answer", ready).await);
    let answer = client(&authority.write(&folder))
        .get(format!("{}/api/product", moa.read))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

#[rstest]
#[case::no_key(&["MOA_TLS_CERT_FILE"], false, "--tls-key-file")]
#[case::no_certificate(&["MOA_TLS_KEY_FILE"], false, "--tls-cert-file")]
#[case::key_of_others(&["MOA_TLS_CERT_FILE", "MOA_TLS_KEY_FILE"], true, "run `chmod 600")]
#[case::no_clients_key(&["MOA_TLS_CLIENT_CERT_FILE"], false, "set both MOA_TLS_CLIENT_CERT_FILE and MOA_TLS_CLIENT_KEY_FILE")]
#[tokio::test]
async fn a_certificate_without_its_key_is_refused(
    #[case] names: &[&str],
    #[case] open: bool,
    #[case] expected: &str,
) {
    let folder = TempFolder::new("encrypted");
    let files = Authority::new("a").issue("127.0.0.1").write(&folder);
    if open {
        let_others_read(&files.key);
    }
    let path = |name: &str| {
        if name.contains("KEY") {
            &files.key
        } else {
            &files.certificate
        }
    };
    let start = Start::serve().on("postgres://nobody@127.0.0.1:1/none");
    let ended = names
        .iter()
        .fold(start, |start, name| start.env(name, path(name)))
        .end()
        .await;
    assert!(
        !ended.status.success() && ended.err.contains(expected),
        "{}",
        ended.err
    );
}
