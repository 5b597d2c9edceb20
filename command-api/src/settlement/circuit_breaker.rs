//! The circuit breaker opens when the provider answers none of several different payments; then there are only probes.
//!
//! One payment that the provider cannot decide says nothing about the others, however often it is retried: it backs off by itself. While
//! the circuit is open, one call at a time is a probe. Probes for first calls have a pause of their own that does not grow, so payments in
//! trouble never use up the probes of a new one. That pause is short while the provider answers with errors, so that new reservations
//! come through between many that it cannot decide.

use super::timeouts::Timeouts;
use domain::InvestId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Different payments without an answer, and no answer in between, that open it.
const FAILURE_THRESHOLD: usize = 5;

/// The time between two lines in the log while it is open.
const REPEAT_INTERVAL: Duration = Duration::from_secs(60);

/// What a call is for: each purpose has probes of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first call about a reservation: probes at an even interval.
    FirstCall,
    /// A retry of a payment in trouble: probes with backoff.
    Retry,
    /// The rest of a payment that is under way: never a probe.
    FollowUp,
}

/// A call without an answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its payment, unless that was in trouble before: then it says nothing new about the provider.
    pub into_trouble: Option<InvestId>,
    pub provider: ProviderState,
    pub why: String,
}

/// The provider's state, by a call without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderState {
    /// Something came back: it cannot say what became of this payment.
    Failing,
    /// Nothing came back.
    Silent,
}

#[derive(Debug)]
pub(super) struct CircuitBreaker {
    state: Mutex<State>,
    pause: Duration,
    longest_pause: Duration,
    failing_pause: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Grows when it opens and when it closes; the result of a call from an earlier epoch is ignored.
    epoch: u64,
    /// Different payments that came into trouble since the last answer, while it is closed; not more than the threshold.
    unanswered: HashSet<InvestId>,
    /// When something was answered last.
    answered_at: Option<Instant>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    probing: bool,
    /// When the last probe began.
    probed_at: Instant,
    first_call_pause: Duration,
    retry_from: Instant,
    retry_pause: Duration,
    since: Instant,
    logged_at: Instant,
}

/// A permit for one call. Dropped without a result, because the call was cancelled, it does not count.
#[derive(Debug)]
pub(super) struct Permit {
    circuit: Arc<CircuitBreaker>,
    epoch: u64,
    purpose: Purpose,
    reported: bool,
}

