//! A product as a row of the read model, and as an item of an answer.

use chrono::{DateTime, Utc};
use edge::ServiceTime;
use serde::Serialize;
use utoipa::ToSchema;

use crate::product_status::{ProductState, product_status};

/// [`PRODUCT_COLUMNS`], for `concat!`.
macro_rules! product_columns {
    () => {
        "product_id, title, total_amount, current_amount, invest_users, started_at, finished_at, closed,
               min_invest_amount, invest_amount_unit, max_amount_per_user, target_amount, withdrawable_until, cancel_reason,
               failed"
    };
}
pub(crate) use product_columns;

/// The columns of `product_list` that a [`ProductRow`] is read from, beside `now`.
pub const PRODUCT_COLUMNS: &str = product_columns!();

/// A product of the read model, and the time at which its status is shown.
#[derive(Clone, sqlx::FromRow)]
pub struct ProductRow {
    /// Its id.
    pub product_id: i64,
    /// Its name.
    pub title: String,
    /// Whole won in all.
    pub total_amount: i64,
    /// Whole won that are reserved or settled.
    pub current_amount: i64,
    /// Distinct users who have reserved or settled some of it.
    pub invest_users: i64,
    /// The first instant at which it takes invests.
    pub started_at: DateTime<Utc>,
    /// The first instant at which it takes none any more.
    pub finished_at: DateTime<Utc>,
    /// The operator has closed it.
    pub closed: bool,
    /// The operator's, when it is cancelled.
    pub cancel_reason: Option<String>,
    /// It has missed its target.
    pub failed: bool,
    /// Its terms.
    #[sqlx(flatten)]
    pub terms: Terms,
    /// When its status is shown.
    pub now: DateTime<Utc>,
}

/// The terms of a product as the read model has them, amounts in won.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Terms {
    /// The least amount of one invest.
    pub min_invest_amount: Option<i64>,
    /// Every amount is a multiple of this.
    pub invest_amount_unit: Option<i64>,
    /// The most that one user may have of it.
    pub max_amount_per_user: Option<i64>,
    /// With less taken when its window ends, it fails.
    pub target_amount: Option<i64>,
    /// The first instant at which an invest can no longer be withdrawn.
    pub withdrawable_until: Option<DateTime<Utc>>,
}

/// The terms as the contract shows them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TermsItem {
    #[serde(skip_serializing_if = "Option::is_none")]
    min_invest_amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    invest_amount_unit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_amount_per_user: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_amount: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    withdrawable_until: Option<String>,
}

impl Terms {
    /// What is shown of them; `None` where there are none.
    pub fn item(self, time: ServiceTime) -> Option<TermsItem> {
        (self != Self::default()).then(|| TermsItem {
            min_invest_amount: self.min_invest_amount,
            invest_amount_unit: self.invest_amount_unit,
            max_amount_per_user: self.max_amount_per_user,
            target_amount: self.target_amount,
            withdrawable_until: self.withdrawable_until.map(|until| time.format(until)),
        })
    }
}

/// A product as the contract shows it, in a list.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProductItem<'a> {
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
#[serde(rename_all = "camelCase")]
pub(crate) struct WholeProduct<'a> {
    #[serde(flatten)]
    item: ProductItem<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<TermsItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<&'a str>,
}

impl ProductRow {
    /// Its status at its time: see [`product_status`].
    pub fn status(&self) -> &'static str {
        product_status(self.state(), self.now)
    }

    pub(crate) fn item(&self, time: ServiceTime) -> ProductItem<'_> {
        ProductItem {
            product_id: self.product_id,
            title: &self.title,
            total_investing_amount: self.total_amount,
            current_investing_amount: self.current_amount,
            investing_cnt: self.invest_users,
            started_at: time.format(self.started_at),
            finished_at: time.format(self.finished_at),
            invest_status: self.status(),
        }
    }

    /// With its terms, where it has any, and why it was cancelled, where it was.
    pub(crate) fn whole(&self, time: ServiceTime) -> WholeProduct<'_> {
        let (terms, cancel_reason) = (self.terms.item(time), self.cancel_reason.as_deref());
        WholeProduct {
            item: self.item(time),
            terms,
            cancel_reason,
        }
    }

    /// Whether it is among the products that take invests now.
    pub(crate) fn takes_invests(&self) -> bool {
        !self.has_ended() && (self.started_at..self.finished_at).contains(&self.now)
    }

    /// When its window begins or ends next, unless that changes nothing any more.
    pub(crate) fn next_turn(&self) -> Option<DateTime<Utc>> {
        let turns = [self.started_at, self.finished_at].into_iter();
        turns.filter(|at| !self.has_ended() && *at > self.now).min()
    }

    /// When its window began or ended last.
    pub(crate) fn last_turn(&self) -> Option<DateTime<Utc>> {
        [self.started_at, self.finished_at]
            .into_iter()
            .filter(|at| *at <= self.now)
            .max()
    }

    /// Whether it was ended before its window.
    fn has_ended(&self) -> bool {
        self.closed || self.failed || self.cancel_reason.is_some()
    }

    fn state(&self) -> ProductState {
        ProductState {
            cancelled: self.cancel_reason.is_some(),
            failed: self.failed,
            closed: self.closed,
            started_at: self.started_at,
            finished_at: self.finished_at,
            total_amount: self.total_amount,
            current_amount: self.current_amount,
        }
    }
}
