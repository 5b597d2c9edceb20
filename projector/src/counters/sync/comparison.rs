//! Compares the counters in Redis with `product_list`, page by page, all of them in time. Nothing else finds a value that
//! somebody forged together with its check, or that a fault left behind.

use super::{CounterSync, MAX_EVENTS_PER_READ, SyncError};
use crate::counters::changes::Changes;
use crate::counters::format::value_of;
use crate::counters::hash::Fields;
use crate::counters::read::{Product, ProductSnapshot, read_page};
use event_log::Position;
use std::time::Duration;
use tokio::time::Instant;

/// How often a page of each partition is compared.
const COMPARE_INTERVAL: Duration = Duration::from_secs(2);
/// Products in a page.
const PRODUCTS_PER_PAGE: i64 = 500;
/// Fields that do not belong to a product.
const OTHER_FIELDS: usize = 1;

/// How far the comparison of one partition is.
pub(super) struct Comparison {
    due: Instant,
    /// The last product that was compared.
    after: i64,
    /// How many products were compared since the first page.
    products: usize,
    /// The last change of the list of products as of the first page; `None` when it has changed since then.
    listed: Option<Position>,
}

impl Comparison {
    pub(super) fn new() -> Self {
        Self {
            due: Instant::now() + COMPARE_INTERVAL,
            after: 0,
            products: 0,
            listed: None,
        }
    }

    /// Continues after `page`. After the last page it returns the number of products, if the list did not change meanwhile.
    fn next_page(&mut self, page: &ProductSnapshot, listed: Option<Position>) -> Option<usize> {
        if self.after == 0 {
            (self.products, self.listed) = (0, listed);
        }
        self.products += page.products.len();
        self.listed = self.listed.filter(|before| listed == Some(*before));
        let is_last = (page.products.len() as i64) < PRODUCTS_PER_PAGE;
        self.after = page
            .products
            .last()
            .filter(|_| !is_last)
            .map_or(0, |last| last.id);
        (is_last && self.listed.is_some()).then_some(self.products)
    }
}

impl CounterSync {
    /// Compares the next page, if it is due; returns whether Redis differs from `product_list`.
    pub(super) async fn differs(&mut self) -> Result<bool, SyncError> {
        if Instant::now() < self.comparison.due {
            return Ok(false);
        }
        self.comparison.due = Instant::now() + COMPARE_INTERVAL;
        let (partitions, after) = (self.log.identity().partitions, self.comparison.after);
        let page = read_page(
            &self.pool,
            partitions,
            self.partition,
            after,
            PRODUCTS_PER_PAGE,
        )
        .await?;
        let ids: Vec<_> = page.products.iter().map(|product| product.id).collect();
        let Some(fields) = self.counters.read(&ids).await? else {
            return Ok(false);
        };
        let Some(changes) = self
            .changes_between(page.position, fields.state.position)
            .await?
        else {
            return Ok(false);
        };
        let is_quiet = changes.listed(changes.end()).is_none();
        let products = self
            .comparison
            .next_page(&page, is_quiet.then_some(fields.state.listed));
        let known = page
            .products
            .iter()
            .zip(&fields.texts)
            .filter(|(product, _)| !changes.has(product.id));
        let wrong = known
            .filter(|(product, text)| !self.is_shown(product, text.as_deref(), &fields))
            .count();
        let is_miscounted =
            products.is_some_and(|products| fields.count != products + OTHER_FIELDS);
        Ok(wrong > 0 || is_miscounted)
    }

    fn is_shown(&self, product: &Product, text: Option<&str>, fields: &Fields) -> bool {
        let value =
            text.and_then(|text| value_of(self.counters.key(), &product.id.to_string(), text));
        let Some((counter, position)) = value.and_then(|value| value.rsplit_once(':')) else {
            return false;
        };
        let is_of_then = position
            .parse::<Position>()
            .is_ok_and(|position| position <= fields.state.position);
        counter == product.counter() && is_of_then
    }

    /// The changes between two positions, in either order; `None` when they are too many, or cannot be read.
    async fn changes_between(
        &self,
        one: Position,
        other: Position,
    ) -> Result<Option<Changes>, SyncError> {
        let (first, last) = (one.min(other), one.max(other));
        let mut changes = Changes::after(first);
        if last - first > MAX_EVENTS_PER_READ {
            return Ok(None);
        }
        if last > first {
            self.read_until(&mut changes, last).await?;
        }
        Ok((changes.end() >= last).then_some(changes))
    }
}
