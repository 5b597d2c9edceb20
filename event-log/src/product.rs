//! Loads products (aggregates) from their streams, with snapshots that keep the loads short.
//!
//! A snapshot is a cache of its stream: it is used only if this code version wrote it and the log has the same hash at its sequence.

use crate::ids::Hash;
use crate::read::stream_page;
use crate::{Log, LogError, RecordedEvent};
use connection_pool::Pool;
use cqrs_es::Aggregate;
use domain::{Product, ProductId};
use std::time::Duration;

/// Changes with every change of [`Product`]'s state or of how events apply to it; snapshots of other versions are ignored.
const SNAPSHOT_CODE_VERSION: &str = "1";
/// Events that one read of a stream returns.
const STREAM_PAGE_EVENTS: i64 = 2_000;
/// Bounds each query of a load, which is then retried once on a fresh connection: commands wait 2 s for it.
const LOAD_TIMEOUT: Duration = Duration::from_millis(1_500);

/// A product as of a sequence of its stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionedProduct {
    /// The state; [`Product::is_opened`] is false when there is no such stream.
    pub product: Product,
    /// The sequence of the last event that is applied.
    pub sequence: i64,
    /// The sequence of the snapshot that it was loaded from; 0 without one. Every load reads what lies between.
    pub snapshot_sequence: i64,
}

impl VersionedProduct {
    /// Applies the next event of the stream; one that is applied already is skipped.
    pub fn apply(&mut self, event: &RecordedEvent) {
        if event.sequence == self.sequence + 1 {
            self.product.apply(event.event.clone());
            self.sequence = event.sequence;
        }
    }
}

impl Log {
    /// The product at the end of its stream, from the last good snapshot on. Unopened when there is no such stream.
    pub async fn load_product(&self, id: ProductId) -> Result<VersionedProduct, LogError> {
        let pool = self.reads().clone().with_answer_timeout(LOAD_TIMEOUT);
        let mut loaded = snapshot(&pool, id).await?.unwrap_or_default();
        loop {
            let events = stream_page(&pool, id, loaded.sequence, STREAM_PAGE_EVENTS).await?;
            for event in &events {
                if event.sequence != loaded.sequence + 1 {
                    let (partition, position) = (event.partition, event.position);
                    let reason = format!("its stream has a hole before sequence {}", event.sequence);
                    return Err(LogError::Broken { partition, position, reason });
                }
                loaded.apply(event);
            }
            if (events.len() as i64) < STREAM_PAGE_EVENTS {
                return Ok(loaded);
            }
        }
    }

    /// Saves `loaded` as the product's snapshot, unless there is a later one. `hash` is its last event's.
    pub async fn save_snapshot(&self, id: ProductId, loaded: &VersionedProduct, hash: &Hash) -> Result<(), LogError> {
        let state = serde_json::to_string(&loaded.product).map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        sqlx::query(
            "insert into product_snapshots as kept (product_id, sequence, hash, code_version, state)
             values ($1, $2, $3, $4, $5::json)
             on conflict (product_id) do update
                set sequence = excluded.sequence, hash = excluded.hash, code_version = excluded.code_version,
                    state = excluded.state, taken_at = clock_timestamp()
              where kept.sequence < excluded.sequence or kept.code_version <> excluded.code_version",
        )
        .bind(id.get())
        .bind(loaded.sequence)
        .bind(hash.as_slice())
        .bind(SNAPSHOT_CODE_VERSION)
        .bind(state)
        .execute(self.pool())
        .await?;
        Ok(())
    }
}

async fn snapshot(pool: &Pool, id: ProductId) -> Result<Option<VersionedProduct>, LogError> {
    let kept: Option<(i64, String)> = sqlx::query_as(
        "select s.sequence, s.state::text
           from product_snapshots s
           join events e on e.aggregate_type = 'product' and e.aggregate_id = s.product_id::text
                        and e.sequence = s.sequence and e.hash = s.hash
          where s.product_id = $1 and s.code_version = $2",
    )
    .bind(id.get())
    .bind(SNAPSHOT_CODE_VERSION)
    .fetch_optional(pool)
    .await?;
    let read = |(sequence, state): (i64, String)| match serde_json::from_str(&state) {
        Ok(product) => Some(VersionedProduct { product, sequence, snapshot_sequence: sequence }),
        Err(error) => {
            tracing::warn!(product = id.get(), %error, "a snapshot cannot be read; the whole stream is read instead");
            None
        }
    };
    Ok(kept.and_then(read))
}
