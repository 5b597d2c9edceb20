//! The table `idempotency_keys`: a client's own name for a request, stored with its outcome in the transaction that writes the
//! request's events. The other half, what an outcome says and when it is replayed, is `command-api`'s `idempotency` module.

use crate::{Log, LogError};
use sqlx::PgExecutor;
use std::time::Duration;

/// How long a key and its outcome are kept.
const RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
/// Keys that one delete removes at most, so that no purge holds locks for long.
const PURGE_BATCH_ROWS: i64 = 5_000;

/// A key, the request it stands for, and the outcome of that request.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct IdempotencyRecord {
    /// Whose key; users do not see each other's.
    pub user_id: String,
    /// The key.
    pub key: String,
    /// A digest of the request, to tell a repeat from a reuse of the key.
    pub fingerprint: String,
    /// The final outcome, as JSON, in the words of the crate that decides.
    pub answer: String,
}

impl Log {
    /// The records of those `(user, key)` pairs that are in use.
    pub async fn idempotency_records(
        &self,
        keys: &[(String, String)],
    ) -> Result<Vec<IdempotencyRecord>, LogError> {
        Ok(records(self.reads(), keys).await?)
    }

    /// Deletes one bounded batch of keys that are older than a day; returns how many.
    pub async fn purge_idempotency_keys(&self) -> Result<u64, LogError> {
        let purged = sqlx::query(
            "delete from idempotency_keys where (user_id, key) in (
                select user_id, key from idempotency_keys
                 where recorded_at < least(clock_timestamp(), $3::timestamptz) - make_interval(secs => $1)
                 order by recorded_at limit $2 for update skip locked)",
        )
        .bind(RETENTION.as_secs_f64())
        .bind(PURGE_BATCH_ROWS)
        .bind(self.trusted_time())
        .execute(self.pool())
        .await?;
        Ok(purged.rows_affected())
    }
}

pub(crate) async fn records(
    database: impl PgExecutor<'_>,
    keys: &[(String, String)],
) -> sqlx::Result<Vec<IdempotencyRecord>> {
    let (users, keys): (Vec<_>, Vec<_>) = keys.iter().cloned().unzip();
    sqlx::query_as(
        "select k.user_id, k.key, k.fingerprint, k.answer::text
           from unnest($1::text[], $2::text[]) as requested (user_id, key)
           join idempotency_keys k using (user_id, key)",
    )
    .bind(users)
    .bind(keys)
    .fetch_all(database)
    .await
}
