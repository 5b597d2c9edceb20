//! The read models by their definition, folded from events.

use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

use super::{Event, Fact};

#[derive(Clone)]
pub struct Product {
    pub title: String,
    pub total: i64,
    pub started_at: DateTime<Utc>,
    pub finished_at: DateTime<Utc>,
    /// As the log has them; null without any.
    pub terms: Value,
    pub closed: bool,
    pub cancel_reason: Option<String>,
    /// It missed its target.
    pub failed: bool,
    pub taken: i64,
}

#[derive(Clone)]
pub struct Holding {
    pub amount: i64,
    pub since: DateTime<Utc>,
}

/// What a user has reserved + settled in a product, and how often.
#[derive(Clone, Default)]
pub struct Share {
    pub taken: i64,
    pub invests: i64,
}

/// What became of a user's invests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub products: usize,
    pub settled: i64,
    pub reserved: i64,
    pub failed: usize,
    pub first: Option<DateTime<Utc>>,
    pub last: Option<DateTime<Utc>>,
}

#[derive(Clone)]
pub struct Invest {
    pub product: i64,
    pub user: String,
    pub amount: i64,
    pub state: &'static str,
    pub failure: Option<(String, String)>,
    pub accrued_user: i64,
    pub accrued_product: i64,
    pub requested_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

#[derive(Clone, Default)]
pub struct Fold {
    pub products: BTreeMap<i64, Product>,
    /// By user and product.
    pub shares: BTreeMap<(String, i64), Share>,
    /// By user and product.
    pub holdings: BTreeMap<(String, i64), Holding>,
    pub invests: BTreeMap<Uuid, Invest>,
}

impl Fold {
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Self {
        let mut fold = Self::default();
        events.into_iter().for_each(|event| fold.follow(event));
        fold
    }

    fn follow(&mut self, event: &Event) {
        let (id, at) = (event.product, event.recorded_at);
        match event.fact.clone() {
            Fact::Opened {
                title,
                total,
                started_at,
                finished_at,
                terms,
            } => {
                let (closed, cancel_reason, failed, taken) = (false, None, false, 0);
                let product = Product {
                    title,
                    total,
                    started_at,
                    finished_at,
                    terms,
                    closed,
                    cancel_reason,
                    failed,
                    taken,
                };
                self.products.insert(id, product);
            }
            Fact::Closed => self.with_product(id, |product| product.closed = true),
            Fact::Cancelled { reason } => {
                self.with_product(id, |product| product.cancel_reason = Some(reason))
            }
            Fact::Missed { .. } => self.with_product(id, |product| product.failed = true),
            Fact::Reserved {
                invest,
                user,
                amount,
            } => self.reserve(event, invest, user, amount),
            Fact::Settled {
                invest,
                user,
                amount,
            } => {
                let holding = self.holdings.entry((user, id)).or_insert(Holding {
                    amount: 0,
                    since: at,
                });
                holding.amount += amount;
                holding.since = at;
                self.end(invest, at, "SETTLED", None);
            }
            Fact::Failed {
                invest,
                user,
                amount,
                code,
                detail,
            } => {
                self.with_product(id, |product| product.taken -= amount);
                self.shares.entry((user, id)).or_default().taken -= amount;
                self.end(invest, at, "FAILED", Some((code, detail)));
            }
            Fact::Withdrawn {
                invest,
                user,
                amount,
                settled,
            } => {
                self.give_back(id, user, amount, settled);
                let why = (
                    "WITHDRAWN".to_owned(),
                    "the user withdrew the invest".to_owned(),
                );
                self.end(invest, at, "WITHDRAWN", Some(why));
            }
            Fact::Refunded {
                invest,
                user,
                amount,
                code,
            } if code != "WITHDRAWN" => {
                self.give_back(id, user, amount, true);
                let detail = match code.as_str() {
                    "CANCELLED" => "the product was cancelled by its operator",
                    _ => "the product missed its target",
                };
                self.end(invest, at, "REFUNDED", Some((code, detail.to_owned())));
            }
            Fact::Refunded { invest, .. } => {
                let why = self
                    .invests
                    .get(&invest)
                    .and_then(|invest| invest.failure.clone());
                self.end(invest, at, "REFUNDED", why);
            }
        }
    }

    /// An amount is free again, of a holding if it was one.
    fn give_back(&mut self, id: i64, user: String, amount: i64, settled: bool) {
        self.with_product(id, |product| product.taken -= amount);
        self.shares.entry((user.clone(), id)).or_default().taken -= amount;
        let key = (user, id);
        if let Some(holding) = self.holdings.get_mut(&key).filter(|_| settled) {
            holding.amount -= amount;
            if holding.amount == 0 {
                self.holdings.remove(&key);
            }
        }
    }

    fn with_product(&mut self, id: i64, change: impl FnOnce(&mut Product)) {
        if let Some(product) = self.products.get_mut(&id) {
            change(product);
        }
    }

    fn reserve(&mut self, event: &Event, invest: Uuid, user: String, amount: i64) {
        let share = self
            .shares
            .entry((user.clone(), event.product))
            .or_default();
        share.taken += amount;
        share.invests += 1;
        let accrued_user = share.taken;
        let Some(product) = self.products.get_mut(&event.product) else {
            return;
        };
        product.taken += amount;
        let row = Invest {
            product: event.product,
            user,
            amount,
            state: "RESERVED",
            failure: None,
            accrued_user,
            accrued_product: product.taken,
            requested_at: event.recorded_at,
            updated_at: event.recorded_at,
        };
        self.invests.insert(invest, row);
    }

    fn end(
        &mut self,
        invest: Uuid,
        at: DateTime<Utc>,
        state: &'static str,
        failure: Option<(String, String)>,
    ) {
        if let Some(invest) = self.invests.get_mut(&invest) {
            (invest.state, invest.failure, invest.updated_at) = (state, failure, at);
        }
    }

    /// Users with anything taken in the product.
    pub fn users_in(&self, product: i64) -> usize {
        self.shares
            .iter()
            .filter(|((_, id), share)| *id == product && share.taken > 0)
            .count()
    }
}

impl Summary {
    pub fn of<'a>(invests: impl IntoIterator<Item = &'a Invest>) -> Self {
        let invests: Vec<_> = invests.into_iter().collect();
        let in_state =
            |state: &'static str| invests.iter().filter(move |invest| invest.state == state);
        let standing = in_state("SETTLED")
            .chain(in_state("RESERVED"))
            .map(|invest| invest.product);
        Self {
            products: standing.collect::<BTreeSet<_>>().len(),
            settled: in_state("SETTLED").map(|invest| invest.amount).sum(),
            reserved: in_state("RESERVED").map(|invest| invest.amount).sum(),
            failed: in_state("FAILED").count(),
            first: invests.iter().map(|invest| invest.requested_at).min(),
            last: invests.iter().map(|invest| invest.requested_at).max(),
        }
    }
}
