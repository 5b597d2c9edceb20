//! Idempotency keys: a user's own name for a request, claimed in the transaction that carries the request out.

use crate::{Log, LogError};
use sqlx::PgExecutor;
use std::time::Duration;

/// How long a key and its answer are kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How many keys one delete takes at most, so that no purge holds locks for long.
const PURGE_BATCH: i64 = 5_000;

/// A key to be claimed with the batch it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose key; users do not see each other's.
    pub user_id: String,
    /// The key.
    pub key: String,
    /// What was asked, to tell a repeat from a reuse.
    pub fingerprint: String,
    /// The final answer, as JSON, in the words of the room that gives it.
    pub answer: String,
}

/// What a key that was taken already stands for.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredAnswer {
    /// Whose key.
    pub user_id: String,
    /// The key.
    pub key: String,
    /// What was asked then.
    pub fingerprint: String,
    /// What was answered then.
    pub answer: String,
}

impl Log {
    /// The stored answers of those `(user, key)` pairs that have one.
    pub async fn stored_answers(&self, keys: &[(String, String)]) -> Result<Vec<StoredAnswer>, LogError> {
        Ok(stored_answers(self.reads(), keys).await?)
    }

    /// Deletes one bounded batch of keys that are older than a day; says how many it found.
    pub async fn purge_keys(&self) -> Result<u64, LogError> {
        let purged = sqlx::query(
            "delete from idempotency_keys where (user_id, key) in (
                select user_id, key from idempotency_keys
                 where recorded_at < least(clock_timestamp(), $3::timestamptz) - make_interval(secs => $1)
                 order by recorded_at limit $2 for update skip locked)",
        )
        .bind(KEPT.as_secs_f64())
        .bind(PURGE_BATCH)
        .bind(self.believed_time())
        .execute(self.pool())
        .await?;
        Ok(purged.rows_affected())
    }
}

pub(crate) async fn stored_answers(
    database: impl PgExecutor<'_>,
    keys: &[(String, String)],
) -> sqlx::Result<Vec<StoredAnswer>> {
    let (users, keys): (Vec<_>, Vec<_>) = keys.iter().cloned().unzip();
    sqlx::query_as(
        "select k.user_id, k.key, k.fingerprint, k.answer::text
           from unnest($1::text[], $2::text[]) as asked (user_id, key)
           join idempotency_keys k using (user_id, key)",
    )
    .bind(users)
    .bind(keys)
    .fetch_all(database)
    .await
}
