//! Gauges of settlement: how many invests wait for their fate, and since when.

use super::work_list;
use connection_pool::Pool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often they are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Invests that are counted at most: more is no news, and counting has a cost.
const MAX_COUNTED_INVESTS: i64 = 100_000;

/// Keeps the gauges until `shutdown`.
pub(super) async fn keep(pool: &Pool, shutdown: &CancellationToken) {
    let mut tick = tokio::time::interval(COUNT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        match work_list::outstanding(pool, MAX_COUNTED_INVESTS).await {
            Ok((open, oldest, owed)) => show(open, oldest, owed),
            // The sweep reports it already.
            Err(error) => tracing::debug!(%error, "open invests were not counted; trying again"),
        }
    }
}

fn show(open: i64, oldest: Option<Uuid>, owed: i64) {
    metrics::gauge!("moa_open_invest").set(open as f64);
    metrics::gauge!("moa_refunds_owed").set(owed as f64);
    metrics::gauge!("moa_open_invest_oldest_seconds").set(oldest.map_or(0.0, age));
}

/// The age in seconds, by this machine's clock; 0 for an id without a time.
fn age(invest_id: Uuid) -> f64 {
    let Some((seconds, nanoseconds)) = invest_id.get_timestamp().map(|made| made.to_unix()) else {
        return 0.0;
    };
    let made = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    SystemTime::now()
        .duration_since(made)
        .map_or(0.0, |age| age.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invests_age_is_in_its_id() {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let made = uuid::Timestamp::from_unix(uuid::NoContext, now - 90, 0);
        assert!((90.0..100.0).contains(&age(Uuid::new_v7(made))));
        let ahead = uuid::Timestamp::from_unix(uuid::NoContext, now + 90, 0);
        assert_eq!(age(Uuid::new_v7(ahead)), 0.0);
        assert_eq!(age(Uuid::from_u128(7)), 0.0);
    }
}
