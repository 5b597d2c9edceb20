//! `holdings`: what each user holds of each product. Only settled invests count: a reservation is not a holding yet.

use crate::change_set::{ChangeSet, column, invariant_violation, products_of};
use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::ProductEvent;
use event_log::consume::{ApplyError, Projection};
use event_log::{Partition, RecordedEvent};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Keeps `holdings`, `holdings_product` and `holdings_count`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HoldingsProjection;

impl Projection for HoldingsProjection {
    const NAME: &'static str = "holdings";
    const VERSION: i32 = 1;

    async fn apply(&self, transaction: &mut Connection, events: &[RecordedEvent]) -> Result<(), ApplyError> {
        fold::apply_batch::<HoldingsState>(transaction, events).await
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
        Ok(Self { products, holdings })
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match &event.event {
            ProductEvent::ProductOpened { title, total_investing_amount, .. } => {
                let product = Product { title: title.as_str().into(), total_amount: total_investing_amount.won() };
                self.open(event, product)
            }
            ProductEvent::InvestSettled { user_id, amount, .. } => self.settle(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestReserved { .. }
            | ProductEvent::InvestFailed { .. }
            | ProductEvent::ProductClosed {} => self.check_product(event),
        }
    }

    async fn write(&self, transaction: &mut Connection, partition: Partition) -> sqlx::Result<()> {
        add_products(transaction, &self.products.added()).await?;
        put_holdings(transaction, &self.holdings.written()).await?;
        count_holdings(transaction, partition, &self.holdings.added()).await
    }

    fn emit_all(self, partition: Partition, copy: &mut CopyWriter) {
        let mut counts: HashMap<&str, i64> = HashMap::new();
        for ((user, product), holding) in &self.holdings.after {
            copy.row(0, &[user, product, &holding.amount, &holding.invest_date]);
            *counts.entry(user).or_default() += 1;
        }
        for (id, product) in &self.products.after {
            copy.row(1, &[id, &product.title, &product.total_amount]);
        }
        for (user, holdings) in &counts {
            copy.row(2, &[user, &partition, holdings]);
        }
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
        let key = (user.into(), event.product_id.get());
        let fresh = Holding { amount: 0, invest_date: event.recorded_at };
        let holding = self.holdings.after.entry(key).or_insert(fresh);
        holding.amount += amount;
        holding.invest_date = event.recorded_at;
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
    let rows: Vec<(i64, String, i64)> =
        sqlx::query_as("select product_id, title, total_amount from holdings_product where product_id = any($1)")
            .bind(products_of(events))
            .fetch_all(transaction)
            .await?;
    Ok(ChangeSet::of(rows.into_iter().map(|(id, title, total_amount)| (id, Product { title, total_amount }))))
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
    let row = |(user, product, amount, invest_date)| ((user, product), Holding { amount, invest_date });
    Ok(ChangeSet::of(rows.into_iter().map(row)))
}

/// The holding that the event changes: its user and product.
fn holder_of(event: &RecordedEvent) -> Option<(&str, i64)> {
    match &event.event {
        ProductEvent::InvestSettled { user_id, .. } => Some((user_id.as_str(), event.product_id.get())),
        ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::ProductClosed {} => None,
    }
}

async fn add_products(transaction: &mut Connection, added: &[(&i64, &Product)]) -> sqlx::Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into holdings_product (product_id, title, total_amount)
         select * from unnest($1::bigint[], $2::text[], $3::bigint[])",
    )
    .bind(column(added, |(id, _)| **id))
    .bind(column(added, |(_, product)| product.title.as_str()))
    .bind(column(added, |(_, product)| product.total_amount))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn put_holdings(transaction: &mut Connection, written: &[(&(String, i64), &Holding)]) -> sqlx::Result<()> {
    if written.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into holdings (user_id, product_id, amount, invest_date)
         select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::timestamptz[])
             on conflict (user_id, product_id) do update
                set amount = excluded.amount, invest_date = excluded.invest_date",
    )
    .bind(column(written, |((user, _), _)| user.as_str()))
    .bind(column(written, |((_, product), _)| *product))
    .bind(column(written, |(_, holding)| holding.amount))
    .bind(column(written, |(_, holding)| holding.invest_date))
    .execute(transaction)
    .await?;
    Ok(())
}

/// Adds the new holdings to their users' counts in this partition; only this consumer writes those.
async fn count_holdings(
    transaction: &mut Connection,
    partition: Partition,
    added: &[(&(String, i64), &Holding)],
) -> sqlx::Result<()> {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    for ((user, _), _) in added {
        *counts.entry(user).or_default() += 1;
    }
    if counts.is_empty() {
        return Ok(());
    }
    let (users, counts): (Vec<_>, Vec<_>) = counts.into_iter().unzip();
    sqlx::query(
        "insert into holdings_count as c (user_id, partition, holdings)
         select user_id, $1, holdings from unnest($2::text[], $3::bigint[]) as added (user_id, holdings)
             on conflict (user_id, partition) do update set holdings = c.holdings + excluded.holdings",
    )
    .bind(partition)
    .bind(users)
    .bind(counts)
    .execute(transaction)
    .await?;
    Ok(())
}
