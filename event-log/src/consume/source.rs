//! Where a consumer learns that there is something to apply, and may receive it.

use crate::RecordedEvent;
use log_format::Position;
use tokio::time::Instant;

/// Events that are enough for one step. A source that returns fewer has nothing older left.
pub const MAX_EVENTS_PER_STEP: usize = 4_000;

/// What wakes a consumer, and may hand it the events.
pub trait EventSource: Send {
    /// Waits until there is something after `position`, and until `not_before` unless that is a lot; then appends the events that
    /// it has to `delivered`, in order. They may be none, or have gaps: the log has all of them. It is called again, with the
    /// position reached, after a step is committed or finds nothing; events at or before that position are done. It may return
    /// early for any reason, and dropping the future loses nothing.
    fn next_batch(
        &mut self,
        position: Position,
        not_before: Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) -> impl Future<Output = ()> + Send;

    /// The queue of RabbitMQ that the events are delivered from; `None` where they come from this process.
    fn queue(&self) -> Option<&str> {
        None
    }

    /// After a fault the database may have lost its last events: forgets those that it has and did not deliver, as far as it can.
    fn distrust(&mut self) {}
}
