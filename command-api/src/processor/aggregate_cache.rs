//! The aggregate cache of a partition processor: products as committed, bounded, with snapshots that keep their loads short.

use connection_pool::outage::POSTGRESQL;
use domain::ProductId;
use event_log::{Hash, Log, RecordedEvent, VersionedProduct};
use std::collections::HashMap;

/// Products that are cached; past that, the least recently used half is evicted.
const MAX_CACHED_PRODUCTS: usize = 10_000;
/// Events after which a product's next snapshot is saved, at least.
const SNAPSHOT_INTERVAL_EVENTS: i64 = 10_000;
/// A snapshot grows with the users whose sums it holds, so it is saved less often: the interval is an event for so many of them. With a
/// million users, of 15 MB, that is every 100,000 events.
const LIMITED_USERS_PER_INTERVAL_EVENT: usize = 10;

#[derive(Default)]
pub(super) struct AggregateCache {
    products: HashMap<ProductId, CachedProduct>,
    /// Counts uses, to find the least recently used.
    uses: u64,
}

struct CachedProduct {
    product: VersionedProduct,
    used: u64,
}

impl AggregateCache {
    /// Marks the product as used; false when it is not cached.
    pub(super) fn touch(&mut self, id: ProductId) -> bool {
        self.uses += 1;
        let uses = self.uses;
        self.products
            .get_mut(&id)
            .map(|cached| cached.used = uses)
            .is_some()
    }

    /// A copy to decide on; unopened when it is not cached.
    pub(super) fn copy(&self, id: ProductId) -> VersionedProduct {
        self.products
            .get(&id)
            .map(|cached| cached.product.clone())
            .unwrap_or_default()
    }

    pub(super) fn insert(&mut self, id: ProductId, product: VersionedProduct) {
        if self.products.len() >= MAX_CACHED_PRODUCTS {
            self.evict_oldest();
        }
        self.uses += 1;
        self.products.insert(
            id,
            CachedProduct {
                product,
                used: self.uses,
            },
        );
    }

    /// Replaces products by their state after a committed batch.
    pub(super) fn commit(&mut self, products: HashMap<ProductId, VersionedProduct>) {
        for (id, product) in products {
            if let Some(cached) = self.products.get_mut(&id) {
                cached.product = product;
            }
        }
    }

    /// Applies an event of another writer.
    pub(super) fn apply(&mut self, event: &RecordedEvent) {
        if let Some(cached) = self.products.get_mut(&event.product_id) {
            cached.product.apply(event);
        }
    }

    /// Saves snapshots of products that have grown enough, in the background. Nothing waits for it, and if it fails the next load
    /// reads a longer stream.
    pub(super) fn save_snapshots(&mut self, log: &Log, committed: &[RecordedEvent]) {
        let last: HashMap<ProductId, (i64, Hash)> = committed
            .iter()
            .map(|event| (event.product_id, (event.sequence, event.hash)))
            .collect();
        for (id, (sequence, hash)) in last {
            let Some(cached) = self.products.get_mut(&id) else {
                continue;
            };
            let interval = snapshot_interval(cached.product.product.limited_users());
            if sequence - cached.product.snapshot_sequence < interval
                || sequence != cached.product.sequence
            {
                continue;
            }
            cached.product.snapshot_sequence = sequence;
            let (log, product) = (log.clone(), cached.product.clone());
            tokio::spawn(async move {
                if let Err(error) = log.save_snapshot(id, &product, &hash).await
                    && !POSTGRESQL.explains_failures()
                {
                    tracing::warn!(product = id.get(), %error, "a snapshot was not saved");
                }
            });
        }
    }

    /// Evicts the least recently used half, so that evictions are rare.
    fn evict_oldest(&mut self) {
        let mut used: Vec<_> = self.products.values().map(|cached| cached.used).collect();
        used.sort_unstable();
        let median = used.get(used.len() / 2).copied().unwrap_or_default();
        self.products.retain(|_, cached| cached.used > median);
    }
}

/// Events between two snapshots of a product whose state holds so many users' sums.
fn snapshot_interval(limited_users: usize) -> i64 {
    SNAPSHOT_INTERVAL_EVENTS.max((limited_users / LIMITED_USERS_PER_INTERVAL_EVENT) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_state_is_saved_less_often() {
        let intervals = [0, 100_000, 100_010, 1_000_000].map(snapshot_interval);
        assert_eq!(intervals, [10_000, 10_000, 10_001, 100_000]);
    }
}
