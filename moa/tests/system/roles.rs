//! Each service with a login of its own: what it needs is granted, and it needs no more. docs/rights.txt is the list.

use reqwest::Method;
use serde_json::Value;
use sqlx::{Connection as _, Executor as _, PgConnection};
use testbed::{TempFolder, free_port};
use uuid::Uuid;

use crate::deployment::Deployment;
use crate::harness::{
    AUDITOR, Ended, MoaProcess, OPERATOR, Outcome, Start, StreamListener, TEST_TIMEOUT, ask,
    read_models, within,
};

/// A sealer with its own login.
async fn sealer(system: &Deployment, folder: &TempFolder) -> MoaProcess {
    let made = Start::bare(&["audit", "key", &folder.file("key")])
        .end()
        .await;
    assert!(made.status.success(), "{}", made.err);
    let start = Start::bare(&["serve", "sealer"]).on(&system.database_as("sealer"));
    let start = start.env("MOA_OPS_LISTEN", &format!("127.0.0.1:{}", free_port()));
    start
        .env("MOA_SEAL_KEY_FILE", &folder.file("key"))
        .env("MOA_SEALS_FILE", &folder.file("seals"))
        .open()
        .await
}

async fn operator(system: &Deployment, args: &[&str]) -> Ended {
    let start = Start::bare(args).with(&["--admin-url", &system.admin(0)]);
    start.env("MOA_OPERATOR_TOKEN", OPERATOR).end().await
}

/// What the auditor is answered.
async fn audit(system: &Deployment, path: &str) -> Value {
    let answer = system
        .api(0)
        .admin_with(Method::GET, path, Some(AUDITOR), |it| it)
        .await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.data()
}

/// Whose the tables of a read model are, those of every generation.
async fn owners(system: &Deployment, model: &str) -> Vec<String> {
    let owners =
        "select distinct tableowner::text from pg_tables where tablename ~ ('^' || $1 || '(_|$)')";
    sqlx::query_scalar(owners)
        .bind(model)
        .fetch_all(&system.pool)
        .await
        .unwrap()
}

/// Steps: two of each service and a sealer, each with its login, which the owner made room for; load at both apis; every
/// read model is rebuilt and switched to, one is switched back, one dropped; more load; quiet; the checker; the auditor
/// reads, and verifies the log in the database itself with a login of his own; and his reading is written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_works_when_each_service_may_do_its_own_alone() {
    let (system, folder) = (Deployment::with_logins().await, TempFolder::new("roles"));
    let sealer = sealer(&system, &folder).await;
    system.load().await.stop().await;
    for model in read_models() {
        let rebuilt = operator(&system, &["projection", "rebuild", model]).await;
        assert!(
            rebuilt.status.success(),
            "{model}: {}{}",
            rebuilt.out,
            rebuilt.err
        );
    }
    let back = operator(&system, &["projection", "rollback", "holdings"]).await;
    assert!(back.status.success(), "{}", back.err);
    let dropped = operator(&system, &["projection", "drop", "product_list"]).await;
    assert!(dropped.status.success(), "{}", dropped.err);
    system.load().await.stop().await;
    is_streamed(&system).await;
    is_withdrawn_and_refunded(&system).await;
    system.holds().await;
    for model in read_models() {
        assert_eq!(owners(&system, model).await, ["moa_projector"], "{model}");
    }
    is_sealed(&system).await;
    assert_eq!(
        audit(&system, "/admin/audit/verify").await["verdict"],
        "WHOLE"
    );
    verifies_the_database_itself(&system, &folder).await;
    let read = audit(&system, "/admin/audit/access?limit=1").await;
    let of = |field: &str| read["list"][0][field].clone();
    assert_eq!(
        (of("reader"), of("login"), of("peer")),
        ("AUDITOR".into(), "admin".into(), "127.0.0.1".into())
    );
    is_told_by_command(&system).await;
    let open: Vec<String> = sqlx::query_scalar("select moa_open_rights()")
        .fetch_all(&system.pool)
        .await
        .unwrap();
    assert!(
        open.is_empty(),
        "what logins.sql and its owner's migration left open: {open:?}"
    );
    drop(sealer);
}

