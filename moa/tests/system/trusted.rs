//! What a start trusts: its settings, and nothing else of the environment; and that it reads them all before it makes a table.

mod empty;

use futures::future::join_all;
use rstest::rstest;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use testbed::TempFolder;
use uuid::Uuid;

use crate::harness::{Ended, OPERATOR, Start, TestApp, ask, servers};

/// In what is secret, or is not to be believed; must show nowhere.
const CANARY: &str = "canary9d41";

/// A database of one test's own with nothing in it.
async fn empty_database() -> (testbed::Database, PgPool) {
    let database = testbed::Database::fresh().await;
    let pool = database.pool().await.inner().clone();
    pool.execute("drop schema public cascade; create schema public")
        .await
        .unwrap();
    (database, pool)
}

async fn tables(pool: &PgPool) -> Vec<String> {
    let named = "select schemaname || '.' || tablename from pg_tables
                  where schemaname not in ('pg_catalog', 'information_schema') order by 1";
    sqlx::query_scalar(named).fetch_all(pool).await.unwrap()
}

fn is_refused(ended: &Ended, expected: &str) {
    let said = format!("{}{}", ended.out, ended.err);
    assert!(
        !ended.status.success() && said.contains(expected),
        "{expected:?} is not in {said}"
    );
    assert!(
        !said.contains(CANARY) && !said.contains("panicked"),
        "{said}"
    );
}

/// Writes a file with these permissions, and says where it is.
fn file(folder: &TempFolder, name: &str, text: &str, mode: u32) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

/// A folder that any account may enter.
fn open_folder() -> TempFolder {
    let folder = TempFolder::new("trusted");
    std::fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    folder
}

fn service(name: &str, database_url: &str, folder: &TempFolder) -> Start {
    if name == "everything" {
        return Start::serve().on(database_url);
    }
    let start = Start::bare(&["serve", name]).on(database_url);
    let start = match name {
        "command-api" => start.with(&["--command-listen", "127.0.0.1:0"]),
        "query-api" => start.with(&["--query-listen", "127.0.0.1:0"]),
        "admin" => start
            .with(&["--admin-listen", "127.0.0.1:0"])
            .env("MOA_OPERATOR_TOKEN", OPERATOR),
        "relay" => start.env("AMQP_URL", &servers().0),
        "sealer" => start
            .env("MOA_SEAL_KEY_FILE", &key(folder))
            .env("MOA_SEALS_FILE", &seals(folder)),
        _ => start,
    };
    if name == "admin" {
        start
    } else {
        start.with(&["--ops-listen", "127.0.0.1:0"])
    }
}

const SERVICES: [&str; 7] = [
    "everything",
    "command-api",
    "query-api",
    "projector",
    "relay",
    "admin",
    "sealer",
];

fn key(folder: &TempFolder) -> String {
    let path = folder.join("key.pem");
    if !path.exists() {
        proof::key::create_key(&path).unwrap();
    }
    path.display().to_string()
}

fn seals(folder: &TempFolder) -> String {
    folder.join("seals.ndjson").display().to_string()
}

/// What a bad value is complained of with, for every setting that is read by us and not by clap.
const BAD: [(&str, &str, &str, &[&str]); 10] = [
    (
        "DATABASE_URL",
        "postgres://me:canary9d41@host:port/moa",
        "DATABASE_URL cannot be read",
        &SERVICES,
    ),
    (
        "AMQP_URL",
        "amqps://me:canary9d41@-host-",
        "AMQP_URL: the broker's address cannot be used",
        &["everything", "command-api", "projector", "relay"],
    ),
    (
        "REDIS_URL",
        "http://:canary9d41@host",
        "REDIS_URL cannot be read",
        &["everything", "query-api", "projector", "admin"],
    ),
    (
        "MOA_PAYMENT_URL",
        "https://canary9d41@host",
        "must have no user and password",
        &["everything", "command-api"],
    ),
    (
        "MOA_OPERATOR_TOKEN",
        "canary9d41",
        "MOA_OPERATOR_TOKEN must be",
        &["everything", "admin"],
    ),
    (
        "MOA_AUDITOR_TOKEN",
        "canary9d41",
        "MOA_AUDITOR_TOKEN must be",
        &["everything", "admin"],
    ),
    (
        "MOA_AUDITOR_TOKEN_FILE",
        "/nowhere",
        "cannot read the secret in /nowhere",
        &["everything", "admin"],
    ),
    (
        "MOA_SEAL_KEY_FILE",
        "/nowhere",
        "/nowhere",
        &["everything", "sealer"],
    ),
    (
        "MOA_SEAL_PUBLIC_KEY_FILES",
        "/nowhere",
        "/nowhere",
        &["everything", "command-api", "admin", "sealer"],
    ),
    ("MOA_PARTITIONS", "65", "65 is not in 1..=64", &SERVICES),
];

