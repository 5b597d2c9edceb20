//! What a partition's processor cannot do now, for the log and for readiness: appends that fail, and products that cannot be
//! loaded. Both are tried again while nobody asks, so that readiness comes back by itself.

use domain::ProductId;
use event_log::{Log, LogError, Partition, RepeatedFault};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long appends, or loads, may fail until the process is not ready: below what a command may wait.
const FAILURE_BOUND: Duration = Duration::from_secs(1);
/// Products that are known not to load, at most; what is beyond is known again when somebody asks for it.
const MAX_UNLOADED: usize = 64;
/// The pause between two tries while nobody asks.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The troubles of one partition.
pub(super) struct Trouble {
    pub(super) appends: RepeatedFault,
    loads: RepeatedFault,
    unloaded: BTreeSet<ProductId>,
}

impl Trouble {
    pub(super) fn of(log: &Log, partition: Partition) -> Self {
        let who = format!("partition {partition}");
        let failing =
            |what, clause| RepeatedFault::new(what, &who).failing(log.readiness().clause(clause), FAILURE_BOUND);
        Self {
            appends: failing("a batch cannot be written", "append"),
            loads: failing("a product cannot be loaded", "products"),
            unloaded: BTreeSet::new(),
        }
    }

    /// Whether something is to be tried again while nobody asks.
    pub(super) fn is_there(&self) -> bool {
        self.appends.is_failing() || !self.unloaded.is_empty()
    }

    /// A partition that takes no writes says so by a clause of its own.
    pub(super) fn cannot_append(&mut self, error: &LogError) {
        if !matches!(error, LogError::WritesStopped(_)) {
            self.appends.failed(error);
        }
    }

    pub(super) fn cannot_load(&mut self, id: ProductId, error: &LogError) {
        self.loads.failed(&format_args!("product {}: {error}", id.get()));
        if self.unloaded.len() < MAX_UNLOADED {
            self.unloaded.insert(id);
        }
    }

    pub(super) fn has_loaded(&mut self, id: ProductId) {
        self.unloaded.remove(&id);
        if self.unloaded.is_empty() {
            self.loads.recovered();
        }
    }

    /// The products that are to be tried again.
    pub(super) fn unloaded(&self) -> Vec<ProductId> {
        self.unloaded.iter().copied().collect()
    }
}
