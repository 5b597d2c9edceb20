//! The views on a connection of the caller's, where the read models' tables may be others than the live ones, with the same
//! statements and items. The tables must be at one position in each partition; no view waits.

use chrono::{DateTime, Utc};
use connection_pool::Connection;
use edge::{Paging, ServiceTime};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::FromRow;
use sqlx::postgres::PgRow;

use crate::consistency::Select;
use crate::cursor::Slice;
use crate::holdings::{self, HoldingRow};
use crate::invest::InvestRow;
use crate::invest_log;
use crate::investor_summary::{self, SummaryRow};
use crate::product_list;
use crate::product_row::ProductRow;
use crate::view_rows::ViewRows;

/// The result of a view.
#[derive(Debug)]
pub struct View {
    /// Of all pages together.
    pub total_count: i64,
    /// This page, each item as in the public call.
    pub items: Vec<Box<RawValue>>,
    /// The positions that it shows, by partition.
    pub positions: Vec<i64>,
}

/// The views on one connection.
pub struct Views<'c> {
    /// Its search path finds the intended tables first.
    pub connection: &'c mut Connection,
    /// Of the log.
    pub partitions: i32,
    /// The time zone of the answers.
    pub time: ServiceTime,
}

impl Views<'_> {
    /// As `GET /api/product/my/invest`.
    pub async fn holdings(&mut self, user_id: &str, paging: &Paging) -> sqlx::Result<View> {
        let found: ViewRows<HoldingRow> = self
            .query(holdings::select(
                self.partitions,
                user_id,
                &Slice::Page(*paging),
            ))
            .await?;
        view(&found, |row| row.item(user_id, self.time))
    }

    /// As `GET /api/invest/log`; of all products, or of one.
    pub async fn invest_log(
        &mut self,
        user_id: &str,
        product_id: Option<i64>,
        paging: &Paging,
    ) -> sqlx::Result<View> {
        let select =
            invest_log::select(self.partitions, user_id, product_id, &Slice::Page(*paging));
        let found: ViewRows<InvestRow> = self.query(select).await?;
        view(&found, |row| row.item(self.time))
    }

    /// As `GET /api/product/my/summary`: always one item.
    pub async fn summary(&mut self, user_id: &str) -> sqlx::Result<View> {
        let mut found: ViewRows<SummaryRow> = self
            .query(investor_summary::select(self.partitions, user_id))
            .await?;
        if found.rows.is_empty() {
            found.rows.push(SummaryRow::default());
        }
        view(&found, |row| row.item(user_id, self.time))
    }

    /// As `GET /api/product` at that time.
    pub async fn products(&mut self, at: DateTime<Utc>, paging: &Paging) -> sqlx::Result<View> {
        let found: ViewRows<ProductRow> = self
            .query(product_list::select_at(self.partitions, paging, at))
            .await?;
        view(&found, |row| row.item(self.time))
    }

    async fn query<T: for<'r> FromRow<'r, PgRow>>(
        &mut self,
        select: Select<'_>,
    ) -> sqlx::Result<ViewRows<T>> {
        ViewRows::of(&select.fetch_all(&mut *self.connection).await?)
    }
}

fn view<'a, T, I: Serialize>(
    found: &'a ViewRows<T>,
    item: impl Fn(&'a T) -> I,
) -> sqlx::Result<View> {
    let items = found
        .rows
        .iter()
        .map(|row| to_raw_value(&item(row)))
        .collect::<Result<_, _>>();
    let items = items.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    Ok(View {
        total_count: found.total_count,
        items,
        positions: found.positions.clone(),
    })
}
