//! The list of open products, cached in the process until Redis says that it has changed.

use chrono::{DateTime, Utc};
use edge::Paging;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::counters::Counters;
use super::facts::{FactsCache, ProductFacts};
use super::postgres_poller::PolledState;

/// The most products that are listed from memory; with more, PostgreSQL lists them by its index.
const MAX_LISTED_PRODUCTS: usize = 100_000;
/// The wait after a failed load.
const RELOAD_RETRY_DELAY: Duration = Duration::from_secs(1);
/// The position of the last change of a list that was never loaded: none that exists.
const NEVER_CHANGED: i64 = -1;

/// Every product that may be open, as of the last change of each partition's list. Valid as long as Redis names the same
/// positions: they change when a product is opened, closed, cancelled or fails, and nothing else changes the list.
pub(super) struct Catalog {
    lists: Vec<Arc<List>>,
    /// In descending order of ids.
    all: Vec<Arc<ProductFacts>>,
}

/// One partition's products that are open, without those that had finished when it was loaded.
struct List {
    changed_at: i64,
    products: Vec<Arc<ProductFacts>>,
}

impl Catalog {
    fn of(lists: Vec<Arc<List>>) -> Self {
        let mut all: Vec<_> = lists
            .iter()
            .flat_map(|list| &list.products)
            .cloned()
            .collect();
        all.sort_unstable_by_key(|facts| std::cmp::Reverse(facts.product_id));
        Self { lists, all }
    }

    /// Whether its lists are those that changed last at these positions.
    pub(super) fn is_at(&self, changed_at: &[i64]) -> bool {
        self.lists
            .iter()
            .map(|list| list.changed_at)
            .eq(changed_at.iter().copied())
    }

    /// The number of products that are open at a time, and a page of them.
    pub(super) fn open_at(
        &self,
        now: DateTime<Utc>,
        paging: &Paging,
    ) -> (i64, Vec<Arc<ProductFacts>>) {
        let (from, to) = (
            paging.offset(),
            paging.offset().saturating_add(paging.size()),
        );
        let (mut count, mut page) = (0, Vec::new());
        for facts in self
            .all
            .iter()
            .filter(|facts| facts.started_at <= now && now < facts.finished_at)
        {
            if (from..to).contains(&count) {
                page.push(facts.clone());
            }
            count += 1;
        }
        (count, page)
    }
}

/// The cache of the catalog.
pub(super) struct ProductCatalogCache {
    current: RwLock<Arc<Catalog>>,
    /// Held by the reader that loads; has the time of the last failure.
    loading: Arc<Mutex<Option<Instant>>>,
}

/// The single-flight guard: its owner is the one who loads.
pub(super) struct LoadGuard(OwnedMutexGuard<Option<Instant>>);

impl LoadGuard {
    pub(super) fn finish(mut self, well: bool) {
        *self.0 = (!well).then(Instant::now);
    }
}

impl ProductCatalogCache {
    pub(super) fn new(partitions: usize) -> Self {
        let never = Arc::new(List {
            changed_at: NEVER_CHANGED,
            products: Vec::new(),
        });
        let current = RwLock::new(Arc::new(Catalog::of(vec![never; partitions])));
        Self {
            current,
            loading: Arc::default(),
        }
    }

    pub(super) fn current(&self) -> Arc<Catalog> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// `None` while another reader loads, and for a second after a failed load.
    pub(super) fn try_begin_load(&self) -> Option<LoadGuard> {
        let loading = self.loading.clone().try_lock_owned().ok()?;
        let has_just_failed = loading.is_some_and(|failed| failed.elapsed() < RELOAD_RETRY_DELAY);
        (!has_just_failed).then_some(LoadGuard(loading))
    }

    /// Loads the lists that have changed since they were loaded, without finished products if the time is known. `None` when
    /// that fails, or when Redis was written by a writer that is not trusted.
    pub(super) async fn renew(
        &self,
        changed_at: &[i64],
        counters: &Counters,
        facts: &FactsCache,
        polled: &PolledState,
    ) -> Option<()> {
        let now = polled.now();
        let mut lists = self.current().lists.clone();
        for (partition, (list, changed_at)) in lists.iter_mut().zip(changed_at).enumerate() {
            if list.changed_at != *changed_at {
                // It may have changed again: the position comes with the list.
                let (state, products) = counters.list(partition).await?;
                if !polled.trusts(partition, &state) {
                    return None;
                }
                let changed_at = state.listed;
                let mut products = facts.of_all(&products).await?;
                products.retain(|facts| now.is_none_or(|now| now < facts.finished_at));
                *list = Arc::new(List {
                    changed_at,
                    products,
                });
            }
        }
        let count: usize = lists.iter().map(|list| list.products.len()).sum();
        if count > MAX_LISTED_PRODUCTS {
            return None;
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Arc::new(Catalog::of(lists));
        Some(())
    }
}
