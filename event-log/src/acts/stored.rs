//! Reads acts as they are stored. What is read is not trusted before it is checked: the crate `proof` does.

use connection_pool::Pool;
use log_format::StoredAct;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// Up to `limit` rows after `number`, in order; [`i64::MIN`] begins at the first, whatever its number. A null or
/// a time that nobody recorded, possible where constraints were removed, becomes a value whose hash cannot match.
pub async fn read_after(pool: &Pool, number: i64, limit: i64) -> sqlx::Result<Vec<StoredAct>> {
    sqlx::query(
        "select number, case when at between '0001-01-01Z' and '9999-12-31Z' then at else 'epoch' end as at,
                coalesce(login, '') as login, coalesce(actor, '') as actor, coalesce(role, '') as role,
                coalesce(act, '') as act, coalesce(subject, '') as subject, coalesce(parameters::text, '') as parameters,
                correlation_id, outcome_of, outcome, coalesce(hash, '') as hash
           from acts where number > $1 order by number limit $2",
    )
    .bind(number)
    .bind(limit)
    .try_map(stored_act)
    .fetch_all(pool)
    .await
}

fn stored_act(row: PgRow) -> sqlx::Result<StoredAct> {
    Ok(StoredAct {
        number: row.try_get("number")?,
        at: row.try_get("at")?,
        login: row.try_get("login")?,
        actor: row.try_get("actor")?,
        role: row.try_get("role")?,
        act: row.try_get("act")?,
        subject: row.try_get("subject")?,
        parameters: row.try_get("parameters")?,
        correlation_id: row.try_get("correlation_id")?,
        outcome_of: row.try_get("outcome_of")?,
        outcome: row.try_get("outcome")?,
        hash: row.try_get("hash")?,
    })
}
