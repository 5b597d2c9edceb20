//! Comparing what Redis shows with `product_list`, all of it in time, a page after another: a value that somebody forged with
//! its check, or that another fault left behind, is found by nothing else.

use super::follower::{Fault, Follower, STEP};
use super::format::value_of;
use super::hash::Fields;
use super::read::{Product, Shown, read_page};
use super::touched::Touched;
use event_log::Position;
use std::time::Duration;
use tokio::time::Instant;

/// How often a page of each partition is compared.
const EVERY: Duration = Duration::from_secs(2);
/// Products in a page.
const PAGE: i64 = 500;
/// Fields that are no product's.
const OTHER_FIELDS: usize = 1;

/// How far the comparison of one partition is.
pub(super) struct Comparison {
    due: Instant,
    /// The last product that was compared.
    after: i64,
    /// How many were, since the first.
    products: usize,
    /// Where the list of products had changed last at the first page; `None` when it was changing then or since.
    listed: Option<Position>,
}

impl Comparison {
    pub(super) fn new() -> Self {
        Self { due: Instant::now() + EVERY, after: 0, products: 0, listed: None }
    }

    /// Goes on after `page`; says how many products there are when it was the last one, if the list did not change meanwhile.
    fn go_on(&mut self, page: &Shown, listed: Option<Position>) -> Option<usize> {
        if self.after == 0 {
            (self.products, self.listed) = (0, listed);
        }
        self.products += page.products.len();
        self.listed = self.listed.filter(|before| listed == Some(*before));
        let is_last = (page.products.len() as i64) < PAGE;
        self.after = page.products.last().filter(|_| !is_last).map_or(0, |last| last.id);
        (is_last && self.listed.is_some()).then_some(self.products)
    }
}

impl Follower {
    /// Compares the next page, if it is due; says whether Redis shows something else than `product_list`.
    pub(super) async fn differs(&mut self) -> Result<bool, Fault> {
        if Instant::now() < self.comparison.due {
            return Ok(false);
        }
        self.comparison.due = Instant::now() + EVERY;
        let (partitions, after) = (self.log.identity().partitions, self.comparison.after);
        let page = read_page(&self.pool, partitions, self.partition, after, PAGE).await?;
        let ids: Vec<_> = page.products.iter().map(|product| product.id).collect();
        let Some(fields) = self.counters.read(&ids).await? else { return Ok(false) };
        let Some(touched) = self.touched_between(page.position, fields.state.position).await? else { return Ok(false) };
        let is_quiet = touched.listed(touched.end()).is_none();
        let products = self.comparison.go_on(&page, is_quiet.then_some(fields.state.listed));
        let known = page.products.iter().zip(&fields.texts).filter(|(product, _)| !touched.has(product.id));
        let wrong = known.filter(|(product, text)| !self.is_shown(product, text.as_deref(), &fields)).count();
        let is_miscounted = products.is_some_and(|products| fields.count != products + OTHER_FIELDS);
        Ok(wrong > 0 || is_miscounted)
    }

    fn is_shown(&self, product: &Product, text: Option<&str>, fields: &Fields) -> bool {
        let value = text.and_then(|text| value_of(self.counters.key(), &product.id.to_string(), text));
        let Some((counter, position)) = value.and_then(|value| value.rsplit_once(':')) else { return false };
        let is_of_then = position.parse::<Position>().is_ok_and(|position| position <= fields.state.position);
        counter == product.counter() && is_of_then
    }

    /// What changed between two positions, whichever is the first; `None` when that is too much, or cannot be read.
    async fn touched_between(&self, one: Position, other: Position) -> Result<Option<Touched>, Fault> {
        let (first, last) = (one.min(other), one.max(other));
        let mut touched = Touched::after(first);
        if last - first > STEP {
            return Ok(None);
        }
        if last > first {
            self.read_on(&mut touched).await?;
        }
        Ok((touched.end() >= last).then_some(touched))
    }
}
