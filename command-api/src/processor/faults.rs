//! The faults of a partition's processor, for the log and for readiness: failing appends, and products that cannot be loaded. Both are
//! retried while no commands come, so that readiness recovers by itself.

use domain::ProductId;
use event_log::{Log, LogError, Partition, RepeatedFault};
use std::collections::BTreeSet;
use std::time::Duration;

/// Appends, or loads, that have failed for so long make the process not ready: less than a command may wait.
const UNREADY_AFTER: Duration = Duration::from_secs(1);
/// Products that are retried by themselves; others are retried when a command asks for them.
const MAX_RETRIED_PRODUCTS: usize = 64;
/// The pause between two retries while no commands come.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The faults of one partition.
pub(super) struct ProcessorFaults {
    pub(super) appends: RepeatedFault,
    loads: RepeatedFault,
    unloaded: BTreeSet<ProductId>,
}

impl ProcessorFaults {
    pub(super) fn new(log: &Log, partition: Partition) -> Self {
        let who = format!("partition {partition}");
        let failing = |what, clause| {
            RepeatedFault::new(what, &who).failing(log.readiness().clause(clause), UNREADY_AFTER)
        };
        Self {
            appends: failing("a batch cannot be written", "append"),
            loads: failing("a product cannot be loaded", "products"),
            unloaded: BTreeSet::new(),
        }
    }

    /// Whether anything is to be retried.
    pub(super) fn is_any(&self) -> bool {
        self.appends.is_failing() || !self.unloaded.is_empty()
    }

    /// A partition whose writes are stopped has a clause of its own.
    pub(super) fn cannot_append(&mut self, error: &LogError) {
        if !matches!(error, LogError::WritesStopped(_)) {
            self.appends.failed(error);
        }
    }

    pub(super) fn cannot_load(&mut self, id: ProductId, error: &LogError) {
        self.loads
            .failed(&format_args!("product {}: {error}", id.get()));
        if self.unloaded.len() < MAX_RETRIED_PRODUCTS {
            self.unloaded.insert(id);
        }
    }

    pub(super) fn loaded(&mut self, id: ProductId) {
        self.unloaded.remove(&id);
        if self.unloaded.is_empty() {
            self.loads.recovered();
        }
    }

    /// The products whose load is to be retried.
    pub(super) fn unloaded(&self) -> Vec<ProductId> {
        self.unloaded.iter().copied().collect()
    }
}
