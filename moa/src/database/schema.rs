//! Migrates the schema. Only its owner may; a service that logs in with fewer rights waits until the schema is up to date.

use anyhow::Context;
use connection_pool::Pool;
use event_log::{Log, MIGRATIONS};
use sqlx::migrate::{Migration, Migrator};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;

use crate::settings::LogSettings;

/// How long all migrations together may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(3_600);
/// How long a migration waits for a table that somebody reads, as a backup does for its whole time: behind it every reader waits too.
const MIGRATION_LOCK_TIMEOUT_MS: u64 = 500;
/// The wait before it is tried again, in which readers proceed.
const MIGRATION_RETRY_DELAY: Duration = Duration::from_secs(1);

/// What is not there, and this login may not make: make it as the owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaNotOwned {
    /// The schema.
    #[error(
        "the schema is not up to date, and {login} may not change it: run `moa migrate` as its owner first"
    )]
    Schema {
        /// Who we are.
        login: String,
    },
    /// The log.
    #[error(
        "there is no log yet, and {login} may not create it: run `moa migrate --partitions N` as its owner first"
    )]
    Log {
        /// Who we are.
        login: String,
    },
}

/// The schema is one of a later release, which this one does not know.
#[derive(Debug, thiserror::Error)]
#[error(
    "the schema is one of a later release: it has migration {newest}, and this release knows those up to {known}. Start the later \
     release; or, to work with that schema on purpose (docs/upgrading.md), set MOA_NEWER_SCHEMA={newest}"
)]
struct NewerSchema {
    newest: i64,
    known: i64,
}

/// What a run of migrations tells of each, with how long it took.
pub(crate) type OnMigrated<'a> = &'a (dyn Fn(&Migration, Duration) + Send + Sync);

/// Brings the schema up to date where it is not; [`SchemaNotOwned`] when it is not, and that is not for us to do. What a start would be
/// refused for, a log with another number of partitions or a later schema among it, comes before the first change.
pub(super) async fn bring_up_to_date(
    pool: &Pool,
    settings: LogSettings,
    on_migrated: OnMigrated<'_>,
) -> anyhow::Result<()> {
    refuse_other_encodings(pool).await?;
    let pending = pending(pool, settings).await?;
    if pending.is_empty() {
        return Ok(());
    }
    if !may(pool, MAY_MIGRATE).await? {
        return Err(SchemaNotOwned::Schema {
            login: login(pool).await?,
        }
        .into());
    }
    if let Some(partitions) = settings.partitions {
        Log::check_partitions(pool, partitions).await?;
    }
    // sqlx makes its own calls here. Given up, the server ends what it is at and rolls it back.
    let migrated = timeout(
        MIGRATION_TIMEOUT,
        run_migrations(pool, &pending, on_migrated),
    )
    .await;
    let migrated = migrated.context(
        "the schema was not brought up to date within an hour, or the database fell silent",
    )?;
    migrated.context("the schema could not be brought up to date")
}

/// The migrations of this release that were not applied as it knows them: all, where this login may not look. An error where the schema
/// is one of a later release that `settings` do not allow.
pub(super) async fn pending(
    pool: &Pool,
    settings: LogSettings,
) -> anyhow::Result<Vec<&'static Migration>> {
    let known = MIGRATIONS
        .iter()
        .filter(|known| !known.migration_type.is_down_migration());
    if !may(pool, MAY_LOOK).await? {
        return Ok(known.collect());
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from _sqlx_migrations where success")
            .fetch_all(pool)
            .await?;
    let applied: BTreeMap<_, _> = applied.into_iter().collect();
    let newest_known = known
        .clone()
        .map(|known| known.version)
        .max()
        .unwrap_or_default();
    if let Some((&newest, _)) = applied.last_key_value()
        && newest > newest_known.max(settings.newer_schema.unwrap_or_default())
    {
        return Err(NewerSchema {
            newest,
            known: newest_known,
        }
        .into());
    }
    let is_applied = |known: &Migration| {
        applied
            .get(&known.version)
            .is_some_and(|checksum| *checksum == *known.checksum)
    };
    Ok(known.filter(|known| !is_applied(known)).collect())
}

