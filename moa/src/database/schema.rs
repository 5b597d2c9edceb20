//! Migrates the schema. Only its owner may; a service that logs in with fewer rights waits until the schema is up to date.

use anyhow::Context;
use connection_pool::Pool;
use event_log::{Log, MIGRATIONS};
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::timeout;

/// How long all migrations together may take.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(3_600);

/// What is not there, and this login may not make: make it as the owner.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaNotOwned {
    /// The schema.
    #[error("the schema is not up to date, and {login} may not change it: run `moa migrate` as its owner first")]
    Schema {
        /// Who we are.
        login: String,
    },
    /// The log.
    #[error("there is no log yet, and {login} may not create it: run `moa migrate --partitions N` as its owner first")]
    Log {
        /// Who we are.
        login: String,
    },
}

/// Brings the schema up to date where it is not; [`SchemaNotOwned`] when it is not, and that is not for us to do. What a start would be
/// refused for, a log with another number of `partitions` among it, comes before the first change.
pub(super) async fn bring_up_to_date(pool: &Pool, partitions: Option<i32>) -> anyhow::Result<()> {
    refuse_other_encodings(pool).await?;
    if is_up_to_date(pool).await? {
        return Ok(());
    }
    if !may(pool, MAY_MIGRATE).await? {
        return Err(SchemaNotOwned::Schema { login: login(pool).await? }.into());
    }
    if let Some(partitions) = partitions {
        Log::check_partitions(pool, partitions).await?;
    }
    // sqlx makes its own calls here. Given up, the server ends what it is at and rolls it back.
    let migrated = timeout(MIGRATION_TIMEOUT, MIGRATIONS.run(pool.inner())).await;
    let migrated =
        migrated.context("the schema was not brought up to date within an hour, or the database fell silent")?;
    migrated.context("the schema could not be brought up to date")
}

/// A title is written in any language. An encoding that has no place for a character would refuse its event.
async fn refuse_other_encodings(pool: &Pool) -> anyhow::Result<()> {
    let encoding: String = sqlx::query_scalar("show server_encoding").fetch_one(pool).await?;
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
        let open: Vec<String> = sqlx::query_scalar("select moa_open_rights()").fetch_all(pool).await?;
        for open in open {
            tracing::warn!("{open}; a superuser ends that by `select moa_grant_roles()` in this database");
        }
    }
    Ok(())
}

/// [`SchemaNotOwned`] when the log is still to be created, and that is not for us to do.
pub(super) async fn may_create_log(pool: &Pool) -> anyhow::Result<()> {
    if may(pool, MAY_CREATE).await? { Ok(()) } else { Err(SchemaNotOwned::Log { login: login(pool).await? }.into()) }
}

/// Whether every migration that this release knows was applied as it knows it. One of a later release may be there too.
async fn is_up_to_date(pool: &Pool) -> sqlx::Result<bool> {
    if !may(pool, MAY_LOOK).await? {
        return Ok(false);
    }
    let applied: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("select version, checksum from _sqlx_migrations where success").fetch_all(pool).await?;
    let applied: HashMap<_, _> = applied.into_iter().collect();
    let mut known = MIGRATIONS.iter().filter(|known| !known.migration_type.is_down_migration());
    Ok(known.all(|known| applied.get(&known.version).is_some_and(|checksum| *checksum == *known.checksum)))
}

const MAY_LOOK: &str = "select has_table_privilege(to_regclass('_sqlx_migrations'), 'select')";
const MAY_MIGRATE: &str = "
    select case when to_regclass('_sqlx_migrations') is null then has_schema_privilege(current_schema(), 'create')
                else has_table_privilege(to_regclass('_sqlx_migrations'), 'insert') end";
const MAY_ASK_WHAT_IS_OPEN: &str = "select has_function_privilege(to_regprocedure('moa_open_rights()'), 'execute')";
const MAY_CREATE: &str = "select has_table_privilege(to_regclass('log_identity'), 'insert')";

/// No answer, because there is nothing to have a right to, is a no.
async fn may(pool: &Pool, question: &str) -> sqlx::Result<bool> {
    let answer: Option<bool> = sqlx::query_scalar(question).fetch_one(pool).await?;
    Ok(answer.unwrap_or(false))
}

async fn login(pool: &Pool) -> sqlx::Result<String> {
    sqlx::query_scalar("select current_user::text").fetch_one(pool).await
}
