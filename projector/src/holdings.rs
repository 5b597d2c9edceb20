//! `holdings`: what each user holds of each product. Only settled invests count: a reservation is not a holding yet, and one that
//! was given back is none any more.

use crate::change_set::{ChangeSet, column, invariant_violation, products_of};
use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use crate::give_back::stood_until_refunded;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::ProductEvent;
use event_log::consume::{ApplyError, Projection};
use event_log::{Partition, RecordedEvent};
use std::collections::BTreeSet;
use std::collections::hash_map::Entry;

/// Keeps `holdings`, `holdings_product` and `holdings_count`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HoldingsProjection;

impl Projection for HoldingsProjection {
    const NAME: &'static str = "holdings";
    const VERSION: i32 = 1;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for HoldingsProjection {
    const TABLES: &'static [Table] = &[
        Table::by_product("holdings", "user_id, product_id, amount, invest_date"),
        Table::by_product("holdings_product", "product_id, title, total_amount"),
        Table::by_partition("holdings_count", "user_id, partition, holdings"),
    ];
    type Fold = HoldingsState;
}

/// The rows that a batch touches, or all rows of a partition.
#[derive(Default)]
pub(crate) struct HoldingsState {
    products: ChangeSet<i64, Product>,
    /// By user and product.
    holdings: ChangeSet<(String, i64), Holding>,
    /// How many holdings a user has in this partition.
    counts: ChangeSet<String, i64>,
}

#[derive(Clone, PartialEq)]
struct Product {
    title: String,
    total_amount: i64,
}

#[derive(Clone, PartialEq)]
struct Holding {
    amount: i64,
    invest_date: DateTime<Utc>,
}

