//! The template: a database that the migrations made once, and that every test's database is a copy of.

use std::hash::{DefaultHasher, Hash, Hasher};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use sqlx::migrate::Migrator;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::server::{PREFIX, Server, drop_database};

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// Whoever makes a template holds this advisory lock ("moa_test" in ASCII).
const TEMPLATE_LOCK: i64 = 0x6d6f_615f_7465_7374;

/// A test's database that is older than this was left by a run that was killed.
const LEFTOVER_AFTER: TimeDelta = TimeDelta::hours(1);

/// Makes database `name` as a copy of the template, and the template first if the server has none of these migrations.
pub(crate) async fn copy(
    server: &Server,
    admin: &mut PgConnection,
    name: &str,
) -> Result<(), sqlx::Error> {
    let template = template_name();
    if !exists(admin, &template).await? {
        make_alone(server, admin, &template).await?;
    }
    let statement = format!(r#"create database "{name}" template "{template}""#);
    sqlx::query(&statement).execute(admin).await.map(|_| ())
}

/// Other migrations, other template: the name carries a digest of them all.
fn template_name() -> String {
    let mut digest = DefaultHasher::new();
    for migration in MIGRATIONS.iter() {
        (migration.version, &migration.checksum).hash(&mut digest);
    }
    format!("{PREFIX}template_{:016x}", digest.finish())
}

async fn make_alone(
    server: &Server,
    admin: &mut PgConnection,
    template: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_lock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(&mut *admin)
        .await?;
    let made = match exists(admin, template).await {
        Ok(false) => make(server, admin, template).await,
        known => known.map(|_| ()),
    };
    sqlx::query("select pg_advisory_unlock($1)")
        .bind(TEMPLATE_LOCK)
        .execute(admin)
        .await?;
    made
}

/// Under another name until it is whole, so that a killed run leaves no half template.
async fn make(
    server: &Server,
    admin: &mut PgConnection,
    template: &str,
) -> Result<(), sqlx::Error> {
    let unfinished = format!("{template}_unfinished");
    drop_database(admin, &unfinished).await?;
    sqlx::query(&format!(r#"create database "{unfinished}""#))
        .execute(&mut *admin)
        .await?;
    // A pool of one, because a migration on a bare connection cannot be awaited in a task.
    let inside = PgPoolOptions::new()
        .max_connections(1)
        .connect(&server.url_of(&unfinished))
        .await?;
    let migrated = MIGRATIONS.run(&inside).await;
    inside.close().await;
    // sqlx's close can leave open a connection that is just being given back, and PostgreSQL renames no database that is in use. Dropped, the pool
    // has none left.
    drop(inside);
    migrated?;
    let statement = format!(r#"alter database "{unfinished}" rename to "{template}""#);
    sqlx::query(&statement).execute(admin).await.map(|_| ())
}

async fn exists(admin: &mut PgConnection, database: &str) -> Result<bool, sqlx::Error> {
    let found = "select exists (select from pg_database where datname = $1)";
    sqlx::query_scalar(found)
        .bind(database)
        .fetch_one(admin)
        .await
}

/// Once in a process: drops what killed runs left. It may fail; then the next run does it.
pub(crate) async fn drop_leftovers_once(admin: &mut PgConnection) {
    static DONE: OnceCell<()> = OnceCell::const_new();
    DONE.get_or_init(|| async {
        if let Err(error) = drop_leftovers(admin).await {
            eprintln!("test databases of earlier runs are still there: {error}");
        }
    })
    .await;
}

async fn drop_leftovers(admin: &mut PgConnection) -> Result<(), sqlx::Error> {
    let ours = "select datname::text from pg_database where starts_with(datname::text, $1)";
    let names: Vec<String> = sqlx::query_scalar(ours)
        .bind(PREFIX)
        .fetch_all(&mut *admin)
        .await?;
    for name in names.iter().filter(|name| is_leftover(name, Utc::now())) {
        drop_database(admin, name).await?;
    }
    Ok(())
}

/// A template's name holds no uuid, so it never is one.
fn is_leftover(name: &str, now: DateTime<Utc>) -> bool {
    let made = name
        .strip_prefix(PREFIX)
        .and_then(|id| Uuid::try_parse(id).ok())
        .and_then(|id| id.get_timestamp());
    made.is_some_and(|made| {
        let (seconds, _) = made.to_unix();
        DateTime::from_timestamp(seconds.cast_signed(), 0)
            .is_some_and(|made| now - made > LEFTOVER_AFTER)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_database_over_an_hour_old_is_a_leftover() {
        let name = format!("{PREFIX}{}", Uuid::now_v7().simple());
        assert!(!is_leftover(&name, Utc::now() + TimeDelta::minutes(59)));
        assert!(is_leftover(&name, Utc::now() + TimeDelta::minutes(61)));
        assert!(!is_leftover(
            &template_name(),
            Utc::now() + TimeDelta::days(9)
        ));
        assert!(!is_leftover("postgres", Utc::now() + TimeDelta::days(9)));
    }
}
