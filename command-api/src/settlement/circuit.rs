//! The circuit breaker: a provider that does not answer is left alone for a while, then tried with one call at a time.

use super::waits::Waits;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many calls in a row without an answer open it.
const IN_A_ROW: u32 = 5;

#[derive(Debug)]
pub(super) struct Circuit {
    state: Mutex<State>,
    open: Duration,
    open_most: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Grows when it opens and when it closes; a call of an earlier time has nothing to say any more.
    epoch: u64,
    /// Calls in a row without an answer, while it is closed.
    unanswered: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    lasts: Duration,
    probing: bool,
}

/// Leave to make one call. Dropped without a word, because the call was given up, it counts as none.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    circuit: &'a Circuit,
    epoch: u64,
    reported: bool,
}

impl Circuit {
    pub(super) fn new(waits: &Waits) -> Self {
        show(false);
        Self { state: Mutex::default(), open: waits.open, open_most: waits.open_most }
    }

    /// Leave to make a call now: any while it is closed, one at a time when it was open long enough, else none.
    pub(super) fn admit(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.state();
        let epoch = state.epoch;
        if let Some(open) = &mut state.open {
            if !open.may_probe(now) {
                return None;
            }
            open.probing = true;
        }
        Some(Pass { circuit: self, epoch, reported: false })
    }

    /// How many new payments to begin with, when `usual` would do while it is closed.
    pub(super) fn room(&self, usual: usize, now: Instant) -> usize {
        match &self.state().open {
            None => usual,
            Some(open) if open.may_probe(now) => usual.min(1),
            Some(_) => 0,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked with it left a state that is whole all the same.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass<'_> {
    /// The call was answered.
    pub(super) fn answered(mut self) {
        self.reported = true;
        let mut state = self.circuit.state();
        if state.epoch != self.epoch {
            return;
        }
        state.unanswered = 0;
        if state.open.take().is_some() {
            state.epoch += 1;
            show(false);
            tracing::info!("the payment provider answers again");
        }
    }

    /// The call was not, and why.
    pub(super) fn unanswered(mut self, now: Instant, why: &str) {
        self.reported = true;
        let mut state = self.circuit.state();
        if state.epoch != self.epoch {
            return;
        }
        state.unanswered += 1;
        if let Some(open) = &mut state.open {
            let lasts = open.lasts.saturating_mul(2).min(self.circuit.open_most);
            *open = Open { until: now + lasts, lasts, probing: false };
        } else if state.unanswered >= IN_A_ROW {
            state.epoch += 1;
            state.unanswered = 0;
            state.open = Some(Open { until: now + self.circuit.open, lasts: self.circuit.open, probing: false });
            show(true);
            tracing::error!(
                "the payment provider does not answer ({why}): reservations stay open until it does; look after it, \
                 Moa goes on by itself then"
            );
        }
    }
}

impl Drop for Pass<'_> {
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
    fn may_probe(&self, now: Instant) -> bool {
        !self.probing && now >= self.until
    }
}

fn show(open: bool) {
    metrics::gauge!("moa_payment_circuit_open").set(f64::from(u8::from(open)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circuit() -> (Circuit, Instant) {
        (Circuit::new(&Waits::USUAL), Instant::now())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Calls, one after another, without an answer.
    fn unanswered(circuit: &Circuit, times: u32, now: Instant) {
        for _ in 0..times {
            circuit.admit(now).unwrap().unanswered(now, "silent");
        }
    }

    #[test]
    fn it_opens_after_five_in_a_row() {
        let (circuit, now) = circuit();
        unanswered(&circuit, 4, now);
        circuit.admit(now).unwrap().answered();
        unanswered(&circuit, 4, now);
        assert_eq!(circuit.room(64, now), 64);
        unanswered(&circuit, 1, now);
        assert_eq!(circuit.room(64, now), 0);
        assert!(circuit.admit(now).is_none());
    }

    #[test]
    fn then_one_at_a_time_is_tried_and_an_answer_closes_it() {
        let (circuit, now) = circuit();
        unanswered(&circuit, 5, now);
        assert!(circuit.admit(now + Duration::from_millis(999)).is_none());
        let later = now + seconds(1);
        assert_eq!(circuit.room(64, later), 1);
        let probe = circuit.admit(later).unwrap();
        assert_eq!(circuit.room(64, later), 0);
        assert!(circuit.admit(later).is_none());
        probe.answered();
        assert_eq!(circuit.room(64, later), 64);
        unanswered(&circuit, 4, later);
        assert!(circuit.admit(later).is_some());
    }

    #[test]
    fn each_try_without_an_answer_doubles_the_time_up_to_thirty_seconds() {
        let (circuit, mut now) = circuit();
        unanswered(&circuit, 5, now);
        for lasts in [1, 2, 4, 8, 16, 30, 30] {
            assert!(circuit.admit(now + seconds(lasts) - Duration::from_millis(1)).is_none());
            now += seconds(lasts);
            unanswered(&circuit, 1, now);
        }
    }

    #[test]
    fn a_try_that_was_given_up_makes_room_for_another() {
        let (circuit, now) = circuit();
        unanswered(&circuit, 5, now);
        let later = now + seconds(1);
        drop(circuit.admit(later).unwrap());
        assert!(circuit.admit(later).is_some());
    }

    /// 1. Calls are under way while it is closed.
    /// 2. It opens; what those say now changes nothing, nor while one is tried.
    #[test]
    fn calls_of_before_it_opened_have_no_say() {
        let (circuit, now) = circuit();
        let [answered, unanswered_late, dropped] = [(); 3].map(|()| circuit.admit(now).unwrap());
        unanswered(&circuit, 5, now);
        answered.answered();
        assert!(circuit.admit(now).is_none());
        let later = now + seconds(1);
        let probe = circuit.admit(later).unwrap();
        unanswered_late.unanswered(later, "silent");
        drop(dropped);
        assert!(circuit.admit(later).is_none());
        probe.answered();
        assert_eq!(circuit.room(64, later), 64);
    }
}
