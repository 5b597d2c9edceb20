//! `product_list`: every product with the amount taken of it. A reservation counts at once, a settlement changes nothing, and
//! a failure and what is given back release the amount.

use crate::change_set::{ChangeSet, column, invariant_violation, products_of};
use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use crate::give_back::stood_until_refunded;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::{Amount, ProductEvent};
use event_log::consume::{ApplyError, Projection};
use event_log::{Partition, RecordedEvent};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// Keeps `product_list` and, to count distinct users, `product_list_user`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProductListProjection;

impl Projection for ProductListProjection {
    const NAME: &'static str = "product_list";
    const VERSION: i32 = 1;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for ProductListProjection {
    const TABLES: &'static [Table] = &[
        Table::by_product(
            "product_list",
            "product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed, \
             min_invest_amount, invest_amount_unit, max_amount_per_user, target_amount, withdrawable_until, \
             cancel_reason, failed",
        ),
        Table::by_product("product_list_user", "product_id, user_id, amount"),
    ];
    type Fold = ProductListState;
}

/// The rows that a batch touches, or all rows of a partition.
#[derive(Default)]
pub(crate) struct ProductListState {
    products: ChangeSet<i64, Product>,
    /// Won that a user has reserved or settled in a product; never 0.
    users: ChangeSet<(i64, Arc<str>), i64>,
    /// Every user id once, in however many products: those of a whole partition must fit in memory.
    user_ids: HashSet<Arc<str>>,
}

#[derive(sqlx::FromRow)]
struct Row {
    product_id: i64,
    #[sqlx(flatten)]
    product: Product,
}

#[derive(Clone, PartialEq, sqlx::FromRow)]
struct Product {
    title: String,
    total_amount: i64,
    current_amount: i64,
    invest_users: i64,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    closed: bool,
    /// The operator's, when it is cancelled.
    cancel_reason: Option<String>,
    /// Whether it missed its target.
    failed: bool,
    #[sqlx(flatten)]
    terms: Terms,
}

/// Amounts in won.
#[derive(Clone, Default, PartialEq, sqlx::FromRow)]
struct Terms {
    min_invest_amount: Option<i64>,
    invest_amount_unit: Option<i64>,
    max_amount_per_user: Option<i64>,
    target_amount: Option<i64>,
    withdrawable_until: Option<DateTime<Utc>>,
}

impl From<&domain::Terms> for Terms {
    fn from(terms: &domain::Terms) -> Self {
        let domain::Terms {
            min_invest_amount,
            invest_amount_unit,
            max_amount_per_user,
            target_amount,
            withdrawable_until,
        } = *terms;
        Self {
            min_invest_amount: min_invest_amount.map(Amount::won),
            invest_amount_unit: invest_amount_unit.map(Amount::won),
            max_amount_per_user: max_amount_per_user.map(Amount::won),
            target_amount: target_amount.map(Amount::won),
            withdrawable_until,
        }
    }
}