/// The writer's login looks the invest up through the index of events, which is the projector's.
async fn is_withdrawn_and_refunded(system: &Deployment) {
    let (now, hour) = (chrono::Utc::now(), chrono::TimeDelta::hours(1));
    let time = |time: chrono::DateTime<chrono::Utc>| {
        time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let body = serde_json::json!({"title": "withdrawable", "totalInvestingAmount": 10, "startedAt": time(now - hour),
                                  "finishedAt": time(now + hour), "withdrawableUntil": time(now + hour)});
    let opened = system
        .api(0)
        .operate(Method::POST, "/admin/product", Some(&body))
        .await;
    let product = opened.data()["productId"].as_i64().unwrap();
    let call = system.api(1).invest(ask("ann", product, 10)).await;
    let Outcome::Accepted { invest_id } = call.outcome else {
        panic!("{call:?}")
    };
    let path = format!("/api/invest/{invest_id}/withdraw");
    let answer = system.api(0).post(&path, &[("X-USER-ID", "ann")], "").await;
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (200, Some("01")),
        "{}",
        answer.body
    );
    let refunded = async || {
        let state =
            "select exists (select from invest_log where invest_id = $1 and state = 'REFUNDED')";
        sqlx::query_scalar::<_, bool>(state)
            .bind(invest_id)
            .fetch_one(&system.pool)
            .await
            .unwrap()
            .then_some(())
    };
    within(TEST_TIMEOUT, "the refund", refunded).await;
}

/// The reader's login sees which rows are new.
async fn is_streamed(system: &Deployment) {
    let body = serde_json::json!({"title": "streamed", "totalInvestingAmount": 10,
                                  "startedAt": "2020-01-01T00:00:00Z", "finishedAt": "2090-01-01T00:00:00Z"});
    let product = system
        .api(0)
        .operate(Method::POST, "/admin/product", Some(&body))
        .await
        .data()["productId"]
        .clone();
    let read = system.read(1);
    let mut products = StreamListener::open(&read, "/api/product/stream", &[]).await;
    let mut invests =
        StreamListener::open(&read, "/api/invest/log/stream", &[("X-USER-ID", "zoe")]).await;
    assert!(
        system
            .api(0)
            .invest(ask("zoe", product.as_i64().unwrap(), 10))
            .await
            .is_accepted()
    );
    products
        .until(|data| data["productId"] == product && data["investStatus"] == "COMPLETE")
        .await;
    invests
        .until(|data| data["productId"] == product && data["state"] == "SETTLED")
        .await;
}

async fn is_told_by_command(system: &Deployment) {
    let told = operator(system, &["audit", "access", "--limit", "1", "--json"]).await;
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let of = |field: &str| told["list"][0][field].clone();
    assert_eq!(
        (of("reader"), of("path")),
        ("OPERATOR".into(), "/admin/audit/access?limit=1".into()),
        "{told}"
    );
    let table = operator(system, &["audit", "access", "--limit", "1"]).await;
    for seen in [
        "OPERATOR",
        "/admin/audit/access?limit=1",
        "There are more: --cursor ",
    ] {
        assert!(table.out.contains(seen), "{}", table.out);
    }
}

async fn is_sealed(system: &Deployment) {
    let sealed = async || {
        let all = "select not exists (select from checkpoints k where consumer = 'relay' and position > 0 and not exists (
                                           select from seals s where s.partition = k.partition and s.last = k.position))";
        sqlx::query_scalar::<_, bool>(all)
            .fetch_one(&system.pool)
            .await
            .unwrap()
            .then_some(())
    };
    within(TEST_TIMEOUT, "the seals", sealed).await;
}

async fn verifies_the_database_itself(system: &Deployment, folder: &TempFolder) {
    let url = system.database_as("auditor");
    let verify = [
        "audit",
        "verify",
        "--database-url",
        &url,
        "--json",
        "--seals",
        &folder.file("seals"),
    ];
    let verified = Start::bare(&verify)
        .with(&["--public-key", &folder.file("key.pub")])
        .end()
        .await;
    assert!(
        verified.status.success(),
        "{}{}",
        verified.out,
        verified.err
    );
    let report: Value = serde_json::from_str(&verified.out).unwrap();
    assert_eq!(report["verdict"], "WHOLE", "{report}");
    assert!(report["seals"].as_i64() > Some(0), "{report}");
    let direct = "select login || ' ' || path from audit_access where reader = 'DIRECT'";
    let written: Vec<String> = sqlx::query_scalar(direct)
        .fetch_all(&system.pool)
        .await
        .unwrap();
    assert_eq!(written, ["auditor verify"]);
}

/// A login on the tests' server; dropped with its value.
struct Login {
    name: String,
    url: String,
    server: String,
}

