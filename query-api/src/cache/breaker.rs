//! Leaving Redis alone while it does not answer, so that it costs one time-out a second and not one for each request.

use metrics::{counter, gauge};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long Redis is left alone after a failure.
const LEFT_ALONE: Duration = Duration::from_secs(1);

/// Closed while all is well; after a failure one request a second gets through, to find out.
#[derive(Default)]
pub(super) struct Breaker {
    open_until: Mutex<Option<Instant>>,
}

impl Breaker {
    /// Whether Redis may be asked. Who may, when it is open, is the only one for a second.
    pub(super) fn lets_through(&self) -> bool {
        let (mut open_until, now) = (self.open_until(), Instant::now());
        match *open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                *open_until = Some(now + LEFT_ALONE);
                true
            }
        }
    }

    /// Redis answered.
    pub(super) fn close(&self) {
        if self.open_until().take().is_some() {
            gauge!("moa_redis_left_alone").set(0.0);
            tracing::info!("Redis answers again");
        }
    }

    /// Redis did not answer, or said no.
    pub(super) fn open(&self, why: &str) {
        counter!("moa_redis_failures_total").increment(1);
        if self.open_until().replace(Instant::now() + LEFT_ALONE).is_none() {
            gauge!("moa_redis_left_alone").set(1.0);
            tracing::warn!(why, "Redis does not answer; reads come from PostgreSQL until it does");
        }
    }

    fn open_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.open_until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_one_a_second_gets_through() {
        let breaker = Breaker::default();
        assert!(breaker.lets_through() && breaker.lets_through());
        breaker.open("a test");
        assert!(!breaker.lets_through());
        tokio::time::advance(LEFT_ALONE).await;
        assert!(breaker.lets_through() && !breaker.lets_through());
        tokio::time::advance(LEFT_ALONE).await;
        assert!(breaker.lets_through());
        breaker.close();
        assert!(breaker.lets_through() && breaker.lets_through());
    }
}
