//! A naive reader that follows the log by position while others write: reading order is commit order only if it never
//! finds anything behind the last position it has seen.

use sqlx::PgPool;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often it looks.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

pub struct Follower {
    stop: CancellationToken,
    reading: JoinHandle<Vec<Uuid>>,
    pool: PgPool,
}

impl Follower {
    pub fn start(pool: &PgPool) -> Self {
        let stop = CancellationToken::new();
        let reading = tokio::spawn(follow(pool.clone(), stop.clone()));
        Self {
            stop,
            reading,
            pool: pool.clone(),
        }
    }

    /// Reads to the end and checks that it has met every event, each once and in order.
    pub async fn has_seen_everything(self) {
        self.stop.cancel();
        let mut met = self.reading.await.unwrap();
        let all: Vec<(Uuid,)> = sqlx::query_as("select event_id from events")
            .fetch_all(&self.pool)
            .await
            .unwrap();
        let mut all: Vec<_> = all.into_iter().map(|(id,)| id).collect();
        assert_eq!(
            met.len(),
            all.len(),
            "a reader by position missed an event that was committed behind it"
        );
        met.sort_unstable();
        all.sort_unstable();
        assert_eq!(met, all);
    }
}

async fn follow(pool: PgPool, stop: CancellationToken) -> Vec<Uuid> {
    let mut met = Vec::new();
    let mut seen: BTreeMap<i32, i64> = BTreeMap::new();
    loop {
        // Before the read: the last one comes after the word to stop.
        let last = stop.is_cancelled();
        for (partition, position, event_id) in following(&pool, &seen).await {
            seen.insert(partition, position);
            met.push(event_id);
        }
        if last {
            return met;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn following(pool: &PgPool, seen: &BTreeMap<i32, i64>) -> Vec<(i32, i64, Uuid)> {
    let (partitions, positions): (Vec<i32>, Vec<i64>) = seen.iter().unzip();
    sqlx::query_as(
        "select e.partition, e.position, e.event_id
           from log_identity
          cross join generate_series(0, partitions - 1) as p
           left join unnest($1::integer[], $2::bigint[]) as seen (partition, position) on seen.partition = p
           join events e on e.partition = p and e.position > coalesce(seen.position, 0)
          order by e.partition, e.position",
    )
    .bind(partitions)
    .bind(positions)
    .fetch_all(pool)
    .await
    .unwrap()
}
