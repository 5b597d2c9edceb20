//! Products without PostgreSQL. What never changes of a product is cached in the process; its counters are read from Redis, in
//! one round trip over all partitions, with the position of each. So an answer is the fold of the log at these positions, the
//! same that PostgreSQL gives there.
//!
//! The cache gives no answer when anything is missing, late, behind, damaged, out of bounds, of another log, or contradictory;
//! then the view reads PostgreSQL.

mod catalog;
mod circuit_breaker;
mod counters;
mod facts;
mod postgres_poller;

use catalog::ProductCatalogCache;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use counters::{Counter, CounterSnapshot, Counters, Standing};
use edge::Paging;
use facts::{FactsCache, ProductFacts};
use postgres_poller::PostgresPoller;
use redis::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::consistency::RequiredPosition;
use crate::product_row::ProductRow;
use crate::view_rows::ViewRows;

/// How long Redis may take to reply, and how long a reader waits for a reload.
const REDIS_TIMEOUT: Duration = Duration::from_millis(100);
/// How often a page is read: a second time when the list of products has changed since it was loaded.
const MAX_PAGE_READS: usize = 2;

/// Products from Redis and memory.
pub(crate) struct Cache {
    counters: Arc<Counters>,
    facts: FactsCache,
    catalog_cache: ProductCatalogCache,
    poller: PostgresPoller,
    _polling: AbortOnDropHandle<()>,
}

impl Cache {
    /// Polls PostgreSQL once a second from now on, as long as it lives. Needs a runtime.
    pub(crate) fn new(client: Client, pool: Pool, log_id: Uuid, partitions: usize) -> Arc<Self> {
        let (poller, counters) = (
            PostgresPoller::default(),
            Arc::new(Counters::new(client, log_id, partitions)),
        );
        let polling = tokio::spawn(poller.clone().poll_for_ever(
            pool.clone(),
            counters.clone(),
            partitions,
        ));
        Arc::new(Self {
            counters,
            facts: FactsCache::new(pool),
            catalog_cache: ProductCatalogCache::new(partitions),
            poller,
            _polling: AbortOnDropHandle::new(polling),
        })
    }

    /// One product, open or not, at positions that have reached the required one. Of one that was cancelled or has failed Redis does not
    /// know which, nor why.
    pub(crate) async fn one(
        &self,
        required: &RequiredPosition,
        product_id: i64,
    ) -> Option<ViewRows<ProductRow>> {
        let read = self.read(required, &[product_id]).await?;
        let counter = read
            .counters
            .get(&product_id)
            .filter(|counter| counter.standing != Standing::GivenBack)?;
        let (facts, now) = (self.facts.of(product_id).await?, self.now()?);
        let row = counter
            .is_within(facts.total_amount)
            .then(|| product_row(&facts, counter, now))?;
        Some(ViewRows {
            rows: vec![row],
            total_count: 1,
            positions: read.positions(),
        })
    }

    /// A page of the open products, at positions that have reached the required one.
    pub(crate) async fn page(
        self: &Arc<Self>,
        required: &RequiredPosition,
        paging: &Paging,
    ) -> Option<ViewRows<ProductRow>> {
        for _ in 0..MAX_PAGE_READS {
            let (now, catalog) = (self.now()?, self.catalog_cache.current());
            let (total_count, page) = catalog.open_at(now, paging);
            let ids: Vec<_> = page.iter().map(|facts| facts.product_id).collect();
            let read = self.read(required, &ids).await?;
            if catalog.is_at(&read.listed()) {
                return Some(ViewRows {
                    rows: rows(&page, &read, now)?,
                    total_count,
                    positions: read.positions(),
                });
            }
            self.renew(read.listed()).await?;
        }
        None
    }

    /// The database's time now, if it is known.
    fn now(&self) -> Option<DateTime<Utc>> {
        self.poller.last()?.now()
    }

    /// Reads counters, if Redis has reached the polled and the required positions, and its writer is trusted. It may lack what
    /// was applied since the last poll.
    async fn read(&self, required: &RequiredPosition, products: &[i64]) -> Option<CounterSnapshot> {
        let last = self.poller.last()?;
        let read = self.counters.read(products).await?;
        let positions = read.positions();
        let is_fresh =
            last.is_reached_by(&positions) && required.is_reached_by(&positions) != Some(false);
        let is_trusted = read
            .states
            .iter()
            .enumerate()
            .all(|(partition, state)| last.trusts(partition, state));
        (is_fresh && is_trusted).then_some(read)
    }

    /// Loads the lists that have changed (single flight). One reader loads and waits for a moment; the others read PostgreSQL
    /// meanwhile.
    async fn renew(self: &Arc<Self>, listed: Vec<i64>) -> Option<()> {
        let polled = self.poller.last()?;
        let guard = self.catalog_cache.try_begin_load()?;
        let cache = self.clone();
        // In a task of its own, so that a reader that disconnects does not cancel the load.
        let renewing = tokio::spawn(async move {
            let renewed = cache
                .catalog_cache
                .renew(&listed, &cache.counters, &cache.facts, &polled)
                .await;
            guard.finish(renewed.is_some());
            renewed
        });
        timeout(REDIS_TIMEOUT, renewing).await.ok()?.ok()?
    }
}

/// The rows of a page; `None` when Redis has no counter of a product, an impossible one, or one that does not say open.
fn rows(
    page: &[Arc<ProductFacts>],
    read: &CounterSnapshot,
    now: DateTime<Utc>,
) -> Option<Vec<ProductRow>> {
    let is_open = |counter: &Counter, facts: &ProductFacts| {
        counter.standing == Standing::Open && counter.is_within(facts.total_amount)
    };
    let open = |facts: &ProductFacts| {
        read.counters
            .get(&facts.product_id)
            .filter(|counter| is_open(counter, facts))
    };
    page.iter()
        .map(|facts| Some(product_row(facts, open(facts)?, now)))
        .collect()
}

fn product_row(facts: &ProductFacts, counter: &Counter, now: DateTime<Utc>) -> ProductRow {
    ProductRow {
        product_id: facts.product_id,
        title: facts.title.clone(),
        total_amount: facts.total_amount,
        current_amount: counter.current_amount,
        invest_users: counter.invest_users,
        started_at: facts.started_at,
        finished_at: facts.finished_at,
        closed: counter.standing == Standing::Closed,
        cancel_reason: None,
        failed: false,
        terms: facts.terms,
        now,
    }
}
