//! `moa doctor` against real servers: all is well, and each thing that can be made wrong is found, alone and with its mend.

use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use rstest::rstest;
use serde_json::Value;
use sqlx::PgPool;
use testbed::certificates::{Authority, let_others_read};
use testbed::{Database, RedisServer, TempFolder};
use uuid::Uuid;

use crate::deployment::postgres::Servers;
use crate::harness::{Ended, Start, TEST_TIMEOUT, TestApp, ask, servers};
use crate::killed::DataFolder;

/// What was found, by check.
struct Findings(Ended, Vec<Value>);

impl Findings {
    async fn of(start: Start) -> Self {
        let ended = start.with(&["--json"]).end().await;
        let list = serde_json::from_str(&ended.out)
            .unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err));
        Self(ended, list)
    }

    /// The verdict on it, and all that is said.
    fn verdict(&self, check: &str) -> (&str, String) {
        let of_check = self.1.iter().find(|finding| finding["check"] == check);
        let finding = of_check.unwrap_or_else(|| panic!("nothing on {check}: {:#?}", self.1));
        let said = format!(
            "{}; {}",
            finding["found"].as_str().unwrap(),
            finding["mend"].as_str().unwrap_or_default()
        );
        (finding["verdict"].as_str().unwrap(), said)
    }

    /// This check alone found something wrong, and says so.
    fn only_wrong(&self, check: &str, expected: &str) {
        let wrong: Vec<_> = self
            .1
            .iter()
            .filter(|finding| finding["verdict"] == "wrong")
            .collect();
        let (verdict, said) = self.verdict(check);
        assert!(verdict == "wrong" && wrong.len() == 1, "{wrong:#?}");
        assert!(said.contains(expected), "{expected:?} is not in {said:?}");
        assert_eq!(self.0.status.code(), Some(1), "{}", self.0.err);
        assert!(
            self.0.err.contains("found something wrong"),
            "{}",
            self.0.err
        );
    }

    fn nothing_wrong(&self) {
        assert!(self.0.status.success(), "{:#?}{}", self.1, self.0.err);
    }
}

fn doctor(url: &str) -> Start {
    Start::bare(&["doctor"]).on(url)
}

/// A database with a log that nobody serves any more.
async fn quiet_log() -> (TestApp, String) {
    let mut app = TestApp::open().await;
    let product = app.open_product("checked", 100).await;
    assert!(app.invest(ask("ann", product, 10)).await.is_accepted());
    app.settled().await;
    assert!(
        app.processes
            .remove(0)
            .stopped(TEST_TIMEOUT)
            .await
            .status
            .success()
    );
    let url = app.url();
    (app, url)
}

async fn sql(pool: &PgPool, statements: &str) {
    sqlx::raw_sql(statements).execute(pool).await.unwrap();
}

/// Everything that `moa serve` would use, beside it.
#[tokio::test]
async fn a_system_that_is_well_is_said_to_be() {
    let (amqp, redis) = servers();
    let (folder, authority) = (TempFolder::new("doctor"), Authority::new("a"));
    let files = authority.issue("moa.example").write(&folder);
    let key = folder.file("key");
    assert!(
        Start::bare(&["audit", "key", &key])
            .end()
            .await
            .status
            .success()
    );
    let app = TestApp::of(
        1,
        Start::serve()
            .env("AMQP_URL", &amqp)
            .env("REDIS_URL", &redis),
    )
    .await;
    let product = app.open_product("checked", 100).await;
    assert!(app.invest(ask("ann", product, 10)).await.is_accepted());
    app.settled().await;
    let start = doctor(&app.url())
        .env("AMQP_URL", &amqp)
        .env("REDIS_URL", &redis);
    let start = start
        .env("MOA_TLS_CERT_FILE", &files.certificate)
        .env("MOA_SEAL_KEY_FILE", &key);
    let found = Findings::of(start.clone()).await;
    found.nothing_wrong();
    let expected = [
        "certificate",
        "seal key",
        "postgresql",
        "durability",
        "schema",
        "rights",
        "clock",
        "consumers",
        "rabbitmq",
        "queues",
        "redis",
    ];
    for check in expected {
        assert_eq!(found.verdict(check).0, "ok", "{check}: {:#?}", found.1);
    }
    assert!(
        found
            .verdict("queues")
            .1
            .contains("are declared as this release does"),
        "{}",
        found.verdict("queues").1
    );
    let lines = start.end().await;
    assert_eq!(
        lines.out.lines().count(),
        found.1.len(),
        "a line each: {}",
        lines.out
    );
    assert!(
        lines.out.contains("\nok     schema        all "),
        "{}",
        lines.out
    );
}

