//! A query-api on a standby of PostgreSQL: reads are spread, and a token is honoured there too.

use serde_json::{Value, json};

use crate::deployment::postgres::Servers;
use crate::harness::{Journal, Start, StreamListener, TEST_TIMEOUT, client, within};
use crate::set_back::{answered, api, open_product};

/// Steps: a standby follows the primary; a query-api of its own reads from it. With the token of an invest it waits until the standby has
/// the view, and a stream shows the invest. While the standby does not follow, a read with a token says that it is behind; once it
/// follows, the next one has it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_serves_reads_with_tokens() {
    let (servers, journal) = (Servers::new(), Journal::default());
    let primary = servers.start("primary").await;
    let on_primary = Start::serve()
        .on(&servers.url(&primary))
        .with(&["--partitions", "1"]);
    let moa = on_primary.open().await;
    let writes = api(&moa, &journal);
    let product = open_product(&writes, 1_000).await;
    assert!(moa.stopped(TEST_TIMEOUT).await.status.success());
    primary.stop().await;
    servers.copy("primary", "standby");
    let primary = servers.start("primary").await;
    servers.is_standby("standby", &primary);
    let standby = servers.start_aside("standby").await;
    let moa = on_primary.open().await;
    let writes = api(&moa, &journal);

    let listen = [
        ("MOA_QUERY_LISTEN", "127.0.0.1:0"),
        ("MOA_OPS_LISTEN", "127.0.0.1:0"),
    ];
    let reader = Start::bare(&["serve", "query-api"]).on(&servers.url_of(&standby));
    let reader = listen
        .iter()
        .fold(reader, |start, (name, value)| start.env(name, value))
        .open()
        .await;
    let ready = async || {
        let answer = client()
            .get(format!("{}/readyz", reader.ops))
            .send()
            .await
            .ok()?;
        (answer.status() == 200).then_some(())
    };
    within(TEST_TIMEOUT, "the reader to be ready", ready).await;
    let read = async |token: &str| {
        let asked = client()
            .get(format!("{}/api/product/{product}", reader.read))
            .header("X-Consistency-Token", token);
        let answer = asked.send().await.unwrap();
        let consistency = answer
            .headers()
            .get("x-consistency")
            .map(|it| it.to_str().unwrap().to_owned());
        let body: Value = answer.json().await.unwrap();
        (
            consistency.unwrap_or_default(),
            body["data"]["currentInvestingAmount"].clone(),
        )
    };

    let mut stream = StreamListener::open(&reader.read, "/api/product/stream", &[]).await;
    let token = answered(&writes, "ann", product, 10)
        .await
        .token
        .expect("a token");
    assert_eq!(read(&token).await, ("reached".into(), json!(10)));
    stream
        .until(|event| event["currentInvestingAmount"] == 10)
        .await;

    standby.sql("select pg_wal_replay_pause()").await;
    let is_paused = async || {
        let paused = standby
            .number("select (pg_get_wal_replay_pause_state() = 'paused')::int::bigint")
            .await;
        (paused == 1).then_some(())
    };
    within(TEST_TIMEOUT, "the standby to be paused", is_paused).await;
    let token = answered(&writes, "bob", product, 5)
        .await
        .token
        .expect("a token");
    assert_eq!(read(&token).await, ("timeout".into(), json!(10)));
    standby.sql("select pg_wal_replay_resume()").await;
    within(TEST_TIMEOUT, "the standby to have it", async || {
        (read(&token).await.0 == "reached").then_some(())
    })
    .await;
    assert_eq!(read(&token).await.1, json!(15));

    reader.stopped(TEST_TIMEOUT).await;
    standby.stop().await;
    primary.stop().await;
}
