//! How far a partition is published, and when that is to be noted.

use event_log::{Listener, Position, StoredEvent};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The checkpoint moves this long after the first event it is to pass, at the latest.
const SAVE: Duration = Duration::from_millis(100);

/// How far the partition is published, and how far that is noted.
pub(super) struct Progress {
    pub(super) checkpoint: Position,
    /// The last event that was confirmed after it, and when the first one was.
    pub(super) confirmed: Option<(StoredEvent, Instant)>,
}

impl Progress {
    pub(super) fn at(&self) -> Position {
        self.confirmed.as_ref().map_or(self.checkpoint, |(last, _)| last.position)
    }

    pub(super) fn confirm(&mut self, events: Vec<StoredEvent>) {
        let since = self.confirmed.as_ref().map_or_else(Instant::now, |(_, since)| *since);
        self.confirmed = events.into_iter().last().map(|last| (last, since)).or(self.confirmed.take());
    }

    /// When the checkpoint is to be moved; `None` when it need not.
    fn due(&self) -> Option<Instant> {
        self.confirmed.as_ref().map(|(_, since)| *since + SAVE)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The checkpoint is to be moved.
    Due,
    /// There is more to publish, or all is to stop.
    No,
}

/// Waits for more, or until the checkpoint is due.
pub(super) async fn wait(
    head: &mut Listener,
    progress: &Progress,
    paced: Instant,
    shutdown: &CancellationToken,
) -> Waited {
    let due = progress.due();
    if due.is_some_and(|due| due <= Instant::now()) {
        return Waited::Due;
    }
    let more = async {
        head.head_past(progress.at()).await;
        tokio::time::sleep_until(paced).await;
    };
    tokio::select! {
        () = more => Waited::No,
        () = shutdown.cancelled() => Waited::No,
        () = tokio::time::sleep_until(due.unwrap_or(paced)), if due.is_some() => Waited::Due,
    }
}
