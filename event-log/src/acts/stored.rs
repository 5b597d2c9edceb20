//! Acts as they are stored. What is read is not trusted before it is checked: the crate `proof` does.

use chrono::{DateTime, Utc};
use connection_pool::Pool;

/// A row of the record, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredAct {
    /// Its number, from 1.
    pub number: i64,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// The database's login.
    pub login: String,
    /// The name of the token; the login where there is none.
    pub actor: String,
    /// `OPERATOR` or `DIRECT`.
    pub role: String,
    /// What was done.
    pub act: String,
    /// To what.
    pub subject: String,
    /// How, or what came of it: the stored text of an object.
    pub parameters: String,
    /// The request that asked for it.
    pub correlation_id: Option<String>,
    /// The act that this is the outcome of.
    pub outcome_of: Option<i64>,
    /// `DONE`, `REFUSED` or `FAILED`.
    pub outcome: Option<String>,
    /// Covers all of it, and the row before.
    pub hash: Vec<u8>,
}

impl StoredAct {
    /// Up to `limit` rows after `number`, in order; [`i64::MIN`] begins at the first, whatever its number. A null or
    /// a time that nobody recorded, possible where constraints were removed, becomes a value whose hash cannot match.
    pub async fn after(pool: &Pool, number: i64, limit: i64) -> sqlx::Result<Vec<Self>> {
        sqlx::query_as(
            "select number, case when at between '0001-01-01Z' and '9999-12-31Z' then at else 'epoch' end as at,
                    coalesce(login, '') as login, coalesce(actor, '') as actor, coalesce(role, '') as role,
                    coalesce(act, '') as act, coalesce(subject, '') as subject, coalesce(parameters::text, '') as parameters,
                    correlation_id, outcome_of, outcome, coalesce(hash, '') as hash
               from acts where number > $1 order by number limit $2",
        )
        .bind(number)
        .bind(limit)
        .fetch_all(pool)
        .await
    }
}
