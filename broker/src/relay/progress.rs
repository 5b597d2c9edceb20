//! How far a partition is published, and when its checkpoint is due.

use event_log::{LocalSubscription, Position, RawEvent};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A confirmed event moves the checkpoint after this time at the latest.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

/// The position that is published, and the position that is stored.
pub(super) struct Progress {
    pub(super) checkpoint: Position,
    /// The last event that was confirmed after the checkpoint, and when the first one was.
    pub(super) confirmed: Option<(RawEvent, Instant)>,
}

impl Progress {
    pub(super) fn position(&self) -> Position {
        self.confirmed
            .as_ref()
            .map_or(self.checkpoint, |(last, _)| last.position)
    }

    pub(super) fn confirm(&mut self, events: Vec<RawEvent>) {
        let since = self
            .confirmed
            .as_ref()
            .map_or_else(Instant::now, |(_, since)| *since);
        self.confirmed = events
            .into_iter()
            .last()
            .map(|last| (last, since))
            .or(self.confirmed.take());
    }

    /// When the checkpoint is due to move; `None` when nothing was confirmed since it moved.
    fn checkpoint_due(&self) -> Option<Instant> {
        self.confirmed
            .as_ref()
            .map(|(_, since)| *since + CHECKPOINT_INTERVAL)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wakeup {
    CheckpointDue,
    /// There is more to publish, or the process shuts down.
    Continue,
}

/// Waits until there is more to publish or the checkpoint is due.
pub(super) async fn wait(
    head: &mut LocalSubscription,
    progress: &Progress,
    not_before: Instant,
    shutdown: &CancellationToken,
) -> Wakeup {
    let due = progress.checkpoint_due();
    if due.is_some_and(|due| due <= Instant::now()) {
        return Wakeup::CheckpointDue;
    }
    let more = async {
        head.head_past(progress.position()).await;
        tokio::time::sleep_until(not_before).await;
    };
    tokio::select! {
        () = more => Wakeup::Continue,
        () = shutdown.cancelled() => Wakeup::Continue,
        () = tokio::time::sleep_until(due.unwrap_or(not_before)), if due.is_some() => Wakeup::CheckpointDue,
    }
}
