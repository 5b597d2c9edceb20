//! How fast a consumer, or the relay, takes its steps: a lone event is applied at once, a busy log in few large steps.

use log_format::Position;
use std::time::Duration;
use tokio::time::Instant;

/// Time from the start of a step to the start of the next at least. A lone event never waits.
pub(super) const MIN_STEP_INTERVAL: Duration = Duration::from_millis(2);
/// Above so many events a second, steps begin [`STEADY_STEP_INTERVAL`] apart at least: each for one event would cost most of a core.
const STEADY_EVENTS_PER_SECOND: f64 = 100.0;
const STEADY_STEP_INTERVAL: Duration = Duration::from_millis(20);
/// Above so many a consumer is under load: it lets events gather until its linger is over.
const BUSY_EVENTS_PER_SECOND: f64 = 500.0;

/// When the next step may begin: at once while there is little to do, after the linger under load.
#[derive(Debug)]
pub struct Pace {
    linger: Duration,
    /// When the last step began, and the position that it reached.
    last: Option<(Instant, Position)>,
}

impl Pace {
    /// Of steps that begin `linger` apart at least under load.
    pub fn of(linger: Duration) -> Self {
        Self { linger, last: None }
    }

    /// When the step may begin that follows the one that began at `began` and reached `at`.
    pub fn next_step_at(&mut self, began: Instant, at: Position) -> Instant {
        let per_second = self
            .last
            .replace((began, at))
            .map_or(0.0, |(last_began, last_at)| {
                let seconds = (began - last_began).max(MIN_STEP_INTERVAL).as_secs_f64();
                (at - last_at) as f64 / seconds
            });
        let interval = if per_second > BUSY_EVENTS_PER_SECOND {
            self.linger
        } else if per_second > STEADY_EVENTS_PER_SECOND {
            self.linger.min(STEADY_STEP_INTERVAL)
        } else {
            MIN_STEP_INTERVAL
        };
        began + interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINGER_DELAY: Duration = Duration::from_millis(500);

    /// How long after its start a step is followed by the next, when each brings so many events, so far apart.
    fn interval(events: Position, apart: Duration) -> Duration {
        let (mut pace, start) = (Pace::of(LINGER_DELAY), Instant::now());
        pace.next_step_at(start, 0);
        pace.next_step_at(start + apart, events) - (start + apart)
    }

    #[test]
    fn a_lone_event_never_waits_and_a_busy_log_is_applied_in_large_steps() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        assert_eq!(
            Pace::of(LINGER_DELAY).next_step_at(now, 1_000_000),
            now + MIN_STEP_INTERVAL,
            "a first step has no rate"
        );
        assert_eq!(interval(1, second), MIN_STEP_INTERVAL);
        assert_eq!(interval(100, second), MIN_STEP_INTERVAL);
        assert_eq!(interval(101, second), STEADY_STEP_INTERVAL);
        assert_eq!(interval(501, second), LINGER_DELAY);
        assert_eq!(
            interval(1, Duration::ZERO),
            STEADY_STEP_INTERVAL,
            "no interval counts as less than the least"
        );
    }
}
