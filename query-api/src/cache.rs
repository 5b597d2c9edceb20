//! The products of a view without PostgreSQL: what never changes of a product is kept in the process, what does is read
//! from Redis, in one round trip over all partitions. That says at which position each partition was read, and the
//! answer is the fold of the log at just those; so it is the answer PostgreSQL gives or gave there.
//!
//! Whatever is missing, late, behind, damaged, beyond its bounds, of another log, or contradicts itself: there is no answer from
//! here, and PostgreSQL is asked.

mod breaker;
mod catalog;
mod counters;
mod facts;
mod look;

pub(crate) use counters::Counter;
pub(crate) use facts::Facts;

use catalog::Shelf;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use counters::{Counters, Read};
use edge::Paging;
use facts::FactsCache;
use look::Look;
use redis::Client;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::consistency::Asked;
use crate::product::ProductRow;
use crate::shown::Shown;

/// How long Redis may take for an answer, and a reader wait for what another must load.
const PATIENCE: Duration = Duration::from_millis(100);
/// How often a page is read: once more when the list of products has changed since it was last loaded.
const TRIES: usize = 2;

/// Products from Redis and from memory.
pub(crate) struct Cache {
    counters: Arc<Counters>,
    facts: FactsCache,
    shelf: Shelf,
    look: Look,
    _looking: AbortOnDropHandle<()>,
}

impl Cache {
    /// Looks at PostgreSQL once a second from now on, for as long as it lives. Needs a runtime.
    pub(crate) fn new(client: Client, pool: Pool, log_id: Uuid, partitions: usize) -> Arc<Self> {
        let (look, counters) = (Look::default(), Arc::new(Counters::new(client, log_id, partitions)));
        let looking = tokio::spawn(look.clone().keep_looking(pool.clone(), counters.clone(), partitions));
        Arc::new(Self {
            counters,
            facts: FactsCache::new(pool),
            shelf: Shelf::new(partitions),
            look,
            _looking: AbortOnDropHandle::new(looking),
        })
    }

    /// One product, open or not, at a state that has reached what was asked for.
    pub(crate) async fn one(&self, asked: &Asked, product_id: i64) -> Option<Shown<ProductRow>> {
        let read = self.read(asked, &[product_id]).await?;
        let counter = read.counters.get(&product_id)?;
        let (facts, now) = (self.facts.of(product_id).await?, self.now()?);
        let row = counter.is_within(facts.total_amount).then(|| ProductRow::of(&facts, counter, now))?;
        Some(Shown { rows: vec![row], total_count: 1, positions: read.positions() })
    }

    /// A page of the products that take invests now, at a state that has reached what was asked for.
    pub(crate) async fn page(self: &Arc<Self>, asked: &Asked, paging: &Paging) -> Option<Shown<ProductRow>> {
        for _ in 0..TRIES {
            let (now, catalog) = (self.now()?, self.shelf.current());
            let (total_count, page) = catalog.open_at(now, paging);
            let ids: Vec<_> = page.iter().map(|facts| facts.product_id).collect();
            let read = self.read(asked, &ids).await?;
            if catalog.is_at(&read.listed()) {
                return Some(Shown { rows: rows(&page, &read, now)?, total_count, positions: read.positions() });
            }
            self.renew(read.listed()).await?;
        }
        None
    }

    /// The database's time now, if it is known.
    fn now(&self) -> Option<DateTime<Utc>> {
        self.look.last()?.now()
    }

    /// Reads counters, if Redis has come as far as it must, and is trusted: it may be behind by what came in since the last
    /// look.
    async fn read(&self, asked: &Asked, products: &[i64]) -> Option<Read> {
        let last = self.look.last()?;
        let read = self.counters.read(products).await?;
        let positions = read.positions();
        let is_fresh = last.is_reached_by(&positions) && asked.is_reached_by(&positions) != Some(false);
        let is_trusted = read.states.iter().enumerate().all(|(partition, state)| last.trusts(partition, state));
        (is_fresh && is_trusted).then_some(read)
    }

    /// Loads the lists that have changed. One reader does and waits for it, if it takes no longer than a moment;
    /// meanwhile the others go to PostgreSQL.
    async fn renew(self: &Arc<Self>, listed: Vec<i64>) -> Option<()> {
        let looked = self.look.last()?;
        let turn = self.shelf.take_turn()?;
        let cache = self.clone();
        // In a task of its own: a reader that leaves must not waste what was loaded.
        let renewing = tokio::spawn(async move {
            let renewed = cache.shelf.renew(&listed, &cache.counters, &cache.facts, &looked).await;
            turn.end(renewed.is_some());
            renewed
        });
        timeout(PATIENCE, renewing).await.ok()?.ok()?
    }
}

/// What is taken of each product of a page; `None` when Redis does not say so of one, or says what cannot be, or that it is
/// closed.
fn rows(page: &[Arc<Facts>], read: &Read, now: DateTime<Utc>) -> Option<Vec<ProductRow>> {
    let is_open = |counter: &Counter, facts: &Facts| !counter.closed && counter.is_within(facts.total_amount);
    let open = |facts: &Facts| read.counters.get(&facts.product_id).filter(|counter| is_open(counter, facts));
    page.iter().map(|facts| Some(ProductRow::of(facts, open(facts)?, now))).collect()
}