/// Steps: on a database without a table, every service is started with each of its settings spoilt, alone; it ends with the
/// complaint, and there is no table still.
#[tokio::test]
async fn a_start_that_is_refused_has_made_no_table() {
    let ((database, pool), folder) = (empty_database().await, open_folder());
    for (name, value, complaint, services) in BAD {
        let spoilt = services.iter().map(async |service_name| {
            let start = service(service_name, database.url(), &folder);
            let start = if name.starts_with("MOA_AUDITOR") {
                start.without("MOA_AUDITOR_TOKEN")
            } else {
                start
            };
            let start = if name == "MOA_PAYMENT_URL" {
                start.env("MOA_PAYMENT_PROVIDER", "http")
            } else {
                start
            };
            (service_name, start.env(name, value).end().await)
        });
        for (service_name, ended) in join_all(spoilt).await {
            is_refused(&ended, complaint);
            assert_eq!(
                tables(&pool).await,
                [""; 0],
                "{service_name} with a bad {name}"
            );
        }
    }
    let key_without_file =
        service("everything", database.url(), &folder).env("MOA_SEAL_KEY_FILE", &key(&folder));
    is_refused(&key_without_file.end().await, "set MOA_SEALS_FILE too");
    let without_token = service("admin", database.url(), &folder)
        .without("MOA_OPERATOR_TOKEN")
        .end()
        .await;
    is_refused(&without_token, "set MOA_OPERATOR_TOKEN");
    assert_eq!(tables(&pool).await, [""; 0]);
}

/// Steps: a proxy listens that would be sent every request; commands of operators and auditors and a health check are asked with
/// every variable naming it; they are answered, and nobody came to the proxy.
#[tokio::test]
async fn a_proxy_of_the_environment_is_sent_no_token() {
    let app = TestApp::open().await;
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    proxy.set_nonblocking(true).unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    let admin = app.processes[0].admin.as_str();
    let plain = admin.strip_prefix("http://").unwrap();
    for args in [
        &["status", "--admin-url", admin][..],
        &["audit", "seals", "--admin-url", admin],
        &["healthcheck", plain],
    ] {
        let start = Start::bare(args).env("MOA_OPERATOR_TOKEN", OPERATOR);
        let variables = [
            "http_proxy",
            "https_proxy",
            "all_proxy",
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "ALL_PROXY",
        ];
        let ended = variables
            .iter()
            .fold(start, |start, name| start.env(name, &address))
            .end()
            .await;
        assert!(ended.status.success(), "{args:?}: {}", ended.err);
        assert!(proxy.accept().is_err(), "{args:?} went to the proxy");
    }
}