impl CircuitBreaker {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        show(false);
        let (pause, longest_pause, failing_pause) =
            (timeouts.open, timeouts.max_open, timeouts.open_failing);
        Self {
            state: Mutex::default(),
            pause,
            longest_pause,
            failing_pause,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    /// A permit for a call now: always while it is closed, else for one probe at a time when its purpose may have one.
    pub(super) fn try_acquire(self: &Arc<Self>, purpose: Purpose, now: Instant) -> Option<Permit> {
        let mut state = self.state();
        let epoch = state.epoch;
        if let Some(open) = &mut state.open {
            if !open.may_probe(purpose, now) {
                return None;
            }
            open.probing = true;
            open.probed_at = now;
        }
        drop(state);
        Some(Permit {
            circuit: self.clone(),
            epoch,
            purpose,
            reported: false,
        })
    }

    /// When the next probe for a first call may begin; `None` while it is closed, or one is under way.
    pub(super) fn next_first_call(&self) -> Option<Instant> {
        self.state()
            .open
            .as_ref()
            .filter(|open| !open.probing)
            .map(Open::first_call_from)
    }

    /// Whether it is open, and a payment in trouble may be tried.
    pub(super) fn is_retry_due(&self, now: Instant) -> bool {
        self.state()
            .open
            .as_ref()
            .is_some_and(|open| open.may_probe(Purpose::Retry, now))
    }

    /// There is no payment in trouble to be retried: the next retry is due after another pause.
    pub(super) fn no_retry_is_due(&self, now: Instant) {
        if let Some(open) = &mut self.state().open {
            open.retry_from = now + open.retry_pause;
        }
    }

    fn pause_while(&self, provider: ProviderState) -> Duration {
        match provider {
            ProviderState::Failing => self.failing_pause,
            ProviderState::Silent => self.pause,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while it was locked left a complete state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn opens(&mut self, now: Instant, first_call_pause: Duration, retry_pause: Duration) {
        self.epoch += 1;
        self.unanswered.clear();
        let retry_from = now + retry_pause;
        let (since, logged_at) = (now, now);
        self.open = Some(Open {
            probing: false,
            probed_at: now,
            first_call_pause,
            retry_from,
            retry_pause,
            since,
            logged_at,
        });
        show(true);
    }

    /// A recent answer shows that the provider is there, however many payments it cannot decide.
    fn is_silent(&self, now: Instant, pause: Duration) -> bool {
        self.unanswered.len() >= FAILURE_THRESHOLD
            && self
                .answered_at
                .is_none_or(|answered_at| now.saturating_duration_since(answered_at) >= pause)
    }
}

impl Permit {
    /// The call was answered.
    pub(super) fn answered(mut self, now: Instant) {
        self.reported = true;
        let mut state = self.circuit.state();
        if state.epoch != self.epoch {
            return;
        }
        state.unanswered.clear();
        state.answered_at = Some(now);
        if let Some(open) = state.open.take() {
            state.epoch += 1;
            show(false);
            let seconds = now.saturating_duration_since(open.since).as_secs();
            tracing::info!(seconds, "the payment provider answers again");
        }
    }

    /// The call was not.
    pub(super) fn unanswered(mut self, now: Instant, failure: Failure) {
        self.reported = true;
        let (circuit, mut state) = (&self.circuit, self.circuit.state());
        if state.epoch != self.epoch {
            return;
        }
        let first_call_pause = circuit.pause_while(failure.provider);
        if let Some(open) = &mut state.open {
            open.probing = false;
            open.first_call_pause = first_call_pause;
            if self.purpose == Purpose::Retry {
                open.retry_pause = open
                    .retry_pause
                    .saturating_mul(2)
                    .min(circuit.longest_pause);
                open.retry_from = now + open.retry_pause;
            }
            open.log_again(now, &failure.why);
            return;
        }
        if state.unanswered.len() < FAILURE_THRESHOLD {
            state.unanswered.extend(failure.into_trouble);
        }
        if state.is_silent(now, circuit.pause) {
            state.opens(now, first_call_pause, circuit.pause);
            tracing::error!(
                "the payment provider gave no answer about {FAILURE_THRESHOLD} different payments in a row ({}): \
                 reservations stay open until it does; check the provider, Moa continues by itself",
                failure.why
            );
        }
    }
}

impl Drop for Permit {
    /// A cancelled probe allows another.
    fn drop(&mut self) {
        let mut state = self.circuit.state();
        let gives_up = !self.reported && state.epoch == self.epoch;
        if let Some(open) = state.open.as_mut().filter(|_| gives_up) {
            open.probing = false;
        }
    }
}

impl Open {
    /// That it lasts, at most once each [`REPEAT_INTERVAL`].
    fn log_again(&mut self, now: Instant, why: &str) {
        if now.saturating_duration_since(self.logged_at) >= REPEAT_INTERVAL {
            self.logged_at = now;
            let seconds = now.saturating_duration_since(self.since).as_secs();
            tracing::warn!(why, seconds, "the payment provider still gives no answer");
        }
    }

    fn first_call_from(&self) -> Instant {
        self.probed_at + self.first_call_pause
    }

    fn may_probe(&self, purpose: Purpose, now: Instant) -> bool {
        let in_time = match purpose {
            Purpose::FirstCall => now >= self.first_call_from(),
            Purpose::Retry => now >= self.retry_from,
            Purpose::FollowUp => false,
        };
        in_time && !self.probing
    }
}

fn show(open: bool) {
    metrics::gauge!("moa_payment_circuit_open").set(f64::from(u8::from(open)));
}

#[cfg(test)]
mod tests;
