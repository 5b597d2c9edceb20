//! Logs a fault that repeats at every try once when it begins, each minute with a count while it lasts, and once when it is over, unless
//! it is a consequence of a server's outage, which has its own lines. A lasting fault can also fail a clause of readiness.

use crate::readiness::Clause;
use connection_pool::outage::{Outage, POSTGRESQL};
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// The time between two lines about a fault that lasts.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);
/// The least time between two lines when the error is another one.
const CHANGE_INTERVAL: Duration = Duration::from_secs(5);

/// The fault of one loop that retries.
#[derive(Debug)]
pub struct RepeatedFault {
    /// What fails, as a sentence.
    what: &'static str,
    /// Which of several loops of a kind: a consumer, a partition. May be empty.
    who: String,
    clause: Option<(Clause, Duration)>,
    /// The servers without which it fails.
    needs: Vec<&'static Outage>,
    lasting: Option<Lasting>,
}

/// A fault that is not over.
#[derive(Debug)]
struct Lasting {
    since: Instant,
    /// When it was logged last, and the error of then; `None` while an outage explains it.
    logged: Option<(Instant, String)>,
    times: u64,
}

impl RepeatedFault {
    /// For a loop that needs PostgreSQL and fails with `what`, a sentence such as `"a batch cannot be written"`; `who` tells it from
    /// others of its kind, and may be empty.
    pub fn new(what: &'static str, who: impl fmt::Display) -> Self {
        Self {
            what,
            who: who.to_string(),
            clause: None,
            needs: vec![&POSTGRESQL],
            lasting: None,
        }
    }

    /// Needs these servers instead: while one of them is away, its failures are not logged.
    #[must_use]
    pub fn needing(self, needs: Vec<&'static Outage>) -> Self {
        Self { needs, ..self }
    }

    /// Also fails `clause` when the fault has lasted for `bound`, at the first try after that; clears it when it is over.
    #[must_use]
    pub fn failing(self, clause: Clause, bound: Duration) -> Self {
        Self {
            clause: Some((clause, bound)),
            ..self
        }
    }

    /// A try failed.
    pub fn failed(&mut self, error: &dyn fmt::Display) {
        let (now, error) = (Instant::now(), error.to_string());
        let is_explained = self.needs.iter().any(|outage| outage.explains_failures());
        let lasting = self.lasting.get_or_insert(Lasting {
            since: now,
            logged: None,
            times: 0,
        });
        lasting.times += 1;
        if !is_explained && lasting.is_due(now, &error) {
            let (times, seconds) = (lasting.times, (now - lasting.since).as_secs());
            tracing::warn!(
                who = self.who,
                error,
                times,
                seconds,
                "{}; it is tried again",
                self.what
            );
            lasting.logged = Some((now, error.clone()));
        }
        if let Some((clause, bound)) = &self.clause
            && now - lasting.since >= *bound
        {
            let reason = format!("{}: {error}", sentence(self.what, &self.who));
            if is_explained {
                clause.fail_quietly(reason)
            } else {
                clause.fail(reason)
            }
        }
    }

    /// A try went well.
    pub fn recovered(&mut self) {
        let Some(lasting) = self.lasting.take() else {
            return;
        };
        let (times, seconds) = (lasting.times, lasting.since.elapsed().as_secs());
        if lasting.logged.is_some() {
            tracing::info!(
                who = self.who,
                times,
                seconds,
                "it works again: {} before",
                self.what
            );
        }
        if let Some((clause, _)) = &self.clause {
            clause.clear();
        }
    }

    /// Whether the last try failed.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.lasting.is_some()
    }
}

fn sentence(what: &str, who: &str) -> String {
    if who.is_empty() {
        what.to_owned()
    } else {
        format!("{who}: {what}")
    }
}

impl Lasting {
    fn is_due(&self, now: Instant, error: &str) -> bool {
        let Some((logged_at, logged)) = &self.logged else {
            return true;
        };
        let pause = if error == logged {
            REPEAT_INTERVAL
        } else {
            CHANGE_INTERVAL
        };
        now - *logged_at >= pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Readiness;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    /// Counts log lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl Lines {
        fn taken(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    impl Subscriber for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, _: &Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    /// So many tries a second fail, for so many seconds.
    async fn fails_for(fault: &mut RepeatedFault, seconds: u32, error: impl Fn(u32) -> String) {
        for number in 0..seconds * 20 {
            fault.failed(&error(number));
            tokio::time::advance(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_logged_when_it_begins_each_minute_and_when_it_is_over() {
        let lines = Lines::default();
        let _logs = tracing::subscriber::set_default(lines.clone());
        let mut fault = RepeatedFault::new("it cannot be done", "partition 1");
        fault.recovered();
        assert_eq!(lines.taken(), 0);
        fails_for(&mut fault, 59, |_| "away".into()).await;
        assert_eq!(lines.taken(), 1);
        fails_for(&mut fault, 121, |_| "away".into()).await;
        assert_eq!(lines.taken(), 2);
        fault.recovered();
        fault.recovered();
        assert_eq!(lines.taken(), 1);
        fault.failed(&"away");
        assert_eq!(lines.taken(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn another_error_is_logged_sooner_but_not_at_every_try() {
        let lines = Lines::default();
        let _logs = tracing::subscriber::set_default(lines.clone());
        let mut fault = RepeatedFault::new("it cannot be done", "");
        fails_for(&mut fault, 60, |number| format!("error {number}")).await;
        assert_eq!(lines.taken(), 12);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clause_is_failed_when_the_fault_lasts_and_cleared_when_it_is_over() {
        let readiness = Readiness::default();
        let fault = RepeatedFault::new("it cannot be done", "partition 1");
        let mut fault = fault.failing(readiness.clause("append"), Duration::from_secs(2));
        fault.failed(&"away");
        tokio::time::advance(Duration::from_millis(1_990)).await;
        fault.failed(&"away");
        assert!(readiness.failed().is_empty());
        tokio::time::advance(Duration::from_millis(10)).await;
        fault.failed(&"away");
        assert_eq!(
            (readiness.failed(), fault.is_failing()),
            (vec!["append"], true)
        );
        fault.recovered();
        assert_eq!((readiness.failed(), fault.is_failing()), (vec![], false));
    }
}