impl Login {
    async fn make(database: &testbed::Database, role: &str) -> Self {
        let name = format!("moa_test_{}", Uuid::now_v7().simple());
        let make = format!("create role {name} login password 'for-a-test' in role {role}");
        database.pool().await.execute(make.as_str()).await.unwrap();
        let (scheme, rest) = database.url().split_once("://").unwrap();
        let place = rest.split_once('@').map_or(rest, |(_, place)| place);
        let server =
            std::env::var("DATABASE_URL").unwrap_or_else(|_| testbed::DEFAULT_URL.to_owned());
        Self {
            url: format!("{scheme}://{name}:for-a-test@{place}"),
            name,
            server,
        }
    }
}

impl Drop for Login {
    fn drop(&mut self) {
        let (server, drop) = (self.server.clone(), format!("drop role {}", self.name));
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                PgConnection::connect(&server)
                    .await?
                    .execute(drop.as_str())
                    .await
            })
        });
        if !matches!(dropping.join(), Ok(Ok(_))) {
            eprintln!("the role {} is left over: drop it", self.name);
        }
    }
}

async fn readyz(ops: &str) -> String {
    match reqwest::get(format!("http://{ops}/readyz")).await {
        Ok(answer) => answer.text().await.unwrap(),
        Err(_) => String::new(),
    }
}

/// Steps: an empty database; a projector with its own login starts, lives, is not ready, and changes nothing; everything in
/// one process, as the same login, says what is to be done; the owner migrates, and there still is no log; the owner migrates
/// and names the partitions; the projector is ready.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_migrate_waits_for_the_owner() {
    let database = testbed::Database::fresh().await;
    let (pool, login) = (
        database.pool().await,
        Login::make(&database, "moa_projector").await,
    );
    sqlx::raw_sql("drop schema public cascade; create schema public")
        .execute(&pool)
        .await
        .unwrap();
    let ops = format!("127.0.0.1:{}", free_port());
    let start = Start::bare(&["serve", "projector"])
        .on(&login.url)
        .env("MOA_OPS_LISTEN", &ops);
    let mut projector = start.begin();
    within(TEST_TIMEOUT, "the ops port", async || {
        (!readyz(&ops).await.is_empty()).then_some(())
    })
    .await;
    assert_eq!(readyz(&ops).await, "not ready: database");
    let whole = Start::serve().on(&login.url).end().await;
    let said = format!(
        "the schema is not up to date, and {} may not change it: run `moa migrate`",
        login.name
    );
    assert!(
        !whole.status.success() && whole.err.contains(&said),
        "{}",
        whole.err
    );

    let migrate = async |args: &[&str]| {
        let migrated = Start::bare(&["migrate"])
            .with(args)
            .on(database.url())
            .end()
            .await;
        assert!(migrated.status.success(), "{}", migrated.err);
    };
    migrate(&[]).await;
    let whole = Start::serve().on(&login.url).end().await;
    let said = format!(
        "there is no log yet, and {} may not create it: run `moa migrate --partitions N`",
        login.name
    );
    assert!(
        !whole.status.success() && whole.err.contains(&said),
        "{}",
        whole.err
    );
    assert_eq!(readyz(&ops).await, "not ready: database");
    migrate(&["--partitions", "2"]).await;
    within(TEST_TIMEOUT, "ready", async || {
        (readyz(&ops).await == "ok").then_some(())
    })
    .await;
    let partitions: i32 = sqlx::query_scalar("select partitions from log_identity")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(partitions, 2);
    projector.kill().await.unwrap();
    let end = format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'",
        login.name
    );
    pool.execute(end.as_str()).await.unwrap();
}

/// Steps: something of PostgreSQL's own is open to everybody; the owner, who is no superuser, migrates and is told; so is a
/// service with its own login, when it starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_owner_cannot_close_is_said() {
    let database = testbed::Database::fresh().await;
    let (owner, relay) = (
        Login::make(&database, "moa_owner").await,
        Login::make(&database, "moa_relay").await,
    );
    database
        .pool()
        .await
        .execute("grant execute on function lo_create(oid) to public")
        .await
        .unwrap();
    let said =
        "whoever may connect to this database can fill the disk with large objects: lo_create(oid)";
    let migrated = Start::bare(&["migrate", "--partitions", "1"])
        .on(&owner.url)
        .end()
        .await;
    assert!(
        migrated.status.success() && migrated.err.contains(said),
        "{}",
        migrated.err
    );
    let replay = Start::bare(&["migrate"]).on(&relay.url).end().await;
    assert!(replay.err.contains(said), "{}", replay.err);
}
