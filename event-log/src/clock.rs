//! The database's clock, read without asking for it: its offset is measured at each append.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use std::time::Instant;

/// What the database's clock said, and when it said so: its time can be told from then on without asking.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseClock {
    said: DateTime<Utc>,
    heard: Instant,
}

impl DatabaseClock {
    /// The database was `asked`, received that at `received`, and `said` its time, both by its own clock. Where in the
    /// rest of the time till now the way there and back lay is not known; the middle is the best guess.
    pub fn heard(received: DateTime<Utc>, said: DateTime<Utc>, asked: Instant) -> Self {
        let waited = (said - received).to_std().unwrap_or_default().min(asked.elapsed());
        Self { said, heard: asked + waited + (asked.elapsed() - waited) / 2 }
    }

    /// The database's time now, in whole microseconds as it stores them.
    pub fn now(&self) -> DateTime<Utc> {
        let now = self.said + TimeDelta::from_std(self.heard.elapsed()).unwrap_or(TimeDelta::zero());
        storable(now)
    }
}

/// A time in whole microseconds: what comes back when it is stored.
pub fn storable(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(time)
}
