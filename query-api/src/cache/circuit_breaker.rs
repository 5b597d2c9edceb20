//! The circuit breaker of Redis: while Redis does not reply, it costs one time-out a second and not one for each request.

use metrics::{counter, gauge};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long the circuit stays open after a failure.
const OPEN_DURATION: Duration = Duration::from_secs(1);

/// Closed while Redis replies; after a failure one request a second gets through, as a probe.
#[derive(Default)]
pub(super) struct CircuitBreaker {
    open_until: Mutex<Option<Instant>>,
}

impl CircuitBreaker {
    /// Whether a request may be sent. While it is open, one request a second is allowed.
    pub(super) fn allows_request(&self) -> bool {
        let (mut open_until, now) = (self.open_until(), Instant::now());
        match *open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                *open_until = Some(now + OPEN_DURATION);
                true
            }
        }
    }

    /// Redis replied.
    pub(super) fn close(&self) {
        if self.open_until().take().is_some() {
            gauge!("moa_redis_circuit_open").set(0.0);
        }
    }

    /// Redis did not reply, or refused. Returns whether the circuit was closed before.
    pub(super) fn open(&self) -> bool {
        counter!("moa_redis_failures_total").increment(1);
        gauge!("moa_redis_circuit_open").set(1.0);
        self.open_until()
            .replace(Instant::now() + OPEN_DURATION)
            .is_none()
    }

    fn open_until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.open_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_a_failure_one_a_second_gets_through() {
        let circuit_breaker = CircuitBreaker::default();
        assert!(circuit_breaker.allows_request() && circuit_breaker.allows_request());
        circuit_breaker.open();
        assert!(!circuit_breaker.allows_request());
        tokio::time::advance(OPEN_DURATION).await;
        assert!(circuit_breaker.allows_request() && !circuit_breaker.allows_request());
        tokio::time::advance(OPEN_DURATION).await;
        assert!(circuit_breaker.allows_request());
        circuit_breaker.close();
        assert!(circuit_breaker.allows_request() && circuit_breaker.allows_request());
    }
}
