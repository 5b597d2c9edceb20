//! The database's clock, trusted only as far as the process's monotonic clock agrees.
//!
//! Every append returns the database's time. Between two readings the monotonic clock goes on. A reading that deviates from it by more
//! than [`MAX_CLOCK_STEP`] is a jump: it is not trusted, and the log takes no writes until a reading agrees again or an operator accepts
//! it. So no product opens or ends early because somebody set a clock.

use crate::{Clause, Readiness, WriteStop};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How far the database's clock may deviate from the monotonic one and still be trusted.
pub const MAX_CLOCK_STEP: Duration = Duration::from_secs(5);
/// How fast the two may drift apart: 1 ms a second. NTP slews at most half as fast.
const MAX_DRIFT_PER_SECOND: f64 = 0.001;
/// Goes on while the machine is suspended, unlike [`std::time::Instant`] on Linux: to wake up is no jump.
#[cfg(target_os = "linux")]
const STEADY: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const STEADY: ClockId = ClockId::Monotonic;

/// A moment on the monotonic clock of this machine, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SteadyInstant(Duration);

impl SteadyInstant {
    /// This moment.
    pub fn now() -> Self {
        let now = clock_gettime(STEADY);
        // Neither is ever negative on a clock that began with the machine.
        Self(Duration::new(
            now.tv_sec.unsigned_abs(),
            now.tv_nsec.unsigned_abs() as u32,
        ))
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    fn since(self, earlier: Self) -> TimeDelta {
        delta(self.0) - delta(earlier.0)
    }
}

fn delta(time: Duration) -> TimeDelta {
    TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX)
}

/// A reading of the database's clock: from then on its time is known without a query.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseClock {
    said: DateTime<Utc>,
    heard: SteadyInstant,
}

impl DatabaseClock {
    /// A query was sent when `asked`; the database began it at `received` and answered at `said`, both by its own clock. How the rest of
    /// the time splits into the two network trips is not known; half each is the best guess.
    pub fn observed(received: DateTime<Utc>, said: DateTime<Utc>, asked: SteadyInstant) -> Self {
        let took = asked.elapsed();
        let waited = (said - received).to_std().unwrap_or_default().min(took);
        Self {
            said,
            heard: SteadyInstant(asked.0 + waited + (took - waited) / 2),
        }
    }

    /// The database's time now, in whole microseconds as it stores them.
    pub fn now(&self) -> DateTime<Utc> {
        storable(self.at(SteadyInstant::now()))
    }

    fn at(&self, moment: SteadyInstant) -> DateTime<Utc> {
        self.said + moment.since(self.heard)
    }
}

/// One log's time in this process: the database's, while it can be trusted.
#[derive(Debug)]
pub(crate) struct LogClock {
    state: Mutex<Option<State>>,
    clause: Clause,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The last trusted reading.
    latest: DatabaseClock,
    /// What readings are compared with. It follows them no faster than clocks drift, so that many small steps count as a jump, too.
    reference: DatabaseClock,
    /// The deviation of the last reading, when it was not trusted.
    jump: Option<TimeDelta>,
    /// The latest time that was told. A reading is as exact as the trip of its answer was short, so one may be before another.
    told: DateTime<Utc>,
}

impl LogClock {
    pub(crate) fn new(readiness: &Readiness) -> Self {
        Self {
            state: Mutex::default(),
            clause: readiness.clause("clock"),
        }
    }

    /// The last trusted reading; `None` before the first.
    pub(crate) fn latest(&self) -> Option<DatabaseClock> {
        self.state().map(|state| state.latest)
    }

    /// The time, going on from that reading. It does not go back with a trusted reading: it stands still until it is that time again, at
    /// most for twice [`MAX_CLOCK_STEP`].
    pub(crate) fn now(&self) -> Option<DateTime<Utc>> {
        let mut state = self.state();
        let state = state.as_mut()?;
        state.told = state.told.max(state.latest.now());
        Some(state.told)
    }

    /// Why writes are stopped, when the database's clock deviates too far.
    pub(crate) fn stop(&self) -> Option<WriteStop> {
        let jump = self.state().and_then(|state| state.jump)?;
        Some(WriteStop::ClockJumped {
            seconds: jump.num_seconds(),
        })
    }

    /// Takes a reading, see [`DatabaseClock::observed`].
    pub(crate) fn observe(
        &self,
        received: DateTime<Utc>,
        said: DateTime<Utc>,
        asked: SteadyInstant,
    ) {
        let reading = DatabaseClock::observed(received, said, asked);
        let mut state = self.state();
        let next = state.map_or_else(
            || State::first(reading),
            |known| known.followed_by(reading, asked),
        );
        *state = Some(next);
        drop(state);
        self.update_clause();
    }

    /// Trusts the next reading, whatever it is.
    pub(crate) fn accept(&self) {
        *self.state() = None;
    }

