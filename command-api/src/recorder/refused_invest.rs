//! A refused invest, as it is recorded.

use super::{Record, column};
use crate::command_envelope::{CommandEnvelope, UntimedCommand};
use crate::command_outcome::CommandOutcome;
use crate::problem;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductId, UserId};
use edge::Problem;
use event_log::{Partition, Position};

/// An invest that was decided and refused.
#[derive(Debug)]
pub(crate) struct RefusedInvest {
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

impl RefusedInvest {
    /// The record of `envelope`, decided at `at` and the batch's `index`; `None` unless it is an invest that was refused.
    pub(crate) fn of(
        envelope: CommandEnvelope,
        outcome: &CommandOutcome,
        at: DateTime<Utc>,
        index: Option<usize>,
    ) -> Option<Self> {
        let problem = problem::of_refusal(outcome.decision.err()?);
        let remaining = match problem {
            // Our fault: no request over HTTP leads here.
            Problem::Internal(_) => return None,
            Problem::SoldOut { remaining } | Problem::LimitExceeded { remaining } => {
                Some(remaining)
            }
            _ => None,
        };
        let UntimedCommand::Invest {
            invest_id,
            user_id,
            amount,
        } = envelope.command
        else {
            return None;
        };
        Some(Self {
            at,
            invest_id,
            user_id,
            product_id: envelope.product_id,
            amount,
            code: problem.code(),
            remaining,
            position: outcome.position,
            place: index.and_then(|index| i32::try_from(index).ok()),
            correlation_id: envelope.metadata.correlation_id,
        })
    }
}

impl Record for RefusedInvest {
    const KIND: &'static str = "REFUSAL";
    const DROPPED_METRIC: &'static str = "moa_refusals_dropped_total";

    fn user(&self) -> &str {
        self.user_id.as_str()
    }

    async fn write(records: &[Self], pool: &Pool) -> sqlx::Result<()> {
        sqlx::query(
            "insert into refusals (refused_at, invest_id, user_id, product_id, amount, code, remaining,
                                   partition, head, place, correlation_id)
             select * from unnest($1::timestamptz[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[], $6::text[],
                                  $7::bigint[], $8::integer[], $9::bigint[], $10::integer[], $11::text[])
                 on conflict do nothing",
        )
        .bind(column(records, |record| record.at))
        .bind(column(records, |record| record.invest_id.0))
        .bind(column(records, |record| record.user_id.as_str()))
        .bind(column(records, |record| record.product_id.get()))
        .bind(column(records, |record| record.amount.won()))
        .bind(column(records, |record| record.code))
        .bind(column(records, |record| record.remaining))
        .bind(column(records, |record| record.position.0))
        .bind(column(records, |record| record.position.1))
        .bind(column(records, |record| record.place))
        .bind(column(records, |record| &*record.correlation_id))
        .execute(pool)
        .await?;
        Ok(())
    }
}
