//! How far behind the log each view is, while a load goes on: the age of the oldest event that it has not applied.

use super::quiet::consumers;
use crate::summary::Latencies;
use sqlx::PgPool;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

const LAGS: &str = "
    select c.name, coalesce(max(extract(epoch from clock_timestamp() - e.recorded_at)), 0)::float8
      from log_identity
     cross join generate_series(0, partitions - 1) as p
     cross join unnest($1::text[]) as c (name)
      left join checkpoints k on k.consumer = c.name and k.partition = p
      left join events e on e.partition = p and e.position = coalesce(k.position, 0) + 1
     group by c.name";

/// Of each consumer: its lag as often as it was looked at, and when.
#[derive(Default)]
pub(crate) struct Lags {
    pub(crate) ranked: BTreeMap<String, Latencies>,
    /// Seconds since the load began, and seconds of lag.
    pub(crate) over_time: BTreeMap<String, Vec<(f64, f64)>>,
}

pub(super) async fn watch(pool: PgPool, end: CancellationToken) -> anyhow::Result<Lags> {
    let (began, mut lags) = (Instant::now(), Lags::default());
    while end
        .run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL))
        .await
        .is_some()
    {
        let now: Vec<(String, f64)> = sqlx::query_as(LAGS)
            .bind(consumers())
            .fetch_all(&pool)
            .await?;
        for (consumer, lag) in now {
            let lag = lag.max(0.0);
            lags.ranked
                .entry(consumer.clone())
                .or_default()
                .add(Duration::from_secs_f64(lag));
            lags.over_time
                .entry(consumer)
                .or_default()
                .push((began.elapsed().as_secs_f64(), lag));
        }
    }
    Ok(lags)
}