    fn update_clause(&self) {
        match self.stop() {
            Some(why) => self.clause.fail(why),
            None if self.clause.is_failed() => self.clause.clear(),
            None => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, Option<State>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn first(reading: DatabaseClock) -> Self {
        Self {
            latest: reading,
            reference: reading,
            jump: None,
            told: reading.said,
        }
    }

    fn followed_by(self, reading: DatabaseClock, asked: SteadyInstant) -> Self {
        // The reading is from between the query and now: a slow answer is no jump.
        let earliest = self.reference.at(asked) - delta(MAX_CLOCK_STEP);
        let latest = self.reference.at(SteadyInstant::now()) + delta(MAX_CLOCK_STEP);
        if (earliest..=latest).contains(&reading.said) {
            return Self {
                latest: reading,
                reference: self.slewed_to(reading),
                jump: None,
                ..self
            };
        }
        Self {
            jump: Some(reading.said - self.reference.at(reading.heard)),
            ..self
        }
    }

    fn slewed_to(&self, reading: DatabaseClock) -> DatabaseClock {
        let expected = self.reference.at(reading.heard);
        let since = reading
            .heard
            .since(self.reference.heard)
            .to_std()
            .unwrap_or_default();
        let most = delta(since.mul_f64(MAX_DRIFT_PER_SECOND));
        let off = (reading.said - expected).clamp(-most, most);
        DatabaseClock {
            said: expected + off,
            heard: reading.heard,
        }
    }
}

/// A time in whole microseconds: what comes back when it is stored.
pub fn storable(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1))
        .unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings taken at moments of a steady clock that the test moves, in milliseconds.
    struct Readings {
        began: SteadyInstant,
        state: State,
    }

    fn reading(began: SteadyInstant, after_ms: i64, off_ms: i64) -> DatabaseClock {
        let heard = SteadyInstant(began.0 + Duration::from_millis(after_ms.unsigned_abs()));
        DatabaseClock {
            said: DateTime::UNIX_EPOCH + TimeDelta::milliseconds(after_ms + off_ms),
            heard,
        }
    }

    impl Readings {
        fn begin() -> Self {
            // Long enough ago that every moment of a test is past.
            let began = SteadyInstant(
                SteadyInstant::now()
                    .0
                    .saturating_sub(Duration::from_secs(3_600)),
            );
            Self {
                began,
                state: State::first(reading(began, 0, 0)),
            }
        }

        /// As if the answer came at once.
        fn take(&mut self, after_ms: i64, off_ms: i64) -> bool {
            let reading = reading(self.began, after_ms, off_ms);
            let earliest = self.state.reference.at(reading.heard) - delta(MAX_CLOCK_STEP);
            let latest = self.state.reference.at(reading.heard) + delta(MAX_CLOCK_STEP);
            let believed = (earliest..=latest).contains(&reading.said);
            self.state = if believed {
                State {
                    latest: reading,
                    reference: self.state.slewed_to(reading),
                    jump: None,
                    ..self.state
                }
            } else {
                State {
                    jump: Some(TimeDelta::zero()),
                    ..self.state
                }
            };
            believed
        }
    }

    /// A reading of a slow answer is less exact than the one before it. Who was told that a product has finished is not to see another
    /// accepted after that, so the time does not go back with the reading.
    #[test]
    fn the_time_does_not_go_back_with_a_reading() {
        let clock = LogClock::new(&Readiness::default());
        let begin = storable(Utc::now());
        let observe = |off_ms| {
            let said = begin + TimeDelta::milliseconds(off_ms);
            clock.observe(said, said, SteadyInstant::now());
        };
        observe(300);
        let before = clock.now().unwrap();
        observe(0);
        let after = clock.now().unwrap();
        assert!(after >= before, "{after} after {before}");
        // It stands still for no longer than that.
        assert!(
            after - before < TimeDelta::milliseconds(300),
            "{after} long after {before}"
        );
        observe(1_000);
        assert!(clock.now().unwrap() >= begin + TimeDelta::milliseconds(1_000));
    }

    /// An operator has accepted that it goes back.
    #[test]
    fn the_time_goes_back_where_that_is_accepted() {
        let clock = LogClock::new(&Readiness::default());
        let now = Utc::now();
        clock.observe(now, now, SteadyInstant::now());
        clock.now().unwrap();
        clock.accept();
        let earlier = now - TimeDelta::hours(1);
        clock.observe(earlier, earlier, SteadyInstant::now());
        assert!(clock.now().unwrap() < now - TimeDelta::minutes(59));
    }

    #[test]
    fn many_small_steps_are_a_jump_too() {
        let mut readings = Readings::begin();
        let believed = (1..=20)
            .take_while(|step| readings.take(step * 50, step * 1_000))
            .count();
        assert!(
            (5..=6).contains(&believed),
            "{believed} steps of a second were believed"
        );
    }

    #[test]
    fn drift_as_of_a_bad_oscillator_is_followed_for_an_hour() {
        let mut readings = Readings::begin();
        assert!(
            (1..3_600).all(|second| readings.take(second * 1_000, second)),
            "1 ms a second"
        );
        assert!(!readings.take(3_600_000, 3_600 + 5_100));
    }

    #[test]
    fn a_step_within_the_bound_is_believed_and_then_counts() {
        let mut readings = Readings::begin();
        assert!(readings.take(1_000, 4_000));
        assert!(!readings.take(2_000, 8_000), "two steps of 4 s");
        assert!(readings.take(3_000, 4_000), "it is back");
    }
}
