//! `investor_summary`: the sums of what each user has invested. A reservation counts until its fate; of a failed one the date
//! stays, and it is counted as failed. What was given back counts no more, and has not failed.

use crate::change_set::{ChangeSet, column, invariant_violation};
use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use crate::give_back::stood_until_refunded;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::ProductEvent;
use event_log::consume::{ApplyError, Projection};
use event_log::{Partition, RecordedEvent};
use std::collections::BTreeSet;

/// Keeps `investor_summary` and, to count products, `investor_summary_product`.
#[derive(Clone, Copy, Debug, Default)]
pub struct InvestorSummaryProjection;

impl Projection for InvestorSummaryProjection {
    const NAME: &'static str = "investor_summary";
    const VERSION: i32 = 1;

    async fn apply(&self, transaction: &mut Connection, events: &[RecordedEvent]) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for InvestorSummaryProjection {
    const TABLES: &'static [Table] = &[
        Table::by_partition(
            "investor_summary",
            "user_id, partition, products, settled_amount, reserved_amount, failed_invests, first_invest_date, \
             last_invest_date",
        ),
        Table::by_product("investor_summary_product", "user_id, product_id, settled_amount, reserved_amount"),
    ];
    type Fold = InvestorSummaryState;
}

/// The rows that a batch touches, or all rows of a partition.
#[derive(Default)]
pub(crate) struct InvestorSummaryState {
    /// By user, in this partition.
    investors: ChangeSet<String, Investor>,
    /// By user and product.
    shares: ChangeSet<(String, i64), Share>,
}

#[derive(Clone, PartialEq)]
struct Investor {
    /// Products in which an amount is reserved or settled.
    products: i64,
    sums: Share,
    failed_invests: i64,
    first_invest_date: DateTime<Utc>,
    last_invest_date: DateTime<Utc>,
}

/// Won.
#[derive(Clone, Copy, Default, PartialEq)]
struct Share {
    settled: i64,
    reserved: i64,
}

