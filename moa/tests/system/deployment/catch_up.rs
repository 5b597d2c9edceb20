//! When every view has caught up with the log, and whether everything then holds.

use std::time::{Duration, Instant};

use super::Deployment;
use crate::checker::{Evidence, chain_is_whole, counters};
use crate::harness::{TEST_TIMEOUT, consumers, within};

/// How soon after a fault every view has caught up with the log as it stood then.
pub const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(30);

const HEADS: &str = "
    select array(select coalesce((select max(e.position) from events e where e.partition = p), 0)
                   from log_identity, generate_series(0, partitions - 1) p order by p)";

const STANDING: &str = "
    select array(select coalesce(k.position, 0)
                   from log_identity
                  cross join generate_series(0, partitions - 1) p
                   left join checkpoints k on k.consumer = c.name and k.partition = p
                  order by p)
      from unnest($1::text[]) as c (name)";

impl Deployment {
    /// Waits until every view, and the counters, have reached the log as it stands now; says how long that took.
    pub async fn caught_up(&self) -> Duration {
        self.caught_up_within(CATCH_UP_TIMEOUT).await
    }

    pub async fn caught_up_within(&self, bound: Duration) -> Duration {
        let heads: Vec<i64> = sqlx::query_scalar(HEADS)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let began = Instant::now();
        within(bound, "the views", async || {
            self.have_reached(&heads).await.then_some(())
        })
        .await;
        began.elapsed()
    }

    async fn have_reached(&self, heads: &[i64]) -> bool {
        let consumers = [consumers(), vec!["relay"]].concat();
        let standing: Vec<(Vec<i64>,)> = sqlx::query_as(STANDING)
            .bind(consumers)
            .fetch_all(&self.pool)
            .await
            .unwrap();
        let reached = |at: &[i64]| at.iter().zip(heads).all(|(at, head)| at >= head);
        let counters = counters::positions(
            &self.redis.client(),
            &counters::Keys::of(&self.pool).await,
            heads.len(),
        )
        .await;
        standing.iter().all(|(at,)| reached(at)) && counters.is_some_and(|at| reached(&at))
    }

    /// The load has stopped: waits for quiet, then everything that must hold is compared with the log.
    pub async fn holds(&self) {
        self.quiet().await;
        let users = ["api0-client0".to_owned(), "api1-client1".to_owned()];
        let evidence = Evidence::gather(
            &self.pool,
            &self.apis(),
            &self.journal,
            &self.products,
            &users,
        )
        .await;
        evidence.holds();
        chain_is_whole(&self.pool).await;
        let faults = counters::faults(
            &evidence.log,
            &self.redis.client(),
            &counters::Keys::of(&self.pool).await,
        )
        .await;
        assert!(
            faults.is_empty(),
            "Redis is not the fold of the log: {faults:?}"
        );
        assert_eq!(
            self.payments.contradictions(&self.pool).await,
            [""; 0],
            "the ledger and the log"
        );
    }

    /// Waits until every reservation has its fate and every consumer is at the heads.
    pub async fn quiet(&self) {
        let quiet = async || self.is_quiet().await.then_some(());
        within(2 * TEST_TIMEOUT, "quiet", quiet).await;
    }

    async fn is_quiet(&self) -> bool {
        let heads = async || {
            sqlx::query_scalar::<_, Vec<i64>>(HEADS)
                .fetch_one(&self.pool)
                .await
                .unwrap()
        };
        let before = heads().await;
        if !self.have_reached(&before).await {
            return false;
        }
        // Only now does the table know of every reservation up to there.
        let open: bool = sqlx::query_scalar("select exists (select from open_invest)")
            .fetch_one(&self.pool)
            .await
            .unwrap();
        !open && heads().await == before
    }
}