#[tokio::test]
async fn a_database_without_synchronous_commits_is_warned_about() {
    let (app, url) = quiet_log().await;
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    sql(
        &app.pool,
        &format!("alter database \"{name}\" set synchronous_commit = off"),
    )
    .await;
    let found = Findings::of(doctor(&url)).await;
    found.nothing_wrong();
    let (verdict, said) = found.verdict("durability");
    assert!(
        verdict == "warn" && said.contains("alter database NAME reset synchronous_commit"),
        "{said}"
    );
}

#[rstest]
#[case::older(
    "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)",
    "it lacks 1 migrations of this release; run `moa migrate`"
)]
#[case::newer(
    "insert into _sqlx_migrations (version, description, success, checksum, execution_time) values (9999, 'x', true, '', 0)",
    "it has migration 9999, which this release does not know"
)]
#[case::another(
    "update _sqlx_migrations set checksum = '\\x00' where version = 3",
    "migration 3 was not applied as this release has it"
)]
#[tokio::test]
async fn a_schema_of_another_release_is_wrong(#[case] change: &str, #[case] expected: &str) {
    let (app, url) = quiet_log().await;
    sql(&app.pool, change).await;
    Findings::of(doctor(&url))
        .await
        .only_wrong("schema", expected);
}

/// Roles are the server's: the login is of this test alone, and goes with it.
#[tokio::test]
async fn a_login_without_its_rights_is_wrong() {
    let (app, url) = quiet_log().await;
    let login = format!("doctor_{}", Uuid::now_v7().simple());
    sql(
        &app.pool,
        &format!("create role {login} login password 'secret'; grant moa_reader to {login}"),
    )
    .await;
    let (scheme, place) = (
        url.split("://").next().unwrap(),
        url.rsplit('@').next().unwrap(),
    );
    let url = format!("{scheme}://{login}:secret@{place}");
    let may = Findings::of(doctor(&url).with(&["query-api"])).await;
    let may_not = Findings::of(doctor(&url).with(&["command-api"])).await;
    let all = Findings::of(doctor(&url)).await;
    sql(&app.pool, &format!("drop role {login}")).await;
    assert_eq!(may.verdict("rights").0, "ok", "{:#?}", may.1);
    for (found, roles) in [
        (may_not, "moa_writer"),
        (
            all,
            "moa_writer, moa_projector, moa_relay, moa_auditor, moa_sealer",
        ),
    ] {
        let (verdict, said) = found.verdict("rights");
        assert!(
            verdict == "wrong" && said.contains(&format!("grant {roles} to {login}")),
            "{said}"
        );
        assert_eq!(found.0.status.code(), Some(1));
    }
}

#[tokio::test]
async fn a_consumer_that_is_behind_is_warned_about_and_one_that_is_stuck_is_wrong() {
    let (app, url) = quiet_log().await;
    let old = "alter table events disable trigger all;
               update events set recorded_at = recorded_at - interval '10 minutes';
               alter table events enable trigger all;
               update checkpoints set position = 0, hash = null where consumer = 'holdings'";
    sql(&app.pool, old).await;
    let found = Findings::of(doctor(&url)).await;
    found.nothing_wrong();
    let (verdict, said) = found.verdict("consumers");
    assert!(
        verdict == "warn" && said.starts_with("holdings is 3 events and 6"),
        "{said}"
    );
    sql(&app.pool, "update checkpoints set stuck_at = 1, stuck_reason = 'no such row' where consumer = 'holdings' and partition = 1").await;
    let expected = "holdings is stuck at partition 1 position 1: no such row";
    Findings::of(doctor(&url))
        .await
        .only_wrong("consumers", expected);
}

/// Steps: a server of the test's own without fsync, with little WAL and few connections; each is found; they are mended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_may_lose_commits_or_is_too_small_is_found() {
    let servers = Servers::new();
    let server = servers.start("a").await;
    let url = servers.url(&server);
    assert!(
        Start::bare(&["migrate"])
            .on(&url)
            .end()
            .await
            .status
            .success()
    );
    for change in [
        "alter system set fsync = off",
        "alter system set max_wal_size = '64MB'",
        "alter system set max_connections = 20",
    ] {
        server.sql(change).await;
    }
    server.sql("select pg_reload_conf()").await;
    let found = Findings::of(doctor(&url)).await;
    found.only_wrong(
        "durability",
        "the server runs with fsync off, and Moa does not start",
    );
    assert_eq!(found.verdict("wal").0, "warn", "{:#?}", found.1);
    server.sql("alter system reset fsync").await;
    server.stop().await;
    let server = servers.start("a").await;
    let url = servers.url(&server);
    let found = Findings::of(doctor(&url)).await;
    found.only_wrong(
        "connections",
        "its pools open up to 43 connections, the server allows 17",
    );
    Findings::of(doctor(&url).with(&["sealer"]))
        .await
        .nothing_wrong();
    server.stop().await;
}

