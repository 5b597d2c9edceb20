//! Decides a batch: one command after another, each on what the ones before it left, on copy-on-write state.

use super::PendingCommand;
use super::aggregate_cache::AggregateCache;
use crate::command_envelope::CommandEnvelope;
use crate::command_outcome::{CommandError, CommandOutcome};
use crate::idempotency::Replays;
use crate::refusal_budget::RefusalBudget;
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use domain::{Product, ProductCommand, ProductEvent, ProductId, Refusal};
use event_log::{Batch, NewEvent, Partition, Position, VersionedProduct};
use std::collections::HashMap;
use std::sync::Arc;

/// A batch that is decided and not yet committed.
pub(super) struct DecidedBatch {
    pub(super) batch: Batch,
    /// One for each command, in order; an error where an earlier command of the batch used its key for another request.
    pub(super) outcomes: Vec<Result<CommandOutcome, CommandError>>,
    /// The products as they are after the batch.
    pub(super) products: HashMap<ProductId, VersionedProduct>,
}

/// What a batch is decided with.
pub(super) struct DecisionContext {
    pub(super) partition: Partition,
    pub(super) head: Position,
    pub(super) at: DateTime<Utc>,
    pub(super) reservation: TimeDelta,
    pub(super) keyed_refusals: Arc<RefusalBudget>,
}

/// A batch that is being decided.
struct Decisions<'a> {
    context: &'a DecisionContext,
    cache: &'a AggregateCache,
    products: HashMap<ProductId, VersionedProduct>,
    events: Vec<NewEvent>,
    /// The keys of the batch's own commands: a repeat within the batch is replayed, too.
    keys: Replays,
}

impl DecidedBatch {
    /// Decides the commands on the cached products. A product that is not cached does not exist.
    pub(super) async fn decide(
        commands: &[PendingCommand],
        cache: &AggregateCache,
        context: &DecisionContext,
    ) -> Self {
        let (products, events, keys) = (HashMap::new(), Vec::new(), Replays::default());
        let mut decisions = Decisions {
            context,
            cache,
            products,
            events,
            keys,
        };
        let mut outcomes = Vec::with_capacity(commands.len());
        for PendingCommand { envelope, .. } in commands {
            outcomes.push(match decisions.keys.replay(envelope.key.as_ref()) {
                Some(replayed) => replayed,
                None => decisions.decide_one(envelope).await,
            });
        }
        let batch = Batch {
            events: decisions.events,
            keys: decisions.keys.into_records(),
        };
        Self {
            batch,
            outcomes,
            products: decisions.products,
        }
    }
}

impl Decisions<'_> {
    async fn decide_one(
        &mut self,
        envelope: &CommandEnvelope,
    ) -> Result<CommandOutcome, CommandError> {
        let (context, product_id) = (self.context, envelope.product_id);
        let loaded = self
            .products
            .entry(product_id)
            .or_insert_with(|| self.cache.copy(product_id));
        let command = envelope.command.at(context.at, context.reservation);
        let decided = handle(&mut loaded.product, command).await;
        let decision = decided.map(|events| {
            for event in events {
                loaded.sequence += 1;
                let (sequence, metadata) = (loaded.sequence, envelope.metadata.clone());
                self.events.push(NewEvent {
                    product_id,
                    sequence,
                    event,
                    metadata,
                });
            }
        });
        let position = (
            context.partition,
            context.head + self.events.len() as Position,
        );
        let invest_id = envelope.invest_id();
        let outcome = CommandOutcome {
            decision,
            product_id,
            invest_id,
            position,
            replayed: false,
        };
        if let Some(record) = envelope.key.as_ref().and_then(|key| key.record(&outcome)) {
            if outcome.decision.is_err() {
                self.may_store_refusal(&record.user_id)?;
            }
            self.keys.insert(record);
        }
        Ok(outcome)
    }

    /// Whether one more refusal may be stored with a key of this owner's. What was stored before is replayed in any case.
    fn may_store_refusal(&self, owner: &str) -> Result<(), CommandError> {
        self.context.keyed_refusals.take(owner).map_err(|over| {
            metrics::counter!("moa_http_requests_limited_total", "limit" => "keyed refusals")
                .increment(1);
            CommandError::TooManyRefusals(over)
        })
    }
}

async fn handle(
    product: &mut Product,
    command: ProductCommand,
) -> Result<Vec<ProductEvent>, Refusal> {
    let sink = EventSink::default();
    product.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}
