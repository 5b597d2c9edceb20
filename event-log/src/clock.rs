//! The database's clock, read without asking for it: its offset is measured at each append.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use std::time::Instant;

/// What the database's clock said, and when it said so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DatabaseClock {
    said: DateTime<Utc>,
    heard: Instant,
}

impl DatabaseClock {
    /// `said` was read by the database somewhere between `asked` and now; the middle is the best guess.
    pub(crate) fn heard(said: DateTime<Utc>, asked: Instant) -> Self {
        Self { said, heard: asked + asked.elapsed() / 2 }
    }

    /// The database's time now, in whole microseconds as it stores them.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let now = self.said + TimeDelta::from_std(self.heard.elapsed()).unwrap_or(TimeDelta::zero());
        now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now)
    }
}
