//! What never changes of a product, cached in the process.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use moka::future::Cache;
use std::sync::Arc;

use crate::product_row::Terms;

/// The most cached products; the least recently used are evicted.
const MAX_CACHED_PRODUCTS: u64 = 100_000;
/// The most products that one statement reads.
const MAX_PRODUCTS_PER_QUERY: usize = 5_000;

/// What was fixed when the product was opened.
#[derive(sqlx::FromRow)]
pub(crate) struct ProductFacts {
    pub(crate) product_id: i64,
    pub(crate) title: String,
    pub(crate) total_amount: i64,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) finished_at: DateTime<Utc>,
    #[sqlx(flatten)]
    pub(crate) terms: Terms,
}

/// The cached facts; the others are read from PostgreSQL.
pub(super) struct FactsCache {
    cached: Cache<i64, Arc<ProductFacts>>,
    pool: Pool,
}

impl FactsCache {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            cached: Cache::new(MAX_CACHED_PRODUCTS),
            pool,
        }
    }

    /// The facts of one product; concurrent requests share one query. `None` when PostgreSQL does not answer, or has none.
    pub(super) async fn of(&self, product_id: i64) -> Option<Arc<ProductFacts>> {
        let load = async {
            sqlx::query_as(ONE)
                .bind(product_id)
                .fetch_one(&self.pool)
                .await
                .map(Arc::new)
        };
        let loaded: Result<_, Arc<sqlx::Error>> = self.cached.try_get_with(product_id, load).await;
        loaded.ok()
    }

    /// The facts of all these products, in any order; `None` when PostgreSQL does not have each of them.
    pub(super) async fn of_all(&self, products: &[i64]) -> Option<Vec<Arc<ProductFacts>>> {
        let (mut known, mut unknown) = (Vec::with_capacity(products.len()), Vec::new());
        for product_id in products {
            match self.cached.get(product_id).await {
                Some(facts) => known.push(facts),
                None => unknown.push(*product_id),
            }
        }
        for some in unknown.chunks(MAX_PRODUCTS_PER_QUERY) {
            let loaded: Vec<ProductFacts> = sqlx::query_as(SOME)
                .bind(some)
                .fetch_all(&self.pool)
                .await
                .ok()?;
            for facts in loaded.into_iter().map(Arc::new) {
                self.cached.insert(facts.product_id, facts.clone()).await;
                known.push(facts);
            }
        }
        (known.len() == products.len()).then_some(known)
    }
}

const ONE: &str = "
    select product_id, title, total_amount, started_at, finished_at, min_invest_amount, invest_amount_unit, max_amount_per_user,
           target_amount, withdrawable_until
      from product_list where product_id = $1";

const SOME: &str = "
    select product_id, title, total_amount, started_at, finished_at, min_invest_amount, invest_amount_unit, max_amount_per_user,
           target_amount, withdrawable_until
      from product_list where product_id = any($1)";
