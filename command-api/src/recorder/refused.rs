//! A refused invest, as it is noted.

use super::{Note, column};
use crate::desk::{Answer, Order, Request, Verdict};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductId, Refusal, UserId};
use event_log::{Partition, Position};

/// An invest that was decided and refused.
#[derive(Debug)]
pub(crate) struct Refused {
    at: DateTime<Utc>,
    invest_id: InvestId,
    user_id: UserId,
    product_id: ProductId,
    amount: Amount,
    code: &'static str,
    remaining: Option<i64>,
    position: (Partition, Position),
    place: Option<i32>,
    correlation_id: String,
}

impl Refused {
    /// What is to be noted of `order`, decided at `at` and `place`; nothing unless it is an invest that was refused.
    pub(crate) fn of(order: Order, verdict: &Verdict, at: DateTime<Utc>, place: Option<usize>) -> Option<Self> {
        let (code, remaining) = refusal(verdict.answer)?;
        let Request::Invest { invest_id, user_id, amount } = order.request else { return None };
        Some(Self {
            at,
            invest_id,
            user_id,
            product_id: order.product_id,
            amount,
            code,
            remaining,
            position: verdict.position,
            place: place.and_then(|place| i32::try_from(place).ok()),
            correlation_id: order.metadata.correlation_id,
        })
    }
}

/// The contract's code, and what remained.
fn refusal(answer: Answer) -> Option<(&'static str, Option<i64>)> {
    match answer {
        Answer::Accepted => None,
        Answer::SoldOut { remaining } | Answer::Refused(Refusal::SoldOut { remaining }) => {
            Some(("SOLD_OUT", Some(remaining)))
        }
        Answer::Finished | Answer::Refused(Refusal::Finished) => Some(("FINISHED", None)),
        Answer::Closed | Answer::Refused(Refusal::Closed) => Some(("CLOSED", None)),
        Answer::Refused(Refusal::NotExist) => Some(("NOT_EXIST_PRODUCT", None)),
        Answer::Refused(Refusal::NotStarted) => Some(("NOT_STARTED", None)),
        // Told as our fault: no request over HTTP can lead to them.
        Answer::Refused(Refusal::AlreadyOpened | Refusal::AlreadyReserved | Refusal::NotOpen | Refusal::NotExpired) => {
            None
        }
    }
}

impl Note for Refused {
    const WHAT: &'static str = "REFUSAL";
    const DROPPED: &'static str = "moa_refusals_dropped_total";

    async fn write(notes: &[Self], pool: &Pool) -> sqlx::Result<()> {
        sqlx::query(
            "insert into refusals (refused_at, invest_id, user_id, product_id, amount, code, remaining,
                                   partition, head, place, correlation_id)
             select * from unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                                  $7::bigint[], $8::integer[], $9::bigint[], $10::integer[], $11::text[])
                 on conflict do nothing",
        )
        .bind(column(notes, |note| note.at))
        .bind(column(notes, |note| note.invest_id.0))
        .bind(column(notes, |note| note.user_id.as_str()))
        .bind(column(notes, |note| note.product_id.get()))
        .bind(column(notes, |note| note.amount.won()))
        .bind(column(notes, |note| note.code))
        .bind(column(notes, |note| note.remaining))
        .bind(column(notes, |note| note.position.0))
        .bind(column(notes, |note| note.position.1))
        .bind(column(notes, |note| note.place))
        .bind(column(notes, |note| &*note.correlation_id))
        .execute(pool)
        .await?;
        Ok(())
    }
}