impl Fold for HoldingsState {
    async fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> sqlx::Result<Self> {
        let products = read_products(transaction, events).await?;
        let holdings = read_holdings(transaction, events).await?;
        let counts = read_counts(transaction, events).await?;
        Ok(Self {
            products,
            holdings,
            counts,
        })
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match &event.event {
            ProductEvent::ProductOpened {
                title,
                total_investing_amount,
                ..
            } => {
                let product = Product {
                    title: title.as_str().into(),
                    total_amount: total_investing_amount.won(),
                };
                self.open(event, product)
            }
            ProductEvent::InvestSettled {
                user_id, amount, ..
            } => self.settle(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestWithdrawn {
                user_id,
                amount,
                settled: true,
                ..
            } => self.give_back(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestRefunded {
                user_id,
                amount,
                code,
                ..
            } if stood_until_refunded(code) => {
                self.give_back(event, user_id.as_str(), amount.won())
            }
            ProductEvent::InvestReserved { .. }
            | ProductEvent::InvestFailed { .. }
            | ProductEvent::InvestWithdrawn { settled: false, .. }
            | ProductEvent::InvestRefunded { .. }
            | ProductEvent::ProductClosed {}
            | ProductEvent::ProductCancelled { .. }
            | ProductEvent::ProductFailed { .. } => self.check_product(event),
        }
    }

    fn emit_new(&self, partition: Partition, copy: &mut CopyWriter) {
        for ((user, product), holding) in self.holdings.added() {
            copy.row(0, &[user, product, &holding.amount, &holding.invest_date]);
        }
        for (id, product) in self.products.added() {
            copy.row(1, &[id, &product.title, &product.total_amount]);
        }
        for (user, holdings) in self.counts.added() {
            copy.row(2, &[user, &partition, holdings]);
        }
    }

    async fn update(&self, transaction: &mut Connection, partition: Partition) -> sqlx::Result<()> {
        update_holdings(transaction, &self.holdings.changed()).await?;
        remove_holdings(transaction, &self.holdings.removed()).await?;
        update_counts(transaction, partition, &self.counts.changed()).await?;
        remove_counts(transaction, partition, &self.counts.removed()).await
    }
}

impl HoldingsState {
    fn open(&mut self, event: &RecordedEvent, product: Product) -> Result<(), ApplyError> {
        match self.products.after.insert(event.product_id.get(), product) {
            None => Ok(()),
            Some(_) => Err(invariant_violation(event, "it is already opened")),
        }
    }

    fn settle(&mut self, event: &RecordedEvent, user: &str, amount: i64) -> Result<(), ApplyError> {
        self.check_product(event)?;
        let holding = match self
            .holdings
            .after
            .entry((user.into(), event.product_id.get()))
        {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(new) => {
                *self.counts.after.entry(user.into()).or_default() += 1;
                new.insert(Holding {
                    amount: 0,
                    invest_date: event.recorded_at,
                })
            }
        };
        holding.amount += amount;
        holding.invest_date = event.recorded_at;
        Ok(())
    }

    /// The date stays that of the latest settlement, also when that is what was given back.
    fn give_back(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
    ) -> Result<(), ApplyError> {
        let key = (user.into(), event.product_id.get());
        let held = self
            .holdings
            .after
            .get_mut(&key)
            .filter(|holding| holding.amount >= amount);
        let held = held
            .ok_or_else(|| invariant_violation(event, "it gives back more than its user holds"))?;
        held.amount -= amount;
        if held.amount == 0 {
            self.holdings.after.remove(&key);
            self.uncount(event, user)?;
        }
        Ok(())
    }

    /// The user has one holding less.
    fn uncount(&mut self, event: &RecordedEvent, user: &str) -> Result<(), ApplyError> {
        let count = self.counts.after.get_mut(user).filter(|count| **count > 0);
        let count = count
            .ok_or_else(|| invariant_violation(event, "it is of a holding that was not counted"))?;
        *count -= 1;
        if *count == 0 {
            self.counts.after.remove(user);
        }
        Ok(())
    }

    fn check_product(&self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match self.products.after.contains_key(&event.product_id.get()) {
            true => Ok(()),
            false => Err(invariant_violation(event, "it was never opened")),
        }
    }
}

async fn read_products(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<i64, Product>> {
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "select product_id, title, total_amount from holdings_product where product_id = any($1)",
    )
    .bind(products_of(events))
    .fetch_all(transaction)
    .await?;
    Ok(ChangeSet::of(rows.into_iter().map(
        |(id, title, total_amount)| {
            (
                id,
                Product {
                    title,
                    total_amount,
                },
            )
        },
    )))
}

async fn read_holdings(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<(String, i64), Holding>> {
    let holders: BTreeSet<_> = events.iter().filter_map(holder_of).collect();
    let (users, products): (Vec<_>, Vec<_>) = holders.into_iter().unzip();
    let rows: Vec<(String, i64, i64, DateTime<Utc>)> = sqlx::query_as(
        "select user_id, product_id, h.amount, h.invest_date
           from unnest($1::text[], $2::bigint[]) as touched (user_id, product_id)
           join holdings h using (user_id, product_id)",
    )
    .bind(users)
    .bind(products)
    .fetch_all(transaction)
    .await?;
    let row = |(user, product, amount, invest_date)| {
        (
            (user, product),
            Holding {
                amount,
                invest_date,
            },
        )
    };
    Ok(ChangeSet::of(rows.into_iter().map(row)))
}

/// The holding that the event may change: its user and product.
fn holder_of(event: &RecordedEvent) -> Option<(&str, i64)> {
    match &event.event {
        ProductEvent::InvestSettled { user_id, .. }
        | ProductEvent::InvestWithdrawn { user_id, .. }
        | ProductEvent::InvestRefunded { user_id, .. } => {
            Some((user_id.as_str(), event.product_id.get()))
        }
        ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    }
}

async fn read_counts(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<String, i64>> {
    let holders: BTreeSet<_> = events
        .iter()
        .filter_map(|event| Some((holder_of(event)?.0, event.partition)))
        .collect();
    let (users, partitions): (Vec<_>, Vec<_>) = holders.into_iter().unzip();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select user_id, c.holdings
           from unnest($1::text[], $2::integer[]) as touched (user_id, partition)
           join holdings_count c using (user_id, partition)",
    )
    .bind(users)
    .bind(partitions)
    .fetch_all(transaction)
    .await?;
    Ok(ChangeSet::of(rows))
}

async fn update_holdings(
    transaction: &mut Connection,
    changed: &[(&(String, i64), &Holding)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update holdings h set amount = now.amount, invest_date = now.invest_date
           from unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[])
                    as now (user_id, product_id, amount, invest_date)
          where h.user_id = now.user_id and h.product_id = now.product_id",
    )
    .bind(column(changed, |((user, _), _)| user.as_str()))
    .bind(column(changed, |((_, product), _)| *product))
    .bind(column(changed, |(_, holding)| holding.amount))
    .bind(column(changed, |(_, holding)| holding.invest_date))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn remove_holdings(
    transaction: &mut Connection,
    gone: &[&(String, i64)],
) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from holdings h
          using unnest($1::text[], $2::bigint[]) as gone (user_id, product_id)
          where h.user_id = gone.user_id and h.product_id = gone.product_id",
    )
    .bind(column(gone, |(user, _)| user.as_str()))
    .bind(column(gone, |(_, product)| *product))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn update_counts(
    transaction: &mut Connection,
    partition: Partition,
    changed: &[(&String, &i64)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update holdings_count c set holdings = now.holdings
           from unnest($2::text[], $3::bigint[]) as now (user_id, holdings)
          where c.user_id = now.user_id and c.partition = $1",
    )
    .bind(partition)
    .bind(column(changed, |(user, _)| user.as_str()))
    .bind(column(changed, |(_, holdings)| **holdings))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn remove_counts(
    transaction: &mut Connection,
    partition: Partition,
    gone: &[&String],
) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query("delete from holdings_count where partition = $1 and user_id = any($2)")
        .bind(partition)
        .bind(column(gone, |user| user.as_str()))
        .execute(transaction)
        .await?;
    Ok(())
}
