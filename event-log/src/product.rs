//! Loads products (aggregates) from their streams, with snapshots that keep the loads short.
//!
//! A snapshot is a cache of its stream: it is used only if this code version wrote it and the log has the same hash at its sequence.

use crate::read::{stream_page, stream_pages};
use crate::{Log, LogError, RecordedEvent};
use connection_pool::Pool;
use cqrs_es::Aggregate;
use domain::{Product, ProductId};
use futures::future::{join_all, try_join_all};
use log_format::Hash;
use std::collections::HashMap;
use std::time::Duration;

/// Changes with every change of [`Product`]'s state or of how events apply to it; snapshots of other versions are ignored.
const SNAPSHOT_CODE_VERSION: &str = "3";
/// Events that one read of a stream returns.
const STREAM_PAGE_EVENTS: i64 = 2_000;
/// Events that are read of each of several streams at first; a longer stream is read on by itself.
const SHORT_STREAM_EVENTS: i64 = 100;
/// Snapshots from this size on are parsed beside the runtime's workers: one with a million users' sums takes a second.
const LARGE_SNAPSHOT_BYTES: usize = 256 * 1024;
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
        let snapshot = snapshots(&pool, &[id]).await?.remove(&id);
        load_rest(&pool, id, snapshot.unwrap_or_default()).await
    }

    /// The same of several products, each in order, by two queries when their streams are short.
    pub async fn load_products(
        &self,
        ids: &[ProductId],
    ) -> Vec<Result<VersionedProduct, LogError>> {
        match self.load_together(ids).await {
            Ok(loaded) => loaded.into_iter().map(Ok).collect(),
            // One by one: an error of one product is not the others'.
            Err(_) => join_all(ids.iter().map(|id| self.load_product(*id))).await,
        }
    }

    async fn load_together(&self, ids: &[ProductId]) -> Result<Vec<VersionedProduct>, LogError> {
        let pool = self.reads().clone().with_answer_timeout(LOAD_TIMEOUT);
        let mut snapshots = snapshots(&pool, ids).await?;
        let wanted: Vec<_> = ids
            .iter()
            .map(|id| (*id, snapshots.remove(id).unwrap_or_default()))
            .collect();
        let after: Vec<_> = wanted
            .iter()
            .map(|(id, snapshot)| (*id, snapshot.sequence))
            .collect();
        let mut pages = stream_pages(&pool, &after, SHORT_STREAM_EVENTS).await?;
        let rest = wanted.into_iter().map(|(id, mut product)| {
            let (page, pool) = (pages.remove(&id).unwrap_or_default(), &pool);
            async move {
                apply_page(&mut product, &page)?;
                let is_short = (page.len() as i64) < SHORT_STREAM_EVENTS;
                if is_short {
                    Ok(product)
                } else {
                    load_rest(pool, id, product).await
                }
            }
        });
        // At the same time, as far as the pool has connections: one long stream does not hold up another.
        try_join_all(rest).await
    }

    /// Saves `loaded` as the product's snapshot, unless there is a later one. `hash` is its last event's.
    pub async fn save_snapshot(
        &self,
        id: ProductId,
        loaded: &VersionedProduct,
        hash: &Hash,
    ) -> Result<(), LogError> {
        // Up to a second of work where users are limited. The copy shares its maps with the original.
        let product = loaded.product.clone();
        let state = tokio::task::spawn_blocking(move || serde_json::to_string(&product)).await;
        let state = state.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let state = state.map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
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

/// Applies the rest of a stream to what is loaded of it.
async fn load_rest(
    pool: &Pool,
    id: ProductId,
    mut loaded: VersionedProduct,
) -> Result<VersionedProduct, LogError> {
    loop {
        let page = stream_page(pool, id, loaded.sequence, STREAM_PAGE_EVENTS).await?;
        apply_page(&mut loaded, &page)?;
        if (page.len() as i64) < STREAM_PAGE_EVENTS {
            return Ok(loaded);
        }
    }
}

fn apply_page(loaded: &mut VersionedProduct, page: &[RecordedEvent]) -> Result<(), LogError> {
    for event in page {
        if event.sequence != loaded.sequence + 1 {
            let (partition, position) = (event.partition, event.position);
            let reason = format!("its stream has a hole before sequence {}", event.sequence);
            return Err(LogError::Broken {
                partition,
                position,
                reason,
            });
        }
        loaded.apply(event);
    }
    Ok(())
}

async fn snapshots(
    pool: &Pool,
    ids: &[ProductId],
) -> Result<HashMap<ProductId, VersionedProduct>, LogError> {
    let kept: Vec<(i64, i64, String)> = sqlx::query_as(
        "select s.product_id, s.sequence, s.state::text
           from unnest($1::bigint[]) as wanted (product_id)
           join product_snapshots s using (product_id)
           join events e on e.aggregate_type = 'product' and e.aggregate_id = s.product_id::text
                        and e.sequence = s.sequence and e.hash = s.hash
          where s.code_version = $2",
    )
    .bind(ids.iter().map(|id| id.get()).collect::<Vec<_>>())
    .bind(SNAPSHOT_CODE_VERSION)
    .fetch_all(pool)
    .await?;
    if kept
        .iter()
        .all(|(_, _, state)| state.len() < LARGE_SNAPSHOT_BYTES)
    {
        return Ok(kept.into_iter().filter_map(read_snapshot).collect());
    }
    let reading =
        tokio::task::spawn_blocking(|| kept.into_iter().filter_map(read_snapshot).collect());
    reading
        .await
        .map_err(|error| LogError::Unavailable(sqlx::Error::Decode(Box::new(error))))
}

fn read_snapshot(
    (product, sequence, state): (i64, i64, String),
) -> Option<(ProductId, VersionedProduct)> {
    match serde_json::from_str(&state) {
        Ok(state) => {
            let versioned = VersionedProduct {
                product: state,
                sequence,
                snapshot_sequence: sequence,
            };
            Some((ProductId::try_from(product).ok()?, versioned))
        }
        Err(error) => {
            tracing::warn!(product, %error, "a snapshot cannot be read; the whole stream is read instead");
            None
        }
    }
}
