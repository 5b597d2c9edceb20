//! Loads products that are not cached, in the background, while their commands wait.

use super::*;

/// Loads at the same time; other products wait.
const MAX_CONCURRENT_LOADS: usize = 4;
/// Products that are loaded together.
const MAX_PRODUCTS_PER_LOAD: usize = 64;
/// Commands that may wait for their product to be loaded; one more is rejected as overloaded.
pub(super) const MAX_COMMANDS_AWAITING_LOAD: usize = 2_048;

pub(super) type Loaded = Vec<(ProductId, Result<VersionedProduct, LogError>)>;
pub(super) type Loads = JoinSet<Loaded>;

/// A product that is being loaded, or is about to be.
#[derive(Default)]
pub(super) struct PendingLoad {
    pub(super) commands: Vec<PendingCommand>,
    /// How many of them came before the load began: for later ones it may have read too early.
    pub(super) requested_before_load: usize,
    /// Events of other writers since the load began.
    pub(super) events_since_load: Vec<RecordedEvent>,
}

/// A load that panicked ends the processor: its product would wait for it for ever.
pub(super) fn resume_panic(error: JoinError) -> Loaded {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Vec::new(),
    }
}

impl PartitionProcessor {
    pub(super) fn wait_for_load(&mut self, id: ProductId, command: PendingCommand) {
        self.commands_awaiting_load += 1;
        let queued_loads = &mut self.queued_loads;
        let load = self.pending_loads.entry(id).or_insert_with(|| {
            queued_loads.push_back(id);
            PendingLoad::default()
        });
        load.commands.push(command);
    }

    pub(super) fn start_loads(&mut self) {
        while self.loads.len() < MAX_CONCURRENT_LOADS && !self.queued_loads.is_empty() {
            let ids: Vec<_> = self
                .queued_loads
                .drain(..self.queued_loads.len().min(MAX_PRODUCTS_PER_LOAD))
                .collect();
            for id in &ids {
                if let Some(load) = self.pending_loads.get_mut(id) {
                    load.requested_before_load = load.commands.len();
                }
            }
            let log = self.log.clone();
            self.loads.spawn(async move {
                let loaded = log.load_products(&ids).await;
                ids.into_iter().zip(loaded).collect()
            });
        }
    }

    /// Commands time out however long their product's load takes. The load goes on: a long stream would otherwise never be loaded.
    pub(super) fn reject_timed_out_awaiting_load(&mut self) {
        for load in self.pending_loads.values_mut() {
            let mut later = load
                .commands
                .split_off(load.requested_before_load.min(load.commands.len()));
            reject_timed_out(&mut load.commands);
            load.requested_before_load = load.commands.len();
            reject_timed_out(&mut later);
            load.commands.append(&mut later);
        }
        self.commands_awaiting_load = self
            .pending_loads
            .values()
            .map(|load| load.commands.len())
            .sum();
    }

    /// Loads have ended. The commands of all their products make one batch: each by itself would wait for a commit of its own.
    pub(super) async fn all_loaded(&mut self, loaded: Loaded) -> Vec<PendingCommand> {
        let mut pending = Vec::new();
        for (id, loaded) in loaded {
            pending.append(&mut self.loaded(id, loaded).await);
        }
        pending
    }

    /// A load has ended: the commands that waited for it can be decided, or are rejected.
    async fn loaded(
        &mut self,
        id: ProductId,
        loaded: Result<VersionedProduct, LogError>,
    ) -> Vec<PendingCommand> {
        let load = self.pending_loads.remove(&id).unwrap_or_default();
        self.commands_awaiting_load -= load.commands.len();
        self.start_loads();
        match loaded {
            Ok(mut product) => {
                self.faults.loaded(id);
                load.events_since_load
                    .iter()
                    .for_each(|event| product.apply(event));
                self.cache_loaded(id, product, load.commands, load.requested_before_load)
                    .await
            }
            Err(error) => {
                self.faults.cannot_load(id, &error);
                let is_broken = matches!(error, LogError::Broken { .. });
                let error = if is_broken {
                    CommandError::Broken
                } else {
                    CommandError::Overloaded
                };
                load.commands
                    .into_iter()
                    .for_each(|command| reject(command, error));
                Vec::new()
            }
        }
    }

    /// Caches a product that exists, or is about to. For one that does not, the commands from before the load are refused.
    async fn cache_loaded(
        &mut self,
        id: ProductId,
        product: VersionedProduct,
        mut commands: Vec<PendingCommand>,
        requested_before_load: usize,
    ) -> Vec<PendingCommand> {
        if product.product.is_opened()
            || commands
                .iter()
                .any(|command| command.envelope.command.opens_product())
        {
            self.cache.insert(id, product);
            return commands;
        }
        let later = commands.split_off(requested_before_load.min(commands.len()));
        later
            .into_iter()
            .for_each(|command| self.wait_for_load(id, command));
        self.start_loads();
        let position = (self.log.partition_of(id), self.writer.position());
        let refused = |command: &PendingCommand| CommandOutcome {
            decision: Err(Refusal::NotExist),
            product_id: id,
            invest_id: command.envelope.invest_id(),
            position,
            replayed: false,
        };
        let outcomes = commands
            .iter()
            .map(|command| Ok(refused(command)))
            .collect();
        self.responder(self.writer.now())
            .respond_all(&mut commands, outcomes)
            .await;
        Vec::new()
    }
}