impl Fold for ProductListState {
    async fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> sqlx::Result<Self> {
        let products = read_products(transaction, events).await?;
        let users = read_users(transaction, events).await?;
        Ok(Self {
            products,
            users,
            user_ids: HashSet::new(),
        })
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match &event.event {
            ProductEvent::ProductOpened {
                title,
                total_investing_amount,
                started_at,
                finished_at,
                terms,
                ..
            } => {
                let product = Product {
                    title: title.as_str().into(),
                    total_amount: total_investing_amount.won(),
                    current_amount: 0,
                    invest_users: 0,
                    started_at: *started_at,
                    finished_at: *finished_at,
                    closed: false,
                    cancel_reason: None,
                    failed: false,
                    terms: terms.into(),
                };
                self.open(event, product)
            }
            ProductEvent::InvestReserved {
                user_id, amount, ..
            } => self.reserve(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestFailed {
                user_id, amount, ..
            }
            | ProductEvent::InvestWithdrawn {
                user_id, amount, ..
            } => self.release(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestRefunded {
                user_id,
                amount,
                code,
                ..
            } if stood_until_refunded(code) => self.release(event, user_id.as_str(), amount.won()),
            ProductEvent::InvestSettled { .. } | ProductEvent::InvestRefunded { .. } => {
                self.product(event).map(drop)
            }
            ProductEvent::ProductClosed {} => self.close(event),
            ProductEvent::ProductCancelled { reason } => {
                self.end(event)?.cancel_reason = Some(reason.as_str().into());
                Ok(())
            }
            ProductEvent::ProductFailed { .. } => {
                self.end(event)?.failed = true;
                Ok(())
            }
        }
    }

    fn emit_new(&self, _: Partition, copy: &mut CopyWriter) {
        for (id, product) in self.products.added() {
            product.copy(id, copy);
        }
        for ((product, user), amount) in self.users.added() {
            copy.row(1, &[product, &&**user, amount]);
        }
    }

    async fn update(&self, transaction: &mut Connection, _: Partition) -> sqlx::Result<()> {
        update_products(transaction, &self.products.changed()).await?;
        update_users(transaction, &self.users.changed()).await?;
        remove_users(transaction, &self.users.removed()).await
    }
}

impl Product {
    fn copy(&self, id: &i64, copy: &mut CopyWriter) {
        let Self {
            title,
            total_amount,
            current_amount,
            invest_users,
            started_at,
            finished_at,
            ..
        } = self;
        let Self {
            closed,
            cancel_reason,
            failed,
            terms,
            ..
        } = self;
        let Terms {
            min_invest_amount,
            invest_amount_unit,
            max_amount_per_user,
            target_amount,
            withdrawable_until,
        } = terms;
        copy.row(
            0,
            &[
                id,
                title,
                total_amount,
                current_amount,
                invest_users,
                started_at,
                finished_at,
                closed,
                min_invest_amount,
                invest_amount_unit,
                max_amount_per_user,
                target_amount,
                withdrawable_until,
                cancel_reason,
                failed,
            ],
        );
    }
}

impl ProductListState {
    fn open(&mut self, event: &RecordedEvent, product: Product) -> Result<(), ApplyError> {
        match self.products.after.insert(event.product_id.get(), product) {
            None => Ok(()),
            Some(_) => Err(invariant_violation(event, "it is already opened")),
        }
    }

    fn reserve(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
    ) -> Result<(), ApplyError> {
        let key = (event.product_id.get(), self.user(user));
        let is_first = !self.users.after.contains_key(&key);
        let product = self.product(event)?;
        product.current_amount += amount;
        product.invest_users += i64::from(is_first);
        *self.users.after.entry(key).or_default() += amount;
        Ok(())
    }

    fn release(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
    ) -> Result<(), ApplyError> {
        let key = (event.product_id.get(), self.user(user));
        let left = match self.users.after.get(&key) {
            Some(taken) if *taken >= amount => taken - amount,
            _ => {
                return Err(invariant_violation(
                    event,
                    "it gives back more than its user has",
                ));
            }
        };
        let product = self.product(event)?;
        product.current_amount -= amount;
        product.invest_users -= i64::from(left == 0);
        match left {
            0 => self.users.after.remove(&key),
            left => self.users.after.insert(key, left),
        };
        Ok(())
    }

    fn close(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        let product = self.product(event)?;
        if std::mem::replace(&mut product.closed, true) {
            return Err(invariant_violation(event, "it is already closed"));
        }
        Ok(())
    }

    /// The product, which is cancelled or fails now; neither happens to it twice.
    fn end(&mut self, event: &RecordedEvent) -> Result<&mut Product, ApplyError> {
        let product = self.product(event)?;
        if product.cancel_reason.is_some() || product.failed {
            return Err(invariant_violation(
                event,
                "it is already cancelled, or has failed",
            ));
        }
        Ok(product)
    }

    fn user(&mut self, user: &str) -> Arc<str> {
        if let Some(known) = self.user_ids.get(user) {
            return known.clone();
        }
        let user: Arc<str> = user.into();
        self.user_ids.insert(user.clone());
        user
    }

    fn product(&mut self, event: &RecordedEvent) -> Result<&mut Product, ApplyError> {
        let product = self.products.after.get_mut(&event.product_id.get());
        product.ok_or_else(|| invariant_violation(event, "it was never opened"))
    }
}

async fn read_products(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<i64, Product>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed,
                min_invest_amount, invest_amount_unit, max_amount_per_user, target_amount, withdrawable_until,
                cancel_reason, failed
           from product_list where product_id = any($1)",
    )
    .bind(products_of(events))
    .fetch_all(transaction)
    .await?;
    Ok(ChangeSet::of(
        rows.into_iter().map(|row| (row.product_id, row.product)),
    ))
}

async fn read_users(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<(i64, Arc<str>), i64>> {
    let users: BTreeSet<_> = events.iter().filter_map(user_of).collect();
    let (products, users): (Vec<_>, Vec<_>) = users.into_iter().unzip();
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "select product_id, user_id, u.amount
           from unnest($1::bigint[], $2::text[]) as touched (product_id, user_id)
           join product_list_user u using (product_id, user_id)",
    )
    .bind(products)
    .bind(users)
    .fetch_all(transaction)
    .await?;
    Ok(ChangeSet::of(rows.into_iter().map(
        |(product, user, amount)| ((product, user.into()), amount),
    )))
}

/// The row that the event may change: its product and user.
fn user_of(event: &RecordedEvent) -> Option<(i64, &str)> {
    match &event.event {
        ProductEvent::InvestReserved { user_id, .. }
        | ProductEvent::InvestFailed { user_id, .. }
        | ProductEvent::InvestWithdrawn { user_id, .. }
        | ProductEvent::InvestRefunded { user_id, .. } => {
            Some((event.product_id.get(), user_id.as_str()))
        }
        ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    }
}

async fn update_products(
    transaction: &mut Connection,
    changed: &[(&i64, &Product)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update product_list p
            set current_amount = now.current_amount, invest_users = now.invest_users, closed = now.closed,
                cancel_reason = now.cancel_reason, failed = now.failed
           from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::boolean[], $5::text[], $6::boolean[])
                    as now (product_id, current_amount, invest_users, closed, cancel_reason, failed)
          where p.product_id = now.product_id",
    )
    .bind(column(changed, |(id, _)| **id))
    .bind(column(changed, |(_, product)| product.current_amount))
    .bind(column(changed, |(_, product)| product.invest_users))
    .bind(column(changed, |(_, product)| product.closed))
    .bind(column(changed, |(_, product)| product.cancel_reason.as_deref()))
    .bind(column(changed, |(_, product)| product.failed))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn update_users(
    transaction: &mut Connection,
    changed: &[(&(i64, Arc<str>), &i64)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update product_list_user u set amount = now.amount
           from unnest($1::bigint[], $2::text[], $3::bigint[]) as now (product_id, user_id, amount)
          where u.product_id = now.product_id and u.user_id = now.user_id",
    )
    .bind(column(changed, |((product, _), _)| *product))
    .bind(column(changed, |((_, user), _)| &**user))
    .bind(column(changed, |(_, amount)| **amount))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn remove_users(transaction: &mut Connection, gone: &[&(i64, Arc<str>)]) -> sqlx::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "delete from product_list_user u
          using unnest($1::bigint[], $2::text[]) as gone (product_id, user_id)
          where u.product_id = gone.product_id and u.user_id = gone.user_id",
    )
    .bind(column(gone, |(product, _)| *product))
    .bind(column(gone, |(_, user)| &**user))
    .execute(transaction)
    .await?;
    Ok(())
}
