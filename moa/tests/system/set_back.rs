//! A database that lost its last commits under running instances is not written on, and says so.

use reqwest::Method;
use serde_json::json;
use std::collections::HashSet;
use uuid::Uuid;

use crate::deployment::postgres::{Server, Servers};
use crate::harness::{
    ApiClient, Call, Journal, Load, MoaProcess, OPERATOR, Start, TEST_TIMEOUT, ask, client, within,
};

/// Clients of the load before a server is killed.
const CLIENTS: usize = 8;
/// Acceptances before that.
const MIN_ACCEPTED: usize = 200;
const TOTAL: i64 = 1_000;

/// Everything in one process, on the server in place, with one partition.
async fn moa_on(servers: &Servers, server: &Server) -> MoaProcess {
    Start::serve()
        .on(&servers.url(server))
        .with(&["--partitions", "1"])
        .open()
        .await
}

pub fn api(moa: &MoaProcess, journal: &Journal) -> ApiClient {
    ApiClient::of(0, moa, client(), journal.clone())
}

pub async fn open_product(api: &ApiClient, total: i64) -> i64 {
    let body = json!({"title": "set back", "totalInvestingAmount": total,
                      "startedAt": "2020-01-01T00:00:00", "finishedAt": "2100-01-01T00:00:00"});
    let opened = api
        .operate(Method::POST, "/admin/product", Some(&body))
        .await;
    opened.data()["productId"].as_i64().unwrap()
}

/// Asks until there is another answer than that nothing was carried out: a server may just be starting.
pub async fn answered(api: &ApiClient, user: &str, product: i64, amount: i64) -> Call {
    let asked = async || {
        let call = api.invest(ask(user, product, amount)).await;
        (!call.is_refused("OVERLOADED") && !call.is_unknown()).then_some(call)
    };
    within(TEST_TIMEOUT, "an answer", asked).await
}

