//! A call to the payment provider, as it is recorded.

use super::{Record, column};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::InvestId;
use std::time::Duration;

/// A call that was sent to the payment provider, or failed to be.
#[derive(Debug)]
pub(crate) struct PaymentCall {
    pub(crate) invest_id: InvestId,
    /// By the database's clock.
    pub(crate) asked_at: DateTime<Utc>,
    /// `PAY`, `LOOK` or `CANCEL`.
    pub(crate) call: &'static str,
    /// `PAID`, `REFUSED`, ..., `UNANSWERED`, `NOT_REACHED`.
    pub(crate) answer: &'static str,
    /// At most 200 characters.
    pub(crate) detail: Option<String>,
    pub(crate) took: Duration,
    pub(crate) attempt: i32,
}

impl Record for PaymentCall {
    const KIND: &'static str = "PAYMENT_CALL";
    const DROPPED_METRIC: &'static str = "moa_payment_calls_dropped_total";

    /// Each invest has its few, so nobody can cause more than invests.
    fn user(&self) -> &str {
        ""
    }

    async fn write(records: &[Self], pool: &Pool) -> sqlx::Result<()> {
        sqlx::query(
            "insert into payment_calls (invest_id, asked_at, call, answer, detail, took_ms, attempt)
             select * from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::bigint[],
                                  $7::integer[])
                 on conflict do nothing",
        )
        .bind(column(records, |record| record.invest_id.0))
        .bind(column(records, |record| record.asked_at))
        .bind(column(records, |record| record.call))
        .bind(column(records, |record| record.answer))
        .bind(column(records, |record| record.detail.as_deref()))
        .bind(column(records, |record| i64::try_from(record.took.as_millis()).unwrap_or(i64::MAX)))
        .bind(column(records, |record| record.attempt))
        .execute(pool)
        .await?;
        Ok(())
    }
}