#[rstest]
#[case::a_consumers("holdings")]
#[case::with_marks("published")]
#[tokio::test]
async fn a_queue_with_other_arguments_is_wrong(#[case] part: &str) {
    let (amqp, _) = servers();
    let (app, url) = quiet_log().await;
    let log_id: Uuid = sqlx::query_scalar("select log_id from log_identity")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    let connection = Connection::connect(&amqp, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let start = doctor(&url).env("AMQP_URL", &amqp);
    let before = Findings::of(start.clone()).await;
    before.nothing_wrong();
    assert!(
        before
            .verdict("queues")
            .1
            .contains("are still to be declared"),
        "{}",
        before.verdict("queues").1
    );
    let name = format!("moa.{log_id}.{part}.2");
    let options = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.as_str().into(), options, FieldTable::default())
        .await
        .unwrap();
    let found = Findings::of(start).await;
    let left = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let others = format!("moa.{log_id}.{part}.1");
    channel
        .queue_delete(name.as_str().into(), QueueDeleteOptions::default())
        .await
        .unwrap();
    found.only_wrong(
        "queues",
        &format!("1 have other arguments than this release declares; {name}: "),
    );
    let made = channel
        .queue_declare(others.as_str().into(), left, FieldTable::default())
        .await;
    assert!(made.is_err(), "a missing queue was declared");
}

#[tokio::test]
async fn a_redis_that_evicts_is_wrong() {
    let (_app, url) = quiet_log().await;
    let mut redis = RedisServer::nowhere();
    redis.start();
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let start = doctor(&url).env("REDIS_URL", &redis.url());
    for (policy, verdict) in [("noeviction", "ok"), ("allkeys-lru", "wrong")] {
        for (name, value) in [("maxmemory", "100mb"), ("maxmemory-policy", policy)] {
            redis::cmd("CONFIG")
                .arg("SET")
                .arg(name)
                .arg(value)
                .exec_async(&mut connection)
                .await
                .unwrap();
        }
        let found = Findings::of(start.clone()).await;
        assert_eq!(found.verdict("eviction").0, verdict, "{:#?}", found.1);
        assert_eq!(found.0.status.success(), verdict == "ok");
    }
}

#[tokio::test]
async fn servers_that_are_away_are_wrong_by_the_names_that_were_given() {
    let nowhere = [
        "postgres://me@127.0.0.1:1/moa",
        "amqp://127.0.0.1:1",
        "redis://127.0.0.1:1",
    ];
    let start = doctor(nowhere[0])
        .env("AMQP_URL", nowhere[1])
        .with(&["--redis-url", nowhere[2]]);
    let found = Findings::of(start).await;
    for (check, setting) in [
        ("postgresql", "DATABASE_URL"),
        ("rabbitmq", "AMQP_URL"),
        ("redis", "--redis-url"),
    ] {
        let (verdict, said) = found.verdict(check);
        assert!(
            verdict == "wrong" && said.contains(setting),
            "{check}: {said}"
        );
    }
    assert_eq!(found.0.status.code(), Some(1));
}

#[tokio::test]
async fn files_that_clients_or_a_start_would_refuse_are_wrong() {
    let (database, folder, authority) = (
        Database::fresh().await,
        TempFolder::new("doctor"),
        Authority::new("a"),
    );
    let expired = authority.issue_expired("moa.example").write(&folder);
    let found =
        Findings::of(doctor(database.url()).env("MOA_TLS_CERT_FILE", &expired.certificate)).await;
    found.only_wrong(
        "certificate",
        "expired at 2021-01-01 00:00:00 UTC; renew it",
    );
    let_others_read(&expired.key);
    let found = Findings::of(doctor(database.url()).env("MOA_SEAL_KEY_FILE", &expired.key)).await;
    found.only_wrong("seal key", &format!("run `chmod 600 {}`", expired.key));
}

/// The private PostgreSQL is not started for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_postgresql_is_checked_beside_the_moa_that_runs_it() {
    let folder = DataFolder::new();
    let doctor = || Start::bare(&["doctor", "--data-dir", &folder.data()]);
    Findings::of(doctor())
        .await
        .only_wrong("postgresql", "there is no private PostgreSQL in");
    let moa = folder.start().open().await;
    let found = Findings::of(doctor()).await;
    for check in [
        "postgresql",
        "durability",
        "wal",
        "schema",
        "rights",
        "consumers",
        "connections",
        "seal key",
    ] {
        assert_eq!(found.verdict(check).0, "ok", "{check}: {:#?}", found.1);
    }
    assert!(
        found.verdict("disk").1.contains("GiB free for"),
        "{}",
        found.verdict("disk").1
    );
    assert!(moa.stopped(2 * TEST_TIMEOUT).await.status.success());
    Findings::of(doctor())
        .await
        .only_wrong("postgresql", "cannot reach PostgreSQL");
}
