//! `investor_summary`: the sums of what each user has invested in each product; a reader adds them up. A reservation counts until its
//! fate; of a failed one the date stays, and it is counted as failed. What was given back counts no more, and has not failed.

use crate::change_set::{ChangeSet, column, invariant_violation};
use crate::copy_writer::{CopyWriter, Field};
use crate::fold::{self, Fold, ReadModel, Table};
use crate::give_back::stood_until_refunded;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::ProductEvent;
use event_log::consume::{ApplyError, Projection};
use event_log::search::subject;
use event_log::{Partition, RecordedEvent};
use std::collections::BTreeSet;

/// Keeps `investor_summary`.
#[derive(Clone, Copy, Debug, Default)]
pub struct InvestorSummaryProjection;

impl Projection for InvestorSummaryProjection {
    const NAME: &'static str = "investor_summary";
    /// Version 1 had a row for each user and partition, and a second table to count products.
    const VERSION: i32 = 2;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for InvestorSummaryProjection {
    const TABLES: &'static [Table] = &[Table::by_product(
        "investor_summary",
        "user_id, product_id, products, settled_amount, reserved_amount, failed_invests, first_invest_date, \
         last_invest_date",
    )];
    type Fold = InvestorSummaryState;
}

/// The rows that a batch touches, or all rows of a partition.
#[derive(Default)]
pub(crate) struct InvestorSummaryState {
    /// By user and product.
    sums: ChangeSet<(String, i64), Sums>,
}

/// What a user has in a product.
#[derive(Clone, PartialEq)]
struct Sums {
    /// Won.
    settled: i64,
    /// Won.
    reserved: i64,
    failed_invests: i64,
    first_invest_date: DateTime<Utc>,
    last_invest_date: DateTime<Utc>,
}

impl Fold for InvestorSummaryState {
    async fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> sqlx::Result<Self> {
        Ok(Self {
            sums: read_sums(transaction, events).await?,
        })
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match &event.event {
            ProductEvent::InvestReserved {
                user_id, amount, ..
            } => {
                self.reserve(event, user_id.as_str(), amount.won());
                Ok(())
            }
            ProductEvent::InvestSettled {
                user_id, amount, ..
            } => {
                self.take(event, user_id.as_str(), amount.won(), Sums::reserved)?
                    .settled += amount.won();
                Ok(())
            }
            ProductEvent::InvestFailed {
                user_id, amount, ..
            } => {
                self.take(event, user_id.as_str(), amount.won(), Sums::reserved)?
                    .failed_invests += 1;
                Ok(())
            }
            ProductEvent::InvestWithdrawn {
                user_id,
                amount,
                settled,
                ..
            } => {
                let stood = if *settled {
                    Sums::settled
                } else {
                    Sums::reserved
                };
                self.take(event, user_id.as_str(), amount.won(), stood)
                    .map(drop)
            }
            ProductEvent::InvestRefunded {
                user_id,
                amount,
                code,
                ..
            } if stood_until_refunded(code) => self
                .take(event, user_id.as_str(), amount.won(), Sums::settled)
                .map(drop),
            ProductEvent::ProductOpened { .. }
            | ProductEvent::InvestRefunded { .. }
            | ProductEvent::ProductClosed {}
            | ProductEvent::ProductCancelled { .. }
            | ProductEvent::ProductFailed { .. } => Ok(()),
        }
    }

    fn emit_new(&self, _: Partition, copy: &mut CopyWriter) {
        for ((user, product), sums) in self.sums.added() {
            let Sums {
                settled,
                reserved,
                failed_invests,
                first_invest_date,
                last_invest_date,
            } = sums;
            let row: [&dyn Field; 8] = [
                user,
                product,
                &sums.products(),
                settled,
                reserved,
                failed_invests,
                first_invest_date,
                last_invest_date,
            ];
            copy.row(0, &row);
        }
    }

