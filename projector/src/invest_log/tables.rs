//! The three tables: reads the rows that a batch touches, and writes those that it changed.

use super::{Invest, InvestLogState, Product, State, User};
use crate::change_set::{ChangeSet, column, products_of};
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::ProductEvent;
use event_log::RecordedEvent;
use event_log::search::subject;
use std::collections::BTreeSet;
use uuid::Uuid;

impl InvestLogState {
    pub(super) async fn read_tables(
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> sqlx::Result<Self> {
        let products = read_products(transaction, events).await?;
        let users = read_users(transaction, events).await?;
        let invests = read_invests(transaction, events).await?;
        Ok(Self {
            products,
            users,
            invests,
        })
    }

    pub(super) async fn update_tables(&self, transaction: &mut Connection) -> sqlx::Result<()> {
        update_products(transaction, &self.products.changed()).await?;
        update_users(transaction, &self.users.changed()).await?;
        update_states(transaction, &self.invests.changed()).await
    }
}

async fn read_products(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<i64, Product>> {
    let rows: Vec<(i64, String, i64)> = sqlx::query_as(
        "select product_id, title, accrued from invest_log_product where product_id = any($1)",
    )
    .bind(products_of(events))
    .fetch_all(transaction)
    .await?;
    Ok(ChangeSet::of(rows.into_iter().map(
        |(id, title, accrued)| (id, Product { title, accrued }),
    )))
}

async fn read_users(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<(String, i64), User>> {
    let users: BTreeSet<_> = events.iter().filter_map(user_of).collect();
    let (users, products): (Vec<_>, Vec<_>) = users.into_iter().unzip();
    let rows: Vec<(String, i64, i64, i64)> = sqlx::query_as(
        "select user_id, product_id, u.accrued, u.invests
           from unnest($1::text[], $2::bigint[]) as touched (user_id, product_id)
           join invest_log_user u using (user_id, product_id)",
    )
    .bind(users)
    .bind(products)
    .fetch_all(transaction)
    .await?;
    let row = |(user, product, accrued, invests)| ((user, product), User { accrued, invests });
    Ok(ChangeSet::of(rows.into_iter().map(row)))
}

/// The row that the event changes: its user and product. A settlement does not change the sums.
fn user_of(event: &RecordedEvent) -> Option<(&str, i64)> {
    match &event.event {
        ProductEvent::InvestReserved { user_id, .. }
        | ProductEvent::InvestFailed { user_id, .. }
        | ProductEvent::InvestWithdrawn { user_id, .. }
        | ProductEvent::InvestRefunded { user_id, .. } => {
            Some((user_id.as_str(), event.product_id.get()))
        }
        ProductEvent::ProductOpened { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    }
}

#[derive(sqlx::FromRow)]
struct InvestRow {
    invest_id: Uuid,
    product_id: i64,
    user_id: String,
    amount: i64,
    state: String,
    fail_code: Option<String>,
    fail_detail: Option<String>,
    accrued_user: i64,
    accrued_product: i64,
    requested_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl InvestRow {
    fn read(self) -> sqlx::Result<(Uuid, Invest)> {
        let invest = Invest {
            product_id: self.product_id,
            user_id: self.user_id,
            amount: self.amount,
            state: State::from_stored(&self.state, self.fail_code, self.fail_detail)?,
            accrued_user: self.accrued_user,
            accrued_product: self.accrued_product,
            requested_at: self.requested_at,
            updated_at: self.updated_at,
        };
        Ok((self.invest_id, invest))
    }
}

async fn read_invests(
    transaction: &mut Connection,
    events: &[RecordedEvent],
) -> sqlx::Result<ChangeSet<Uuid, Invest>> {
    let ids: BTreeSet<_> = events.iter().filter_map(invest_of).collect();
    let rows: Vec<InvestRow> = sqlx::query_as(
        "select invest_id, product_id, user_id, amount, state, fail_code, fail_detail, accrued_user, accrued_product,
                requested_at, updated_at
           from invest_log where invest_id = any($1)",
    )
    .bind(ids.into_iter().collect::<Vec<_>>())
    .fetch_all(transaction)
    .await?;
    let rows: Vec<_> = rows
        .into_iter()
        .map(InvestRow::read)
        .collect::<Result<_, _>>()?;
    Ok(ChangeSet::of(rows))
}

/// The invest that the event is about. Reservations too, to detect one that exists already.
fn invest_of(event: &RecordedEvent) -> Option<Uuid> {
    subject(&event.event).map(|(_, invest_id)| invest_id.0)
}

async fn update_products(
    transaction: &mut Connection,
    changed: &[(&i64, &Product)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update invest_log_product p set accrued = now.accrued
           from unnest($1::bigint[], $2::bigint[]) as now (product_id, accrued)
          where p.product_id = now.product_id",
    )
    .bind(column(changed, |(id, _)| **id))
    .bind(column(changed, |(_, product)| product.accrued))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn update_users(
    transaction: &mut Connection,
    changed: &[(&(String, i64), &User)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update invest_log_user u set accrued = now.accrued, invests = now.invests
           from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
                    as now (user_id, product_id, accrued, invests)
          where u.user_id = now.user_id and u.product_id = now.product_id",
    )
    .bind(column(changed, |((user, _), _)| user.as_str()))
    .bind(column(changed, |((_, product), _)| *product))
    .bind(column(changed, |(_, user)| user.accrued))
    .bind(column(changed, |(_, user)| user.invests))
    .execute(transaction)
    .await?;
    Ok(())
}

/// Writes what became of invests of earlier batches.
async fn update_states(
    transaction: &mut Connection,
    changed: &[(&Uuid, &Invest)],
) -> sqlx::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update invest_log i
            set state = now.state, fail_code = now.fail_code, fail_detail = now.fail_detail, updated_at = now.updated_at
           from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
                    as now (invest_id, state, fail_code, fail_detail, updated_at)
          where i.invest_id = now.invest_id",
    )
    .bind(column(changed, |(id, _)| **id))
    .bind(column(changed, |(_, invest)| invest.state.name()))
    .bind(column(changed, |(_, invest)| invest.state.reason().0))
    .bind(column(changed, |(_, invest)| invest.state.reason().1))
    .bind(column(changed, |(_, invest)| invest.updated_at))
    .execute(transaction)
    .await?;
    Ok(())
}
