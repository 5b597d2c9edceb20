//! A product as a row of the read model, and as an item of an answer.

use chrono::{DateTime, Utc};
use edge::ServiceTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::product_status::{ProductState, product_status};

/// A product of the read model, and the time at which its status is shown.
#[derive(sqlx::FromRow)]
pub(crate) struct ProductRow {
    pub(crate) product_id: i64,
    pub(crate) title: String,
    pub(crate) total_amount: i64,
    pub(crate) current_amount: i64,
    pub(crate) invest_users: i64,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) finished_at: DateTime<Utc>,
    pub(crate) closed: bool,
    #[sqlx(flatten)]
    pub(crate) terms: Terms,
    pub(crate) now: DateTime<Utc>,
}

/// What the product demands of each invest, in won.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The least amount of one invest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_invest_amount: Option<i64>,
    /// Every amount is a multiple of this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invest_amount_unit: Option<i64>,
    /// The most that one user may have of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_amount_per_user: Option<i64>,
}

impl Terms {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// A product as the contract shows it, in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProductItem<'a> {
    product_id: i64,
    title: &'a str,
    total_investing_amount: i64,
    current_investing_amount: i64,
    investing_cnt: i64,
    started_at: String,
    finished_at: String,
    invest_status: &'static str,
}

/// A product as the contract shows it, by itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct WholeProduct<'a> {
    #[serde(flatten)]
    item: ProductItem<'a>,
    #[serde(skip_serializing_if = "Terms::is_none")]
    terms: Terms,
}

impl ProductRow {
    pub(crate) fn item(&self, time: ServiceTime) -> ProductItem<'_> {
        ProductItem {
            product_id: self.product_id,
            title: &self.title,
            total_investing_amount: self.total_amount,
            current_investing_amount: self.current_amount,
            investing_cnt: self.invest_users,
            started_at: time.format(self.started_at),
            finished_at: time.format(self.finished_at),
            invest_status: product_status(self.state(), self.now),
        }
    }

    /// With its terms, where it has any.
    pub(crate) fn whole(&self, time: ServiceTime) -> WholeProduct<'_> {
        WholeProduct { item: self.item(time), terms: self.terms }
    }

    fn state(&self) -> ProductState {
        ProductState {
            closed: self.closed,
            started_at: self.started_at,
            finished_at: self.finished_at,
            total_amount: self.total_amount,
            current_amount: self.current_amount,
        }
    }
}