async fn code(answer: reqwest::Response) -> String {
    answer.json::<serde_json::Value>().await.unwrap()["code"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What `/readyz` says, once it names a clause of the log.
pub async fn says_that_it_lost_events(moa: &MoaProcess) {
    let ready = async || {
        let answer = client()
            .get(format!("{}/readyz", moa.ops))
            .send()
            .await
            .ok()?;
        let (status, body) = (answer.status().as_u16(), answer.text().await.ok()?);
        (status == 503 && body.contains("log-lost-events")).then_some(())
    };
    within(TEST_TIMEOUT, "readiness names what happened", ready).await;
}

async fn is_ready(moa: &MoaProcess) {
    let ready = async || {
        let answer = client()
            .get(format!("{}/readyz", moa.ops))
            .send()
            .await
            .ok()?;
        (answer.status() == 200).then_some(())
    };
    within(TEST_TIMEOUT, "it is ready", ready).await;
}

async fn taken(server: &Server) -> i64 {
    server
        .number(
            "select coalesce(sum((payload -> 'InvestReserved' ->> 'amount')::bigint), 0)::bigint from events
              where event_type = 'InvestReserved'",
        )
        .await
}

/// Nothing is taken, whatever is asked for, and nobody is told that it is sold out.
pub async fn takes_nothing(api: &ApiClient, product: i64) {
    for amount in [1, TOTAL - 2, TOTAL] {
        let call = api.invest(ask("late", product, amount)).await;
        assert!(call.is_refused("OVERLOADED"), "{call:?}");
    }
}

async fn operator(moa: &MoaProcess, args: &[&str]) -> String {
    let ended = Start::bare(args)
        .with(&["--admin-url", &moa.admin])
        .env("MOA_OPERATOR_TOKEN", OPERATOR)
        .end()
        .await;
    assert!(ended.status.success(), "{}", ended.err);
    ended.out
}

/// Steps: an instance sells 1; the data folder is copied; it sells 1 more; the copy is put back, and the server started; a
/// fresh instance sells what is left, 999; the first, whose memory is ahead, sells nothing and says why; an operator agrees,
/// and it goes on with what the database has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_data_folder_that_was_put_back_nothing_is_sold_twice() {
    let (servers, journal) = (Servers::new(), Journal::default());
    let server = servers.start("first").await;
    let ahead = moa_on(&servers, &server).await;
    let ahead_api = api(&ahead, &journal);
    let product = open_product(&ahead_api, TOTAL).await;
    assert!(answered(&ahead_api, "ann", product, 1).await.is_accepted());
    server.stop().await;
    servers.copy("first", "copy");
    let server = servers.start("first").await;
    assert!(answered(&ahead_api, "bob", product, 1).await.is_accepted());
    server.stop().await;
    servers.copy("copy", "first");

    let server = servers.start("first").await;
    let fresh = moa_on(&servers, &server).await;
    let fresh_api = api(&fresh, &journal);
    assert!(
        answered(&fresh_api, "eve", product, TOTAL - 1)
            .await
            .is_accepted()
    );
    says_that_it_lost_events(&ahead).await;
    takes_nothing(&ahead_api, product).await;
    is_ready(&fresh).await;
    assert_eq!(taken(&server).await, TOTAL);

    let said = operator(&fresh, &["restore", "--accept-loss"]).await;
    assert!(said.contains("Agreed"), "{said}");
    is_ready(&ahead).await;
    let late = answered(&ahead_api, "late", product, 1).await;
    assert!(late.is_refused("SOLD_OUT"), "{late:?}");
    assert_eq!(taken(&server).await, TOTAL);
    server.stop().await;
}

/// Steps: the database says that commits need not wait for the disk; load; `kill -9` of the whole server; it is started
/// again; whatever was answered is there, and the instance goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_wait_for_the_disk_whatever_the_database_has_set() {
    let (servers, journal) = (Servers::new(), Journal::default());
    let server = servers.start("first").await;
    server
        .sql("alter database moa set synchronous_commit = off")
        .await;
    server
        .sql("alter system set wal_writer_delay = '10s'")
        .await;
    server.sql("select pg_reload_conf()").await;
    let moa = moa_on(&servers, &server).await;
    let api = api(&moa, &journal);
    let product = open_product(&api, 1_000_000).await;
    let load = Load::start(std::slice::from_ref(&api), CLIENTS, &[product]);
    within(TEST_TIMEOUT, "acceptances", async || {
        (journal.count(Call::is_accepted) >= MIN_ACCEPTED).then_some(())
    })
    .await;
    server.killed(&servers).await;
    load.stop().await;

    let server = servers.start("first").await;
    let mut connection = server.connect().await;
    let there: Vec<Uuid> = sqlx::query_scalar(
        "select (payload -> 'InvestReserved' ->> 'investId')::uuid from events where event_type = 'InvestReserved'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let there: HashSet<_> = there.into_iter().collect();
    let accepted: Vec<_> = journal
        .read()
        .iter()
        .filter(|call| call.is_accepted())
        .filter_map(Call::invest_id)
        .collect();
    let lost: Vec<_> = accepted
        .iter()
        .filter(|invest| !there.contains(invest))
        .collect();
    assert!(
        lost.is_empty(),
        "{} of {} answered invests are lost",
        lost.len(),
        accepted.len()
    );
    assert!(answered(&api, "late", product, 1).await.is_accepted());
    is_ready(&moa).await;
    server.stop().await;
}

/// Steps: a standby follows without being waited for; it is cut off; the primary sells 1 more and is gone; the standby is
/// promoted and takes its place. The instance, whose memory is ahead, sells nothing; a fresh one sells what is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_standby_that_has_not_everything_is_not_written_on() {
    let (servers, journal) = (Servers::new(), Journal::default());
    let primary = servers.start("primary").await;
    let ahead = moa_on(&servers, &primary).await;
    let ahead_api = api(&ahead, &journal);
    let product = open_product(&ahead_api, TOTAL).await;
    primary.stop().await;
    servers.copy("primary", "standby");
    let primary = servers.start("primary").await;
    servers.is_standby("standby", &primary);
    let standby = servers.start_aside("standby").await;
    assert!(answered(&ahead_api, "ann", product, 1).await.is_accepted());
    within(TEST_TIMEOUT, "the standby has it", async || {
        (taken(&standby).await == 1).then_some(())
    })
    .await;
    standby.sql("alter system set primary_conninfo = ''").await;
    standby.sql("select pg_reload_conf()").await;
    within(TEST_TIMEOUT, "it follows no more", async || {
        (standby
            .number("select count(*) from pg_stat_wal_receiver")
            .await
            == 0)
            .then_some(())
    })
    .await;
    assert!(answered(&ahead_api, "bob", product, 1).await.is_accepted());
    primary.killed(&servers).await;
    standby.sql("select pg_promote()").await;
    servers.put_in_place(&standby);

    says_that_it_lost_events(&ahead).await;
    takes_nothing(&ahead_api, product).await;
    let fresh = moa_on(&servers, &standby).await;
    let fresh_api = api(&fresh, &journal);
    assert!(
        answered(&fresh_api, "eve", product, TOTAL - 1)
            .await
            .is_accepted()
    );
    takes_nothing(&ahead_api, product).await;
    assert_eq!(taken(&standby).await, TOTAL);
    standby.stop().await;
}