/// With any of these the client library would go elsewhere, ask for TLS, or be refused by the server.
#[tokio::test]
async fn variables_of_postgresql_have_no_effect_and_are_told() {
    let database = testbed::Database::fresh().await;
    let start = Start::serve()
        .on(database.url())
        .env("PGOPTIONS", "-c canary9d41=1")
        .env("PGSSLMODE", "require");
    let moa = start.env("PGPASSWORD", CANARY).open().await;
    let environment = std::fs::read(format!("/proc/{}/environ", moa.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains(CANARY));
    let logged = moa.logged();
    assert!(
        logged.contains("PGOPTIONS") && logged.contains("have no effect here"),
        "{logged}"
    );
    assert!(!logged.contains(CANARY), "{logged}");
}

#[tokio::test]
async fn a_parameter_that_is_not_known_is_told_without_its_value() {
    let database = testbed::Database::fresh().await;
    let url = format!("{}&colour={CANARY}&application_name=mine", database.url());
    let moa = Start::serve().on(&url).env("MOA_LOG", "trace").open().await;
    let logged = moa.logged();
    assert!(
        logged.contains(
            "DATABASE_URL has a parameter that is not known and has no effect: \\\"colour\\\""
        ),
        "{logged}"
    );
    assert!(!logged.contains(CANARY), "{CANARY} is in {logged}");
}

#[tokio::test]
async fn a_secret_among_the_arguments_is_told_once() {
    let app = TestApp::open().await;
    let token = [
        "--admin-url",
        app.processes[0].admin.as_str(),
        "--operator-token",
        OPERATOR,
    ];
    let ended = Start::bare(&["status"]).with(&token).end().await;
    assert!(ended.status.success(), "{}", ended.err);
    let told = ended
        .err
        .matches("set MOA_OPERATOR_TOKEN or MOA_OPERATOR_TOKEN_FILE instead")
        .count();
    assert_eq!(
        (told, ended.err.contains(OPERATOR)),
        (1, false),
        "{}",
        ended.err
    );
}

#[tokio::test]
async fn a_secret_that_others_may_read_is_refused_with_the_mend() {
    let (folder, nowhere) = (open_folder(), "postgres://nobody@127.0.0.1:1/none");
    for mode in [0o644, 0o640, 0o602] {
        let file = file(&folder, "token", OPERATOR, mode);
        let ended = service("admin", nowhere, &folder).without("MOA_OPERATOR_TOKEN");
        let ended = ended.env("MOA_OPERATOR_TOKEN_FILE", &file).end().await;
        is_refused(&ended, &format!("run `chmod 600 {file}`"));
        let status = Start::bare(&["status", "--operator-token-file", &file])
            .end()
            .await;
        is_refused(&status, &format!("run `chmod 600 {file}`"));
    }
    let key = key(&folder);
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    for name in ["sealer", "everything"] {
        let start = service(name, nowhere, &folder)
            .env("MOA_SEAL_KEY_FILE", &key)
            .env("MOA_SEALS_FILE", &seals(&folder));
        is_refused(&start.end().await, &format!("run `chmod 600 {key}`"));
    }
}

/// As Docker and Kubernetes mount secrets: another's, for all to read.
#[tokio::test]
async fn a_mounted_secret_that_all_may_read_is_taken_with_a_warning() {
    let (app, folder) = (TestApp::open().await, open_folder());
    let file = file(&folder, "token", OPERATOR, 0o444);
    if std::os::unix::fs::chown(&file, Some(65534), Some(65534)).is_err() {
        println!("only root can give a file away: not looked at");
        return;
    }
    let admin = [
        "--admin-url",
        app.processes[0].admin.as_str(),
        "--operator-token-file",
        &file,
    ];
    let ended = Start::bare(&["status"]).with(&admin).end().await;
    assert!(
        ended.status.success()
            && ended
                .err
                .contains("others on this machine may use the secret in"),
        "{}",
        ended.err
    );
    std::fs::set_permissions(&file, Permissions::from_mode(0o440)).unwrap();
    let ended = Start::bare(&["status"]).with(&admin).end().await;
    assert!(
        ended.status.success() && ended.err.is_empty(),
        "{}",
        ended.err
    );
}

/// A database that cannot hold every character; dropped by hand, as its value cannot.
#[rstest]
#[case("LATIN1")]
#[case("EUC_KR")]
#[case("SQL_ASCII")]
#[tokio::test]
async fn a_database_of_another_encoding_is_refused_at_the_start(#[case] encoding: &str) {
    let beside = testbed::Database::fresh().await;
    let name = format!("{}{}", testbed::PREFIX, Uuid::now_v7().simple());
    let (place, _) = beside.url().rsplit_once('/').unwrap();
    let mut server = PgConnection::connect(&format!("{place}/postgres"))
        .await
        .unwrap();
    let create =
        format!("create database {name} encoding '{encoding}' template template0 locale 'C'");
    server.execute(create.as_str()).await.unwrap();
    let (url, folder) = (format!("{place}/{name}"), open_folder());
    let ended = join_all(["everything", "projector"].map(|who| async {
        let start = service(who, &url, &folder);
        start.end().await
    }))
    .await;
    let pool = PgPool::connect(&url).await.unwrap();
    let tables = tables(&pool).await;
    pool.close().await;
    server
        .execute(format!("drop database {name} with (force)").as_str())
        .await
        .unwrap();
    for ended in ended {
        is_refused(&ended, &format!("the database is encoded in {encoding}"));
    }
    assert_eq!(tables, [""; 0]);
}

/// Steps: the database and the URL both name another schema first, which is there; a start makes its tables where they belong;
/// invests, and a read model that is rebuilt.
#[tokio::test]
async fn a_search_path_of_the_database_or_the_url_has_no_effect() {
    let (database, pool) = empty_database().await;
    pool.execute("create schema app").await.unwrap();
    let name: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&pool)
        .await
        .unwrap();
    pool.execute(format!("alter database {name} set search_path = app").as_str())
        .await
        .unwrap();
    let url = format!("{}&options=-c%20search_path%3Dapp", database.url());
    let moa = Start::serve_with_demo().on(&url).open().await;
    let astray: Vec<_> = tables(&pool)
        .await
        .into_iter()
        .filter(|table| !table.starts_with("public."))
        .collect();
    assert_eq!(astray, [""; 0]);
    let api = crate::harness::ApiClient::of(
        0,
        &moa,
        crate::harness::client(),
        crate::harness::Journal::default(),
    );
    api.invest(ask("ann", 3, 1)).await;
    let rebuild = [
        "projection",
        "rebuild",
        "holdings",
        "--admin-url",
        moa.admin.as_str(),
    ];
    let rebuilt = Start::bare(&rebuild)
        .env("MOA_OPERATOR_TOKEN", OPERATOR)
        .end()
        .await;
    assert!(rebuilt.status.success(), "{}{}", rebuilt.out, rebuilt.err);
}
