//! What never changes of a product, kept in the process.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use moka::future::Cache;
use std::sync::Arc;

/// Of how many products at most; those not asked for go first.
const KEPT: u64 = 100_000;
/// How many are asked for in one statement.
const TOGETHER: usize = 5_000;

/// What was fixed when the product was opened.
#[derive(sqlx::FromRow)]
pub(crate) struct Facts {
    pub(crate) product_id: i64,
    pub(crate) title: String,
    pub(crate) total_amount: i64,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) finished_at: DateTime<Utc>,
}

/// The facts at hand; the others are in PostgreSQL.
pub(super) struct FactsCache {
    kept: Cache<i64, Arc<Facts>>,
    pool: Pool,
}

impl FactsCache {
    pub(super) fn new(pool: Pool) -> Self {
        Self { kept: Cache::new(KEPT), pool }
    }

    /// Of one product; asked for once, however many want to know. `None` when PostgreSQL does not tell.
    pub(super) async fn of(&self, product_id: i64) -> Option<Arc<Facts>> {
        let load = async { sqlx::query_as(ONE).bind(product_id).fetch_one(&self.pool).await.map(Arc::new) };
        let loaded: Result<_, Arc<sqlx::Error>> = self.kept.try_get_with(product_id, load).await;
        loaded.ok()
    }

    /// Of all these products, in any order; `None` when PostgreSQL does not tell of each.
    pub(super) async fn of_all(&self, products: &[i64]) -> Option<Vec<Arc<Facts>>> {
        let (mut known, mut unknown) = (Vec::with_capacity(products.len()), Vec::new());
        for product_id in products {
            match self.kept.get(product_id).await {
                Some(facts) => known.push(facts),
                None => unknown.push(*product_id),
            }
        }
        for some in unknown.chunks(TOGETHER) {
            let loaded: Vec<Facts> = sqlx::query_as(SOME).bind(some).fetch_all(&self.pool).await.ok()?;
            for facts in loaded.into_iter().map(Arc::new) {
                self.kept.insert(facts.product_id, facts.clone()).await;
                known.push(facts);
            }
        }
        (known.len() == products.len()).then_some(known)
    }
}

const ONE: &str = "
    select product_id, title, total_amount, started_at, finished_at from product_list where product_id = $1";

const SOME: &str = "
    select product_id, title, total_amount, started_at, finished_at from product_list where product_id = any($1)";
