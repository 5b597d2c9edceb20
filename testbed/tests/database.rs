//! A test's database is its own, holds the migrations' tables, and is gone afterwards.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails as a test does")]

use connection_pool::Pool;
use testbed::Database;

async fn databases(pool: &Pool) -> Vec<String> {
    let all = "select datname::text from pg_database";
    sqlx::query_scalar(all).fetch_all(pool).await.unwrap()
}

async fn migrations_applied(pool: &Pool) -> i64 {
    let applied = "select count(*) from _sqlx_migrations where success";
    sqlx::query_scalar(applied).fetch_one(pool).await.unwrap()
}

fn name_of(database: &Database) -> String {
    let path = database.url().rsplit('/').next().unwrap();
    path.split('?').next().unwrap().to_owned()
}

#[tokio::test]
async fn each_test_gets_a_database_of_its_own_with_the_migrations_in_it() {
    let (one, other) = tokio::join!(Database::fresh(), Database::fresh());
    assert_ne!(one.url(), other.url());
    let one = one.pool().await;
    assert!(migrations_applied(&one).await > 0);
    sqlx::query("create table mine ()")
        .execute(&one)
        .await
        .unwrap();
    let seen = sqlx::query("select from mine")
        .execute(&other.pool().await)
        .await;
    assert!(seen.is_err(), "a table of one test shows in another's");
}

#[tokio::test]
async fn the_database_goes_with_its_value_even_while_a_session_uses_it() {
    let (watcher, watched) = (Database::fresh().await, Database::fresh().await);
    let _busy = watched.pool().await.begin().await.unwrap();
    let (name, pool) = (name_of(&watched), watcher.pool().await);
    assert!(databases(&pool).await.contains(&name));
    drop(watched);
    assert!(!databases(&pool).await.contains(&name));
}

#[test]
fn many_tests_at_once_make_one_template() {
    let tests = (0..8).map(|_| {
        std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let database = Database::fresh().await;
                migrations_applied(&database.pool().await).await
            })
        })
    });
    let tests: Vec<_> = tests.collect();
    for test in tests {
        assert!(test.join().unwrap() > 0);
    }
}

#[tokio::test]
async fn a_database_can_be_made_in_a_task() {
    let database = tokio::spawn(Database::fresh()).await.unwrap();
    assert!(migrations_applied(&database.pool().await).await > 0);
}