    async fn update(&self, transaction: &mut Connection, _: Partition) -> sqlx::Result<()> {
        update_sums(transaction, &self.sums.changed()).await
    }
}

impl InvestorSummaryState {
    fn reserve(&mut self, event: &RecordedEvent, user: &str, amount: i64) {
        let key = (user.into(), event.product_id.get());
        let sums = self
            .sums
            .after
            .entry(key)
            .or_insert_with(|| Sums::since(event.recorded_at));
        sums.reserved += amount;
        sums.last_invest_date = event.recorded_at;
    }

    /// Takes the amount out of where it stood.
    fn take(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
        stood: fn(&mut Sums) -> &mut i64,
    ) -> Result<&mut Sums, ApplyError> {
        let too_much = || invariant_violation(event, "it is of more than its user has there");
        let sums = self
            .sums
            .after
            .get_mut(&(user.into(), event.product_id.get()))
            .ok_or_else(too_much)?;
        let left = stood(sums);
        if *left < amount {
            return Err(too_much());
        }
        *left -= amount;
        Ok(sums)
    }
}

impl Sums {
    /// Of a user whose first invest in the product is of this time.
    fn since(first_invest_date: DateTime<Utc>) -> Self {
        let last_invest_date = first_invest_date;
        Self {
            settled: 0,
            reserved: 0,
            failed_invests: 0,
            first_invest_date,
            last_invest_date,
        }
    }

    /// 1 while anything is reserved or settled, so that a reader counts a user's products by adding up.
    fn products(&self) -> i64 {
        i64::from(self.settled + self.reserved > 0)
    }

    fn settled(&mut self) -> &mut i64 {
        &mut self.settled
    }

    fn reserved(&mut self) -> &mut i64 {
        &mut self.reserved
    }
}

async fn read_sums(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<(String, i64), Sums>> {
    let touched: BTreeSet<_> = events
        .iter()
        .filter_map(|event| Some((subject(&event.event)?.0.as_str(), event.product_id.get())))
        .collect();
    let (users, products): (Vec<_>, Vec<_>) = touched.into_iter().unzip();
    type Columns = (String, i64, i64, i64, i64, DateTime<Utc>, DateTime<Utc>);
    let rows: Vec<Columns> = sqlx::query_as(
        "select user_id, product_id, s.settled_amount, s.reserved_amount, s.failed_invests, s.first_invest_date,
                s.last_invest_date
           from unnest($1::text[], $2::bigint[]) as touched (user_id, product_id)
           join investor_summary s using (user_id, product_id)",
    )
    .bind(users)
    .bind(products)
    .fetch_all(transaction)
    .await?;
    let row = |(
        user,
        product,
        settled,
        reserved,
        failed_invests,
        first_invest_date,
        last_invest_date,
    )| {
        (
            (user, product),
            Sums {
                settled,
                reserved,
                failed_invests,
                first_invest_date,
                last_invest_date,
            },
        )
    };
    Ok(ChangeSet::of(rows.into_iter().map(row)))
}

async fn update_sums(
    transaction: &mut Connection,
    changed: &[(&(String, i64), &Sums)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update investor_summary s
            set products = now.products, settled_amount = now.settled_amount, reserved_amount = now.reserved_amount,
                failed_invests = now.failed_invests, last_invest_date = now.last_invest_date
           from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[])
                    as now (user_id, product_id, products, settled_amount, reserved_amount, failed_invests, last_invest_date)
          where s.user_id = now.user_id and s.product_id = now.product_id",
    )
    .bind(column(changed, |((user, _), _)| user.as_str()))
    .bind(column(changed, |((_, product), _)| *product))
    .bind(column(changed, |(_, sums)| sums.products()))
    .bind(column(changed, |(_, sums)| sums.settled))
    .bind(column(changed, |(_, sums)| sums.reserved))
    .bind(column(changed, |(_, sums)| sums.failed_invests))
    .bind(column(changed, |(_, sums)| sums.last_invest_date))
    .execute(transaction)
    .await?;
    Ok(())
}
