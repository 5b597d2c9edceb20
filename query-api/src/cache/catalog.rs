//! Which products there are to list, kept in the process until Redis says that the list has changed.

use chrono::{DateTime, Utc};
use edge::Paging;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::counters::Counters;
use super::facts::{Facts, FactsCache};
use super::look::Looked;

/// How many products may be listed from memory; with more of them, PostgreSQL and its index do it.
const LISTED: usize = 100_000;
/// How long to leave it after it could not be loaded.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// The list of a partition that was never loaded has changed at no position there is.
const NEVER: i64 = -1;

/// Every product that may be open, at the state in which each partition's list was last changed. It holds good for as
/// long as Redis names the same positions: what is opened or closed changes them, and nothing else changes the list.
pub(super) struct Catalog {
    lists: Vec<Arc<List>>,
    /// Newest id first.
    all: Vec<Arc<Facts>>,
}

/// One partition's products that are not closed, without those whose window was over when it was loaded.
struct List {
    changed_at: i64,
    products: Vec<Arc<Facts>>,
}

impl Catalog {
    fn of(lists: Vec<Arc<List>>) -> Self {
        let mut all: Vec<_> = lists.iter().flat_map(|list| &list.products).cloned().collect();
        all.sort_unstable_by_key(|facts| std::cmp::Reverse(facts.product_id));
        Self { lists, all }
    }

    /// Whether this is how the lists are that changed last at these positions.
    pub(super) fn is_at(&self, changed_at: &[i64]) -> bool {
        self.lists.iter().map(|list| list.changed_at).eq(changed_at.iter().copied())
    }

    /// How many products are open at a time, and a page of them.
    pub(super) fn open_at(&self, now: DateTime<Utc>, paging: &Paging) -> (i64, Vec<Arc<Facts>>) {
        let (from, to) = (paging.offset(), paging.offset().saturating_add(paging.size()));
        let (mut count, mut page) = (0, Vec::new());
        for facts in self.all.iter().filter(|facts| facts.started_at <= now && now < facts.finished_at) {
            if (from..to).contains(&count) {
                page.push(facts.clone());
            }
            count += 1;
        }
        (count, page)
    }
}

/// Where the catalog is kept.
pub(super) struct Shelf {
    current: RwLock<Arc<Catalog>>,
    /// Held by the one who loads; when that last failed.
    turn: Arc<Mutex<Option<Instant>>>,
}

/// Being the one who loads.
pub(super) struct Turn(OwnedMutexGuard<Option<Instant>>);

impl Turn {
    pub(super) fn end(mut self, well: bool) {
        *self.0 = (!well).then(Instant::now);
    }
}

impl Shelf {
    pub(super) fn new(partitions: usize) -> Self {
        let never = Arc::new(List { changed_at: NEVER, products: Vec::new() });
        let current = RwLock::new(Arc::new(Catalog::of(vec![never; partitions])));
        Self { current, turn: Arc::default() }
    }

    pub(super) fn current(&self) -> Arc<Catalog> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `None` while another loads, and for a second after it failed.
    pub(super) fn take_turn(&self) -> Option<Turn> {
        let turn = self.turn.clone().try_lock_owned().ok()?;
        let has_just_failed = turn.is_some_and(|failed| failed.elapsed() < LEFT_ALONE);
        (!has_just_failed).then_some(Turn(turn))
    }

    /// Loads the lists that are not those of `changed_at`; without those whose window is over, if it is known what time
    /// it is. `None` when that cannot be done, or what is there is of a writer that is not trusted.
    pub(super) async fn renew(
        &self,
        changed_at: &[i64],
        counters: &Counters,
        facts: &FactsCache,
        looked: &Looked,
    ) -> Option<()> {
        let now = looked.now();
        let mut lists = self.current().lists.clone();
        for (partition, (list, changed_at)) in lists.iter_mut().zip(changed_at).enumerate() {
            if list.changed_at != *changed_at {
                // It may have changed once more; then this is how it is now.
                let (state, products) = counters.list(partition).await?;
                if !looked.trusts(partition, &state) {
                    return None;
                }
                let changed_at = state.listed;
                let mut products = facts.of_all(&products).await?;
                products.retain(|facts| now.is_none_or(|now| now < facts.finished_at));
                *list = Arc::new(List { changed_at, products });
            }
        }
        let count: usize = lists.iter().map(|list| list.products.len()).sum();
        if count > LISTED {
            return None;
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Catalog::of(lists));
        Some(())
    }
}
