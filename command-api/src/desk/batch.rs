//! Deciding a batch: one order after another, each on what the ones before it left, on copies.

use super::Waiting;
use super::order::{Answer, Key, Order, Verdict};
use super::shelf::Shelf;
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use domain::{InvestId, Product, ProductCommand, ProductEvent, ProductId, Refusal};
use event_log::{Batch, IdempotencyRecord, NewEvent, Partition, Position, VersionedProduct};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// A batch that is decided and not yet committed.
#[derive(Default)]
pub(super) struct Decided {
    pub(super) batch: Batch,
    /// One for each order; [`Err`] where its key was used in this batch for something else.
    pub(super) verdicts: Vec<Result<Verdict, super::NoVerdict>>,
    /// The products as they are after the batch.
    pub(super) products: HashMap<ProductId, VersionedProduct>,
    by_key: HashMap<(String, String), usize>,
}

/// What a batch is decided with.
pub(super) struct Terms {
    pub(super) partition: Partition,
    pub(super) head: Position,
    pub(super) at: DateTime<Utc>,
    pub(super) reservation: TimeDelta,
}

/// An answer as it is stored with its key.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stored {
    answer: Answer,
    product_id: ProductId,
    invest_id: Option<InvestId>,
    partition: Partition,
    position: Position,
}

impl Decided {
    /// Decides what waits on what is on the shelf. A product that is not there does not exist.
    pub(super) async fn decide(waiting: &[Waiting], shelf: &Shelf, terms: &Terms) -> Self {
        let mut decided = Self::default();
        for Waiting { order, .. } in waiting {
            let verdict = match decided.twin(order) {
                Some(twin) => twin,
                None => Ok(decided.one(order, shelf, terms).await),
            };
            decided.verdicts.push(verdict);
        }
        decided
    }

    /// What an earlier order of this batch with the same key was told.
    fn twin(&self, order: &Order) -> Option<Result<Verdict, super::NoVerdict>> {
        let key = order.key.as_ref()?;
        let index = *self.by_key.get(&(key.owner.clone(), key.key.clone()))?;
        let claim = self.batch.keys.get(index)?;
        Some(repeated(key, &claim.fingerprint, &claim.answer))
    }

    async fn one(&mut self, order: &Order, shelf: &Shelf, terms: &Terms) -> Verdict {
        let loaded = self.products.entry(order.product_id).or_insert_with(|| shelf.copy(order.product_id));
        let command = order.request.command(order.product_id, terms.at, terms.reservation);
        let answer = match handle(&mut loaded.product, command).await {
            Ok(events) => {
                for event in events {
                    loaded.sequence += 1;
                    let (product_id, sequence, metadata) = (order.product_id, loaded.sequence, order.metadata.clone());
                    self.batch.events.push(NewEvent { product_id, sequence, event, metadata });
                }
                Answer::Accepted
            }
            Err(refusal) => refusal.into(),
        };
        let verdict = Verdict {
            answer,
            product_id: order.product_id,
            invest_id: order.request.invest_id(),
            position: (terms.partition, terms.head + self.batch.events.len() as Position),
            replayed: false,
        };
        self.claim(order, &verdict);
        verdict
    }

    fn claim(&mut self, order: &Order, verdict: &Verdict) {
        let Some(key) = order.key.as_ref().filter(|_| verdict.answer.is_final()) else { return };
        self.by_key.insert((key.owner.clone(), key.key.clone()), self.batch.keys.len());
        self.batch.keys.push(IdempotencyRecord {
            user_id: key.owner.clone(),
            key: key.key.clone(),
            fingerprint: key.fingerprint.clone(),
            answer: stored(verdict),
        });
    }
}

async fn handle(product: &mut Product, command: ProductCommand) -> Result<Vec<ProductEvent>, Refusal> {
    let sink = EventSink::default();
    product.handle(command, &(), &sink).await?;
    Ok(sink.collect().await)
}

fn stored(verdict: &Verdict) -> String {
    let (partition, position) = verdict.position;
    let Verdict { answer, product_id, invest_id, .. } = *verdict;
    let stored = Stored { answer, product_id, invest_id, partition, position };
    // Numbers, a uuid and unit-like variants: there is nothing in it that JSON cannot say.
    serde_json::to_string(&stored).unwrap_or_default()
}

/// The answer that was stored for `key`, given again; or that the key stood for something else.
pub(super) fn repeated(key: &Key, fingerprint: &str, answer: &str) -> Result<Verdict, super::NoVerdict> {
    if key.fingerprint != fingerprint {
        return Err(super::NoVerdict::KeyReused);
    }
    let stored: Stored = serde_json::from_str(answer).map_err(|error| {
        tracing::error!(%error, "a stored answer cannot be read");
        super::NoVerdict::Broken
    })?;
    let Stored { answer, product_id, invest_id, partition, position } = stored;
    Ok(Verdict { answer, product_id, invest_id, position: (partition, position), replayed: true })
}
