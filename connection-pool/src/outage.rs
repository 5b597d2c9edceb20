//! Whether a server is away, for the whole process. Dozens of components notice that at the same time; the log gets two lines: one when
//! the server is away, one when it is back, and one each minute between.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// PostgreSQL, as the [`Pool`](crate::Pool)s of this process find it.
pub static POSTGRESQL: Outage = Outage::of("PostgreSQL");
/// RabbitMQ, as the connections of this process find it.
pub static RABBITMQ: Outage = Outage::of("RabbitMQ");
/// Redis, as its readers and writers in this process find it.
pub static REDIS: Outage = Outage::of("Redis");

/// For how long nothing but failures tells that the server is away: a single connection breaks for many reasons.
const CONFIRM_DURATION: Duration = Duration::from_millis(500);
/// The time between two lines while it lasts.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// For how long after a failure other failures are taken for its consequence.
const CONSEQUENCE_DURATION: Duration = Duration::from_secs(3);

/// The outage of one server.
#[derive(Debug)]
pub struct Outage {
    server: &'static str,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The first failure since the last answer: when, and why. Those that follow are often a time-out that names no cause.
    first_failure: Option<(Instant, String)>,
    last_failure: Option<Instant>,
    /// When it was last logged that the server is away.
    logged_at: Option<Instant>,
}

impl Outage {
    const fn of(server: &'static str) -> Self {
        let state = State {
            first_failure: None,
            last_failure: None,
            logged_at: None,
        };
        Self {
            server,
            state: Mutex::new(state),
        }
    }

    /// The server could not be reached, or a connection to it broke. `error` is for operators, and must hold no secret.
    pub fn failed(&self, error: &dyn fmt::Display) {
        let (now, mut guard) = (Instant::now(), self.state());
        let state = &mut *guard;
        let (since, error) = &*state
            .first_failure
            .get_or_insert_with(|| (now, error.to_string()));
        state.last_failure = Some(now);
        let lasted = now - *since;
        let is_due = match state.logged_at {
            None => lasted >= CONFIRM_DURATION,
            Some(at) => now - at >= REPEAT_INTERVAL,
        };
        if is_due {
            let is_new = state.logged_at.replace(now).is_none();
            let (server, seconds) = (self.server, lasted.as_secs());
            match is_new {
                true => {
                    tracing::warn!(
                        error,
                        "{server} is away: what needs it waits, or is refused, until it is back"
                    )
                }
                false => tracing::warn!(error, seconds, "{server} is still away"),
            }
        }
    }

    /// The server answered.
    pub fn answered(&self) {
        let mut state = self.state();
        let failed = state.first_failure.take();
        if let (Some((since, _)), Some(_)) = (failed, state.logged_at.take()) {
            tracing::info!(
                seconds = since.elapsed().as_secs(),
                "{} is back",
                self.server
            );
        }
    }

    /// Whether a failure of what needs the server is a consequence of its outage, which has its own lines in the log: it is away,
    /// or was a moment ago, or may be found to be.
    #[must_use]
    pub fn explains_failures(&self) -> bool {
        let state = self.state();
        state.logged_at.is_some()
            || state
                .last_failure
                .is_some_and(|at| at.elapsed() < CONSEQUENCE_DURATION)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the next failure, or the answer, would log is in the state: `None` when nothing.
    fn logged(outage: &Outage) -> Option<Instant> {
        outage.state().logged_at
    }

    async fn fails_for(outage: &Outage, seconds: u32) -> u32 {
        let mut lines = 0;
        for _ in 0..seconds * 20 {
            let before = logged(outage);
            outage.failed(&"refused");
            lines += u32::from(logged(outage) != before);
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        lines
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_logged_once_and_then_each_minute() {
        let outage = Outage::of("a server");
        assert_eq!(fails_for(&outage, 60).await, 1);
        assert_eq!(fails_for(&outage, 120).await, 2);
        outage.answered();
        assert_eq!(logged(&outage), None);
        assert_eq!(fails_for(&outage, 10).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_breaks_alone_is_no_outage() {
        let outage = Outage::of("a server");
        for _ in 0..100 {
            outage.failed(&"reset");
            tokio::time::advance(Duration::from_millis(400)).await;
            outage.answered();
        }
        assert_eq!(logged(&outage), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_explained_while_it_lasts_and_for_a_moment_after() {
        let outage = Outage::of("a server");
        assert!(!outage.explains_failures());
        outage.failed(&"refused");
        assert!(outage.explains_failures());
        fails_for(&outage, 2).await;
        tokio::time::advance(Duration::from_secs(600)).await;
        assert!(outage.explains_failures());
        outage.answered();
        assert!(!outage.explains_failures());
        outage.failed(&"refused");
        outage.answered();
        tokio::time::advance(CONSEQUENCE_DURATION - Duration::from_millis(1)).await;
        assert!(outage.explains_failures());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!outage.explains_failures());
    }
}
