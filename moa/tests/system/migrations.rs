//! What `moa migrate` says and does, and on which schemas a release starts.

use sqlx::Executor as _;

use crate::harness::{Ended, Start};

/// A migration of a release that is yet to come.
const LATER: &str = "
    insert into _sqlx_migrations (version, description, success, checksum, execution_time)
    values (9001, 'later', true, '', 0)";
const REFUSED: &str = "the schema is one of a later release: it has migration 9001";

/// The migrations of this release, as they are listed.
fn migrations() -> Vec<String> {
    let known = event_log::MIGRATIONS.iter();
    known
        .map(|migration| format!("  {:04} {}", migration.version, migration.description))
        .collect()
}

/// What is listed of each migration, without its time.
fn listed(ended: &Ended) -> Vec<String> {
    assert!(ended.status.success(), "{}", ended.err);
    let lines = ended.out.lines().filter(|line| line.starts_with("  "));
    lines
        .map(|line| line.split(" (").next().unwrap().to_owned())
        .collect()
}

/// Steps: an empty database; what is to be run is listed, and nothing is changed; it is run, and listed; nothing is to be run.
#[tokio::test]
async fn migrations_are_listed_before_and_while_they_are_run() {
    let database = testbed::Database::fresh().await;
    let pool = database.pool().await;
    pool.execute("drop schema public cascade; create schema public")
        .await
        .unwrap();
    let migrate = async |args: &[&str]| {
        Start::bare(&["migrate"])
            .with(args)
            .on(database.url())
            .end()
            .await
    };
    for _ in 0..2 {
        let dry = migrate(&["--dry-run"]).await;
        assert_eq!(listed(&dry), migrations());
        assert!(
            dry.out.contains(&format!(
                "{} migrations are to be run: ",
                migrations().len()
            )),
            "{}",
            dry.out
        );
    }
    let tables: i64 =
        sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'public'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert_eq!(tables, 0);

    let run = migrate(&[]).await;
    assert_eq!(listed(&run), migrations());
    assert!(
        run.out.contains("The schema is up to date: "),
        "{}",
        run.out
    );
    let dry = migrate(&["--dry-run"]).await;
    assert_eq!(listed(&dry), [""; 0]);
    assert!(
        dry.out.starts_with("The schema is up to date: "),
        "{}",
        dry.out
    );
}

/// Steps: a later release migrates under a process, which goes on; no other is started, unless it is told up to which migration.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_schema_of_a_later_release_is_refused_unless_it_is_named() {
    let app = crate::harness::TestApp::open().await;
    app.pool.execute(LATER).await.unwrap();
    let product = app.open_product("goes on", 100).await;
    assert!(
        app.invest(crate::harness::ask("ann", product, 1))
            .await
            .is_accepted()
    );

    let query_api = || {
        Start::bare(&["serve", "query-api", "--query-listen", "127.0.0.1:0"])
            .env("MOA_OPS_LISTEN", "127.0.0.1:0")
    };
    for start in [
        Start::serve(),
        query_api(),
        Start::bare(&["migrate"]),
        Start::bare(&["migrate", "--dry-run"]),
    ] {
        for allowed in [None, Some("9000")] {
            let start = allowed.iter().fold(start.clone(), |start, allowed| {
                start.env("MOA_NEWER_SCHEMA", allowed)
            });
            let ended = start.on(&app.url()).end().await;
            assert!(
                !ended.status.success() && ended.err.contains(REFUSED),
                "{}",
                ended.err
            );
            assert!(
                ended.err.contains("set MOA_NEWER_SCHEMA=9001"),
                "{}",
                ended.err
            );
        }
    }
    for start in [Start::serve(), query_api()] {
        start
            .with(&["--newer-schema", "9001"])
            .on(&app.url())
            .open()
            .await;
    }
    let migrated = Start::bare(&["migrate"])
        .env("MOA_NEWER_SCHEMA", "9001")
        .on(&app.url())
        .end()
        .await;
    assert!(migrated.status.success(), "{}", migrated.err);
}
