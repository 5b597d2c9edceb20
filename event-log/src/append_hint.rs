//! Hints between processes (LISTEN and NOTIFY): an append tells the others that the log has grown, so that they poll the heads at once.
//!
//! A hint is no more than that. Any login may send one, so nobody believes what it says; it may be lost, and behind it the heads are
//! polled as before. A commit that sends one waits for every other that does, in the whole database, so a writer sends few: under load
//! the next poll is near, and nobody needs them.

use crate::log::Log;
use log_format::{Partition, Position};
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// What listeners listen to.
pub(crate) const APPEND_CHANNEL: &str = "moa_append";
/// A writer sends this many hints in a row, and one more each [`HINT_INTERVAL`].
const MAX_HINTS_IN_A_ROW: u32 = 4;
const HINT_INTERVAL: Duration = Duration::from_millis(50);
/// The pause before a listener that cannot listen tries again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Which appends of one writer send a hint.
#[derive(Debug, Default)]
pub(crate) struct HintBudget {
    /// When all hints are there again (a leaky bucket).
    full_at: Option<Instant>,
}

impl HintBudget {
    /// Whether the append at `now` may send one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let full_at = self.full_at.map_or(now, |at| at.max(now)) + HINT_INTERVAL;
        let may = full_at <= now + HINT_INTERVAL * MAX_HINTS_IN_A_ROW;
        if may {
            self.full_at = Some(full_at);
        }
        may
    }
}

/// What a hint says: somebody appended up to here.
pub(crate) fn payload(partition: Partition, position: Position) -> String {
    format!("{partition} {position}")
}

fn parse(payload: &str) -> Option<(Partition, Position)> {
    let (partition, position) = payload.split_once(' ')?;
    Some((partition.parse().ok()?, position.parse().ok()?))
}

/// What a process hears from the others.
#[derive(Debug, Default)]
pub(crate) struct AppendHints {
    heard: Notify,
    is_listening: AtomicBool,
}

impl AppendHints {
    /// Waits for a hint that says something new, or returns at once where one came since the last call.
    pub(crate) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Whether hints arrive, as far as this process knows.
    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    /// Listens for ever, on a connection of its own.
    pub(crate) async fn listen(&self, log: &Log) {
        loop {
            let Err(error) = self.listen_once(log).await;
            self.is_listening.store(false, Ordering::Relaxed);
            tracing::debug!(%error, "hints of appends are not heard; the heads are polled");
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }

    /// Listens until the connection is lost.
    async fn listen_once(&self, log: &Log) -> sqlx::Result<Infallible> {
        let mut listener = log.pool().listen(APPEND_CHANNEL).await?;
        self.is_listening.store(true, Ordering::Relaxed);
        // What was appended before is found by a poll.
        self.heard.notify_one();
        loop {
            if is_news(log, &listener.next().await?) {
                self.heard.notify_one();
            }
        }
    }
}

/// Not what this process has appended itself.
fn is_news(log: &Log, payload: &str) -> bool {
    parse(payload)
        .and_then(|(partition, position)| Some((log.feed(partition)?.head(), position)))
        .is_none_or(|(known, position)| known < position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_hints_in_a_row_and_then_one_each_interval() {
        let (mut budget, start) = (HintBudget::default(), Instant::now());
        let taken = |budget: &mut HintBudget, at| (0..10).filter(|_| budget.take(at)).count();
        assert_eq!(taken(&mut budget, start), 4);
        assert_eq!(taken(&mut budget, start + HINT_INTERVAL), 1);
        assert_eq!(taken(&mut budget, start + HINT_INTERVAL * 100), 4);
    }

    #[test]
    fn a_hint_says_how_far_the_log_goes() {
        assert_eq!(parse(&payload(3, 1_234)), Some((3, 1_234)));
        assert_eq!(parse("anything else"), None);
    }
}
