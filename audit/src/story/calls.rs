//! What the payment provider was asked, as far as it was written down.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::InvestId;

/// Calls of one invest that are shown at most; the latest are left out.
const SHOWN: i64 = 1_000;

/// One call.
#[derive(sqlx::FromRow)]
pub(super) struct Call {
    pub(super) asked_at: DateTime<Utc>,
    /// PAY, LOOK, CANCEL.
    pub(super) call: String,
    pub(super) answer: String,
    pub(super) detail: Option<String>,
    pub(super) took_ms: i64,
    pub(super) attempt: i32,
}

/// All of an invest, in order.
pub(super) async fn of(read: &Pool, id: InvestId) -> sqlx::Result<Vec<Call>> {
    sqlx::query_as(
        "select asked_at, call, answer, detail, took_ms, attempt
           from payment_calls where invest_id = $1 order by asked_at, call limit $2",
    )
    .bind(id.0)
    .bind(SHOWN)
    .fetch_all(read)
    .await
}
