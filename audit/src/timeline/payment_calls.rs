//! What the payment provider was asked, as far as it was written down.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::InvestId;

/// Calls of one invest that are shown at most; the latest are left out.
const MAX_PAYMENT_CALLS: i64 = 1_000;

/// One call.
#[derive(sqlx::FromRow)]
pub(super) struct PaymentCall {
    pub(super) asked_at: DateTime<Utc>,
    /// PAY, RECORD_INTERVAL, CANCEL.
    pub(super) call: String,
    pub(super) answer: String,
    pub(super) detail: Option<String>,
    pub(super) took_ms: i64,
    pub(super) attempt: i32,
}

/// All of an invest, in order.
pub(super) async fn of(read: &Pool, id: InvestId) -> sqlx::Result<Vec<PaymentCall>> {
    sqlx::query_as(
        "select asked_at, call, answer, detail, took_ms, attempt
           from payment_calls where invest_id = $1 order by asked_at, call limit $2",
    )
    .bind(id.0)
    .bind(MAX_PAYMENT_CALLS)
    .fetch_all(read)
    .await
}