impl Fold for InvestorSummaryState {
    async fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> sqlx::Result<Self> {
        let investors = read_investors(transaction, events).await?;
        let shares = read_shares(transaction, events).await?;
        Ok(Self { investors, shares })
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match &event.event {
            ProductEvent::InvestReserved { user_id, amount, .. } => {
                self.reserve(event, user_id.as_str(), amount.won());
                Ok(())
            }
            ProductEvent::InvestSettled { user_id, amount, .. } => self.settle(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestFailed { user_id, amount, .. } => self.fail(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestWithdrawn { user_id, amount, settled, .. } => {
                let stood = if *settled { Share::settled } else { Share::reserved };
                self.give_back(event, user_id.as_str(), amount.won(), stood).map(drop)
            }
            ProductEvent::InvestRefunded { user_id, amount, code, .. } if stood_until_refunded(code) => {
                self.give_back(event, user_id.as_str(), amount.won(), Share::settled).map(drop)
            }
            ProductEvent::ProductOpened { .. }
            | ProductEvent::InvestRefunded { .. }
            | ProductEvent::ProductClosed {}
            | ProductEvent::ProductCancelled { .. }
            | ProductEvent::ProductFailed { .. } => Ok(()),
        }
    }

    fn emit_new(&self, partition: Partition, copy: &mut CopyWriter) {
        for (user, investor) in self.investors.added() {
            let Investor { products, sums, failed_invests, first_invest_date, last_invest_date } = investor;
            let Share { settled, reserved } = sums;
            copy.row(
                0,
                &[user, &partition, products, settled, reserved, failed_invests, first_invest_date, last_invest_date],
            );
        }
        for ((user, product), Share { settled, reserved }) in self.shares.added() {
            copy.row(1, &[user, product, settled, reserved]);
        }
    }

    async fn update(&self, transaction: &mut Connection, partition: Partition) -> sqlx::Result<()> {
        update_investors(transaction, partition, &self.investors.changed()).await?;
        update_shares(transaction, &self.shares.changed()).await
    }
}

impl InvestorSummaryState {
    fn reserve(&mut self, event: &RecordedEvent, user: &str, amount: i64) {
        let share = self.shares.after.entry((user.into(), event.product_id.get())).or_default();
        let is_first = *share == Share::default();
        share.reserved += amount;
        let investor = self.investors.after.entry(user.into()).or_insert_with(|| Investor::at(event.recorded_at));
        investor.products += i64::from(is_first);
        investor.sums.reserved += amount;
        investor.last_invest_date = event.recorded_at;
    }

    fn settle(&mut self, event: &RecordedEvent, user: &str, amount: i64) -> Result<(), ApplyError> {
        let (investor, share) = self.take(event, user, amount, Share::reserved)?;
        share.settled += amount;
        investor.sums.settled += amount;
        Ok(())
    }

    fn fail(&mut self, event: &RecordedEvent, user: &str, amount: i64) -> Result<(), ApplyError> {
        self.give_back(event, user, amount, Share::reserved)?.failed_invests += 1;
        Ok(())
    }

    /// Takes out for good what stood in that sum. A product in which nothing is left is not counted any more.
    fn give_back(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
        stood: fn(&mut Share) -> &mut i64,
    ) -> Result<&mut Investor, ApplyError> {
        let (investor, share) = self.take(event, user, amount, stood)?;
        investor.products -= i64::from(*share == Share::default());
        Ok(investor)
    }

    /// Takes the amount out of that sum.
    fn take(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
        from: fn(&mut Share) -> &mut i64,
    ) -> Result<(&mut Investor, &mut Share), ApplyError> {
        let key = (user.into(), event.product_id.get());
        let too_much = || invariant_violation(event, "it is of more than its user has there");
        let investor = self.investors.after.get_mut(user).ok_or_else(too_much)?;
        let share = self.shares.after.get_mut(&key).ok_or_else(too_much)?;
        if *from(share) < amount {
            return Err(too_much());
        }
        *from(share) -= amount;
        *from(&mut investor.sums) -= amount;
        Ok((investor, share))
    }
}

impl Share {
    fn settled(&mut self) -> &mut i64 {
        &mut self.settled
    }

    fn reserved(&mut self) -> &mut i64 {
        &mut self.reserved
    }
}

impl Investor {
    /// One whose first invest is of this time.
    fn at(first_invest_date: DateTime<Utc>) -> Self {
        let (sums, last_invest_date) = (Share::default(), first_invest_date);
        Self { products: 0, sums, failed_invests: 0, first_invest_date, last_invest_date }
    }
}

/// Whose invest the event is about.
fn user_of(event: &RecordedEvent) -> Option<&str> {
    match &event.event {
        ProductEvent::InvestReserved { user_id, .. }
        | ProductEvent::InvestSettled { user_id, .. }
        | ProductEvent::InvestFailed { user_id, .. }
        | ProductEvent::InvestWithdrawn { user_id, .. }
        | ProductEvent::InvestRefunded { user_id, .. } => Some(user_id.as_str()),
        ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    }
}

async fn read_investors(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<String, Investor>> {
    let touched: BTreeSet<_> = events.iter().filter_map(|event| Some((user_of(event)?, event.partition))).collect();
    let (users, partitions): (Vec<_>, Vec<_>) = touched.into_iter().unzip();
    type Columns = (String, i64, i64, i64, i64, DateTime<Utc>, DateTime<Utc>);
    let rows: Vec<Columns> = sqlx::query_as(
        "select user_id, s.products, s.settled_amount, s.reserved_amount, s.failed_invests, s.first_invest_date,
                s.last_invest_date
           from unnest($1::text[], $2::integer[]) as touched (user_id, partition)
           join investor_summary s using (user_id, partition)",
    )
    .bind(users)
    .bind(partitions)
    .fetch_all(transaction)
    .await?;
    let row = |(user, products, settled, reserved, failed_invests, first_invest_date, last_invest_date)| {
        let sums = Share { settled, reserved };
        (user, Investor { products, sums, failed_invests, first_invest_date, last_invest_date })
    };
    Ok(ChangeSet::of(rows.into_iter().map(row)))
}

async fn read_shares(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<(String, i64), Share>> {
    let touched: BTreeSet<_> =
        events.iter().filter_map(|event| Some((user_of(event)?, event.product_id.get()))).collect();
    let (users, products): (Vec<_>, Vec<_>) = touched.into_iter().unzip();
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select user_id, product_id, s.settled_amount, s.reserved_amount
           from unnest($1::text[], $2::bigint[]) as touched (user_id, product_id)
           join investor_summary_product s using (user_id, product_id)",
    )
    .bind(users)
    .bind(products)
    .fetch_all(transaction)
    .await?;
    let row = |(user, product, settled, reserved)| ((user, product), Share { settled, reserved });
    Ok(ChangeSet::of(rows.into_iter().map(row)))
}

async fn update_investors(
    transaction: &mut Connection,
    partition: Partition,
    changed: &[(&String, &Investor)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update investor_summary s
            set products = now.products, settled_amount = now.settled_amount, reserved_amount = now.reserved_amount,
                failed_invests = now.failed_invests, last_invest_date = now.last_invest_date
           from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::timestamptz[])
                    as now (user_id, products, settled_amount, reserved_amount, failed_invests, last_invest_date)
          where s.user_id = now.user_id and s.partition = $1",
    )
    .bind(partition)
    .bind(column(changed, |(user, _)| user.as_str()))
    .bind(column(changed, |(_, investor)| investor.products))
    .bind(column(changed, |(_, investor)| investor.sums.settled))
    .bind(column(changed, |(_, investor)| investor.sums.reserved))
    .bind(column(changed, |(_, investor)| investor.failed_invests))
    .bind(column(changed, |(_, investor)| investor.last_invest_date))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn update_shares(transaction: &mut Connection, changed: &[(&(String, i64), &Share)]) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update investor_summary_product s
            set settled_amount = now.settled_amount, reserved_amount = now.reserved_amount
           from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
                    as now (user_id, product_id, settled_amount, reserved_amount)
          where s.user_id = now.user_id and s.product_id = now.product_id",
    )
    .bind(column(changed, |((user, _), _)| user.as_str()))
    .bind(column(changed, |((_, product), _)| *product))
    .bind(column(changed, |(_, share)| share.settled))
    .bind(column(changed, |(_, share)| share.reserved))
    .execute(transaction)
    .await?;
    Ok(())
}
