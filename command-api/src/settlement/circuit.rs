//! The circuit breaker: it judges the provider by different payments, and leaves it alone when it answers none of them.
//!
//! One payment that the provider cannot decide says nothing about the others, however often it is tried again: it backs off by
//! itself. While the circuit is open one call at a time is a probe. Probes for a reservation's first call have a pause
//! of their own that does not grow, so payments in trouble never use up the tries of a new one. That pause is short while
//! the provider is there and only fails, so that new reservations come through between many that it cannot decide.

use super::waits::Waits;
use domain::InvestId;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many different payments without an answer, and nothing answered in between, open it.
const FAILURE_THRESHOLD: usize = 5;

/// What a call is for, as far as the circuit breaker treats it in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The first call about a reservation: probes of these keep an even pace.
    FirstCall,
    /// A payment in trouble is tried again: probes of these back off.
    Retry,
    /// The rest of a payment that is under way: never a probe.
    FollowUp,
}

/// A call without an answer.
#[derive(Debug)]
pub(super) struct Failure {
    /// Its payment, unless that was known to be in trouble before: that it still is so says nothing about the provider.
    pub into_trouble: Option<InvestId>,
    pub provider: Seems,
    pub why: String,
}

/// How the provider seems to be, by a call that it did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seems {
    /// Something came back: it cannot say what became of this payment.
    Failing,
    /// Nothing came back.
    Silent,
}

#[derive(Debug)]
pub(super) struct Circuit {
    state: Mutex<State>,
    pause: Duration,
    longest_pause: Duration,
    failing_pause: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Grows when it opens and when it closes; a call of an earlier time has nothing to say any more.
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
    /// When the last probe began: one that hangs holds up the next one as it is.
    probed_at: Instant,
    first_call_pause: Duration,
    retry_from: Instant,
    retry_pause: Duration,
}

/// Leave to make one call. Dropped without a word, because the call was given up, it counts as none.
#[derive(Debug)]
pub(super) struct Pass {
    circuit: Arc<Circuit>,
    epoch: u64,
    purpose: Purpose,
    reported: bool,
}

impl Circuit {
    pub(super) fn new(waits: &Waits) -> Self {
        show(false);
        let (pause, longest_pause, failing_pause) = (waits.open, waits.open_most, waits.open_failing);
        Self { state: Mutex::default(), pause, longest_pause, failing_pause }
    }

    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    /// Leave to make a call now: any while it is closed, else one probe at a time when its purpose may have one.
    pub(super) fn admit(self: &Arc<Self>, purpose: Purpose, now: Instant) -> Option<Pass> {
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
        Some(Pass { circuit: self.clone(), epoch, purpose, reported: false })
    }

    /// When the next probe for a first call may begin; `None` while it is closed, or one is under way.
    pub(super) fn next_first_call(&self) -> Option<Instant> {
        self.state().open.as_ref().filter(|open| !open.probing).map(Open::first_call_from)
    }

    /// Whether it is open, and a payment in trouble may be tried.
    pub(super) fn owes_a_retry(&self, now: Instant) -> bool {
        self.state().open.as_ref().is_some_and(|open| open.may_probe(Purpose::Retry, now))
    }

    /// No payment in trouble is there to be tried: this comes up again a little later.
    pub(super) fn has_no_retry(&self, now: Instant) {
        if let Some(open) = &mut self.state().open {
            open.retry_from = now + open.retry_pause;
        }
    }

    fn pause_while(&self, provider: Seems) -> Duration {
        match provider {
            Seems::Failing => self.failing_pause,
            Seems::Silent => self.pause,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left a state that is whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn opens(&mut self, now: Instant, first_call_pause: Duration, retry_pause: Duration) {
        self.epoch += 1;
        self.unanswered.clear();
        let retry_from = now + retry_pause;
        self.open = Some(Open { probing: false, probed_at: now, first_call_pause, retry_from, retry_pause });
        show(true);
    }

    /// An answer so recent shows that the provider lives, however many payments it cannot decide.
    fn is_silent(&self, now: Instant, pause: Duration) -> bool {
        self.unanswered.len() >= FAILURE_THRESHOLD
            && self.answered_at.is_none_or(|answered_at| now.saturating_duration_since(answered_at) >= pause)
    }
}

impl Pass {
    /// The call was answered.
    pub(super) fn answered(mut self, now: Instant) {
        self.reported = true;
        let mut state = self.circuit.state();
        if state.epoch != self.epoch {
            return;
        }
        state.unanswered.clear();
        state.answered_at = Some(now);
        if state.open.take().is_some() {
            state.epoch += 1;
            show(false);
            tracing::info!("the payment provider answers again");
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
                open.retry_pause = open.retry_pause.saturating_mul(2).min(circuit.longest_pause);
                open.retry_from = now + open.retry_pause;
            }
            return;
        }
        if state.unanswered.len() < FAILURE_THRESHOLD {
            state.unanswered.extend(failure.into_trouble);
        }
        if state.is_silent(now, circuit.pause) {
            state.opens(now, first_call_pause, circuit.pause);
            tracing::error!(
                "the payment provider gave no answer about {FAILURE_THRESHOLD} different payments in a row ({}): \
                 reservations stay open until it does; look after it, Moa goes on by itself then",
                failure.why
            );
        }
    }
}

impl Drop for Pass {
    /// A probe that was given up makes room for another.
    fn drop(&mut self) {
        let mut state = self.circuit.state();
        let gives_up = !self.reported && state.epoch == self.epoch;
        if let Some(open) = state.open.as_mut().filter(|_| gives_up) {
            open.probing = false;
        }
    }
}

impl Open {
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