/// Steps: the seals are outside the data folder; it is copied, goes on, is sealed, and is put back; an instance that starts
/// on it, and knows nothing, takes no writes until an operator agrees; neither does one that is started after that. What was lost is
/// sealed, and a token from before is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_behind_the_seals_outside_takes_no_writes() {
    let (servers, journal) = (Servers::new(), Journal::default());
    let server = servers.start("first").await;
    let (key, seals) = (servers.file("key"), servers.file("seals"));
    assert!(
        Start::bare(&["audit", "key", &key])
            .end()
            .await
            .status
            .success()
    );
    let sealing = Start::serve()
        .env("MOA_SEAL_KEY_FILE", &key)
        .env("MOA_SEALS_FILE", &seals);
    let sealing = sealing
        .on(&servers.url(&server))
        .with(&["--partitions", "1"]);
    let moa = sealing.open().await;
    let first_api = api(&moa, &journal);
    let product = open_product(&first_api, TOTAL).await;
    moa.stopped(TEST_TIMEOUT).await;
    server.stop().await;
    servers.copy("first", "copy");

    let server = servers.start("first").await;
    let moa = sealing.open().await;
    let second_api = api(&moa, &journal);
    assert!(answered(&second_api, "ann", product, 1).await.is_accepted());
    let lost_token = second_api
        .get("/api/product")
        .await
        .header("x-consistency-token")
        .unwrap()
        .to_owned();
    // A stop seals what is left.
    moa.stopped(TEST_TIMEOUT).await;
    server.stop().await;
    servers.copy("copy", "first");

    let server = servers.start("first").await;
    let moa = sealing.open().await;
    says_that_it_lost_events(&moa).await;
    let third_api = api(&moa, &journal);
    takes_nothing(&third_api, product).await;
    operator(&moa, &["restore", "--accept-loss"]).await;
    assert!(
        answered(&third_api, "bob", product, TOTAL)
            .await
            .is_accepted()
    );
    within(TEST_TIMEOUT, "the loss is sealed", async || {
        (server
            .number("select count(*) from seals where lost_first is not null")
            .await
            == 1)
            .then_some(())
    })
    .await;
    is_ready(&moa).await;
    let with = async |token: &str| {
        let asked = client()
            .get(format!("{}/api/product", moa.read))
            .header("X-Consistency-Token", token);
        asked.send().await.unwrap()
    };
    let outdated = with(&lost_token).await;
    assert_eq!(
        (outdated.status().as_u16(), code(outdated).await),
        (400, "TOKEN_OUTDATED".to_owned())
    );
    let token = third_api
        .get("/api/product")
        .await
        .header("x-consistency-token")
        .unwrap()
        .to_owned();
    assert_eq!(with(&token).await.headers()["x-consistency"], "reached");
    let verified = operator(&moa, &["audit", "verify"]).await;
    assert!(
        verified.contains("Lost, as seal ") && verified.contains("The log is whole"),
        "{verified}"
    );
    moa.stopped(TEST_TIMEOUT).await;
    let again = sealing.open().await;
    let late = answered(&api(&again, &journal), "late", product, 1).await;
    assert!(
        late.is_refused("SOLD_OUT"),
        "what was agreed to is agreed to: {late:?}"
    );
    server.stop().await;
}

/// Steps: the server's fsync is off; a start refuses it in a sentence, and makes no table.
#[tokio::test]
async fn a_server_that_may_lose_what_it_said_is_refused() {
    let servers = Servers::new();
    let server = servers.start("first").await;
    server.sql("alter system set full_page_writes = off").await;
    server.sql("alter system set fsync = off").await;
    server.sql("select pg_reload_conf()").await;
    let off = "select count(*) from pg_settings where name in ('fsync', 'full_page_writes') and setting = 'off'";
    within(TEST_TIMEOUT, "it is off", async || {
        (server.number(off).await == 2).then_some(())
    })
    .await;
    let ended = Start::serve().on(&servers.url(&server)).end().await;
    assert!(!ended.status.success());
    assert!(
        ended.err.contains("fsync and full_page_writes off"),
        "{}",
        ended.err
    );
    assert_eq!(
        server
            .number("select count(*) from pg_tables where schemaname = 'public'")
            .await,
        0
    );
    server.stop().await;
}
