//! The views on a connection of the caller's, where the read models' tables may be others than the live ones: the same
//! statements, the same items. The tables must be whole at one state; nobody is waited for.

use chrono::{DateTime, Utc};
use connection_pool::Connection;
use edge::{Paging, ServiceTime};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sqlx::FromRow;
use sqlx::postgres::PgRow;

use crate::consistency::Select;
use crate::holdings::{self, HoldingRow};
use crate::invest::InvestRow;
use crate::invest_log;
use crate::investor_summary::{self, SummaryRow};
use crate::product::ProductRow;
use crate::product_list;
use crate::shown::Shown;

/// What a view shows.
#[derive(Debug)]
pub struct View {
    /// Of all pages together.
    pub total_count: i64,
    /// This page, each item as the public call has it.
    pub items: Vec<Box<RawValue>>,
    /// The state that is shown, by partition.
    pub positions: Vec<i64>,
}

/// The tables in which it is looked.
pub struct Views<'c> {
    /// Unqualified names meet the tables that are meant.
    pub connection: &'c mut Connection,
    /// Of the log.
    pub partitions: i32,
    /// The zone times are shown in.
    pub time: ServiceTime,
}

impl Views<'_> {
    /// As `GET /api/product/my/invest`.
    pub async fn holdings(&mut self, user_id: &str, paging: &Paging) -> sqlx::Result<View> {
        let shown: Shown<HoldingRow> = self.show(holdings::select(self.partitions, user_id, paging)).await?;
        view(&shown, |row| row.item(user_id, self.time))
    }

    /// As `GET /api/invest/log`; of all products, or of one.
    pub async fn invest_log(&mut self, user_id: &str, product_id: Option<i64>, paging: &Paging) -> sqlx::Result<View> {
        let select = invest_log::select(self.partitions, user_id, product_id, paging);
        let shown: Shown<InvestRow> = self.show(select).await?;
        view(&shown, |row| row.item(self.time))
    }

    /// As `GET /api/product/my/summary`: always one item.
    pub async fn summary(&mut self, user_id: &str) -> sqlx::Result<View> {
        let mut shown: Shown<SummaryRow> = self.show(investor_summary::select(self.partitions, user_id)).await?;
        if shown.rows.is_empty() {
            shown.rows.push(SummaryRow::default());
        }
        view(&shown, |row| row.item(user_id, self.time))
    }

    /// As `GET /api/product` at that time.
    pub async fn products(&mut self, at: DateTime<Utc>, paging: &Paging) -> sqlx::Result<View> {
        let shown: Shown<ProductRow> = self.show(product_list::select_at(self.partitions, paging, at)).await?;
        view(&shown, |row| row.item(self.time))
    }

    async fn show<T: for<'r> FromRow<'r, PgRow>>(&mut self, select: Select<'_>) -> sqlx::Result<Shown<T>> {
        Shown::of(&select.fetch_all(&mut *self.connection).await?)
    }
}

fn view<'a, T, I: Serialize>(shown: &'a Shown<T>, item: impl Fn(&'a T) -> I) -> sqlx::Result<View> {
    let items = shown.rows.iter().map(|row| to_raw_value(&item(row))).collect::<Result<_, _>>();
    let items = items.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
    Ok(View { total_count: shown.total_count, items, positions: shown.positions.clone() })
}