/// Runs them on the pool's one connection, one after another. What was done stays done: each migration is a transaction.
async fn run_migrations(
    pool: &Pool,
    pending: &[&'static Migration],
    on_migrated: OnMigrated<'_>,
) -> anyhow::Result<()> {
    sqlx::query(&format!("set lock_timeout = {MIGRATION_LOCK_TIMEOUT_MS}"))
        .execute(pool)
        .await?;
    for migration in pending {
        let began = Instant::now();
        run_up_to(pool, migration.version).await?;
        on_migrated(migration, began.elapsed());
    }
    sqlx::query("reset lock_timeout").execute(pool).await?;
    Ok(())
}

/// Again and again while somebody holds what it locks.
async fn run_up_to(pool: &Pool, version: i64) -> anyhow::Result<()> {
    let migrations = MIGRATIONS
        .iter()
        .filter(|known| known.version <= version)
        .cloned()
        .collect::<Vec<_>>()
        .into();
    let migrator = Migrator {
        migrations,
        ignore_missing: true,
        locking: MIGRATIONS.locking,
        no_tx: MIGRATIONS.no_tx,
    };
    let mut logged = false;
    loop {
        match migrator
            .run(pool.inner())
            .await
            .map_err(anyhow::Error::from)
        {
            Err(error) if error.chain().any(is_locked) => {
                if !std::mem::replace(&mut logged, true) {
                    tracing::warn!(
                        version,
                        error = format!("{error:#}"),
                        "waiting to change the schema: pg_stat_activity shows the long transactions that hold its tables"
                    );
                }
                tokio::time::sleep(MIGRATION_RETRY_DELAY).await;
            }
            ended => return ended,
        }
    }
}

fn is_locked(cause: &(dyn std::error::Error + 'static)) -> bool {
    let refused = cause
        .downcast_ref::<sqlx::Error>()
        .and_then(sqlx::Error::as_database_error);
    refused
        .and_then(|refused| refused.code())
        .is_some_and(|code| code == LOCK_NOT_AVAILABLE)
}

/// An SQLSTATE.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// A title is written in any language. An encoding that has no place for a character would refuse its event.
async fn refuse_other_encodings(pool: &Pool) -> anyhow::Result<()> {
    let encoding: String = sqlx::query_scalar("show server_encoding")
        .fetch_one(pool)
        .await?;
    anyhow::ensure!(
        encoding == "UTF8",
        "the database is encoded in {encoding}, which has no place for every character: use one that was created with \
         `create database ... encoding 'UTF8' template template0`"
    );
    Ok(())
}

/// Gives every role its rights, as they are to be; nothing when that is not for us to do. What came with a copy of the
/// database, or could not be done when it was migrated, is made good.
pub(super) async fn grant_roles(pool: &Pool) -> anyhow::Result<()> {
    if may(pool, MAY_MIGRATE).await? {
        let granted = sqlx::query("select moa_grant_roles()").execute(pool).await;
        granted.context("the roles could not be given their rights")?;
    }
    Ok(())
}

/// Warns of each right that the roles have too many of, because the migrating login was no superuser.
pub(super) async fn report_open_rights(pool: &Pool) -> anyhow::Result<()> {
    if may(pool, MAY_ASK_WHAT_IS_OPEN).await? {
        let open: Vec<String> = sqlx::query_scalar("select moa_open_rights()")
            .fetch_all(pool)
            .await?;
        for open in open {
            tracing::warn!(
                "{open}; a superuser ends that by `select moa_grant_roles()` in this database"
            );
        }
    }
    Ok(())
}

/// [`SchemaNotOwned`] when the log is still to be created, and that is not for us to do.
pub(super) async fn may_create_log(pool: &Pool) -> anyhow::Result<()> {
    if may(pool, MAY_CREATE).await? {
        Ok(())
    } else {
        Err(SchemaNotOwned::Log {
            login: login(pool).await?,
        }
        .into())
    }
}

const MAY_LOOK: &str = "select has_table_privilege(to_regclass('_sqlx_migrations'), 'select')";
const MAY_MIGRATE: &str = "
    select case when to_regclass('_sqlx_migrations') is null then has_schema_privilege(current_schema(), 'create')
                else has_table_privilege(to_regclass('_sqlx_migrations'), 'insert') end";
const MAY_ASK_WHAT_IS_OPEN: &str =
    "select has_function_privilege(to_regprocedure('moa_open_rights()'), 'execute')";
const MAY_CREATE: &str = "select has_table_privilege(to_regclass('log_identity'), 'insert')";

/// No answer, because there is nothing to have a right to, is a no.
async fn may(pool: &Pool, question: &str) -> sqlx::Result<bool> {
    let answer: Option<bool> = sqlx::query_scalar(question).fetch_one(pool).await?;
    Ok(answer.unwrap_or(false))
}

async fn login(pool: &Pool) -> sqlx::Result<String> {
    sqlx::query_scalar("select current_user::text")
        .fetch_one(pool)
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::PgPoolOptions;

    const ANY: LogSettings = LogSettings {
        partitions: None,
        newer_schema: None,
    };

    /// 1. A schema lacks its last migration. 2. Somebody reads a table that it changes, and stays. 3. Others read it, all the time.
    /// 4. The first reader ends. 5. The migration is done.
    #[tokio::test]
    async fn a_migration_that_waits_for_a_table_holds_up_no_reader_for_long() {
        let database = testbed::Database::fresh().await;
        let pool = database.pool().await;
        let undo = "alter table open_invest drop column given_back; delete from _sqlx_migrations where version = 18";
        sqlx::raw_sql(undo)
            .execute(&pool)
            .await
            .expect("an older schema");
        let mut reading = pool.begin().await.expect("a transaction");
        sqlx::query("select from open_invest")
            .fetch_all(&mut *reading)
            .await
            .expect("a read");

        let one = PgPoolOptions::new()
            .max_connections(1)
            .connect(database.url())
            .await
            .map(Pool::from);
        let one = one.expect("a connection");
        let migrating = tokio::spawn(async move { bring_up_to_date(&one, ANY, &|_, _| ()).await });
        let (began, mut slowest) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < Duration::from_secs(3) {
            let asked = Instant::now();
            sqlx::query("select from open_invest")
                .fetch_all(&pool)
                .await
                .expect("a read");
            slowest = slowest.max(asked.elapsed());
        }
        assert!(!migrating.is_finished(), "its table is held");
        reading.rollback().await.expect("its end");

        migrating.await.expect("no panic").expect("it is migrated");
        sqlx::query("select given_back from open_invest")
            .fetch_all(&pool)
            .await
            .expect("the last migration");
        assert!(
            slowest > Duration::from_millis(200),
            "it did wait in line: {slowest:?}"
        );
        assert!(slowest < Duration::from_millis(1_500), "{slowest:?}");
    }
}
