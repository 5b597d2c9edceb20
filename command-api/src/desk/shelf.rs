//! The products a desk has at hand: committed state, bounded, and what keeps it short to load again.

use domain::ProductId;
use event_log::{Hash, Log, RecordedEvent, VersionedProduct};
use std::collections::HashMap;

/// Products at hand; past that the ones not used for longest go.
const SHELF: usize = 10_000;
/// A snapshot is due when a product's stream has grown by this many events.
const SNAPSHOT_EVERY: i64 = 10_000;

#[derive(Default)]
pub(super) struct Shelf {
    products: HashMap<ProductId, Kept>,
    /// Counts uses, to know what was not used for longest.
    uses: u64,
}

struct Kept {
    loaded: VersionedProduct,
    used: u64,
}

impl Shelf {
    pub(super) fn holds(&mut self, id: ProductId) -> bool {
        self.uses += 1;
        let uses = self.uses;
        self.products.get_mut(&id).map(|kept| kept.used = uses).is_some()
    }

    /// A copy to decide on; unopened when it is not at hand.
    pub(super) fn copy(&self, id: ProductId) -> VersionedProduct {
        self.products.get(&id).map(|kept| kept.loaded.clone()).unwrap_or_default()
    }

    pub(super) fn put(&mut self, id: ProductId, loaded: VersionedProduct) {
        if self.products.len() >= SHELF {
            self.clear_out();
        }
        self.uses += 1;
        self.products.insert(id, Kept { loaded, used: self.uses });
    }

    /// Takes over what a committed batch made of the products.
    pub(super) fn take_over(&mut self, products: HashMap<ProductId, VersionedProduct>) {
        for (id, loaded) in products {
            if let Some(kept) = self.products.get_mut(&id) {
                kept.loaded = loaded;
            }
        }
    }

    /// Takes over what another writer appended.
    pub(super) fn follow(&mut self, event: &RecordedEvent) {
        if let Some(kept) = self.products.get_mut(&event.product_id) {
            kept.loaded.apply(event);
        }
    }

    /// Keeps snapshots of products that have grown enough. In the background: nothing waits for it, and if it fails the
    /// next start reads a longer stream.
    pub(super) fn keep_snapshots(&mut self, log: &Log, committed: &[RecordedEvent]) {
        let last: HashMap<ProductId, (i64, Hash)> =
            committed.iter().map(|event| (event.product_id, (event.sequence, event.hash))).collect();
        for (id, (sequence, hash)) in last {
            let Some(kept) = self.products.get_mut(&id) else { continue };
            if sequence - kept.loaded.snapshot_sequence < SNAPSHOT_EVERY || sequence != kept.loaded.sequence {
                continue;
            }
            kept.loaded.snapshot_sequence = sequence;
            let (log, loaded) = (log.clone(), kept.loaded.clone());
            tokio::spawn(async move {
                if let Err(error) = log.save_snapshot(id, &loaded, &hash).await {
                    tracing::warn!(product = id.get(), %error, "a snapshot was not kept");
                }
            });
        }
    }

    /// Lets the half go that was not used for longest, so that clearing out is rare.
    fn clear_out(&mut self) {
        let mut used: Vec<_> = self.products.values().map(|kept| kept.used).collect();
        used.sort_unstable();
        let median = used.get(used.len() / 2).copied().unwrap_or_default();
        self.products.retain(|_, kept| kept.used > median);
    }
}
