//! A consumer's subscription to its queue. Every delivery is verified against the log before it is applied; what is not
//! delivered, the consumer reads from the log (gap fill). So the queue may lose, repeat or invent messages.

mod inbox;
mod subscription;

use crate::validated_messages::ValidatedMessages;
use crate::{Broker, topology};
use connection_pool::Pool;
use event_log::consume::EventSource;
use event_log::{LocalSubscription, Log, Partition, Position, RecordedEvent, RepeatedFault};
use inbox::Unacknowledged;
use lapin::message::Delivery;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use subscription::QueueSubscription;
use tokio::sync::watch;
use tokio::time::Instant;

/// Messages that are on their way to a consumer, or with it, and not yet acknowledged.
const MAX_UNACKNOWLEDGED_MESSAGES: u16 = 16;
/// How long the log may be ahead of the deliveries before the consumer reads from the log.
const GAP_TIMEOUT: Duration = Duration::from_secs(1);
/// Where the log is so many events ahead, the consumer waits only [`TAKEOVER_GRACE`].
const BULK_LAG_EVENTS: Position = 20_000;
/// How long another instance, if there is one, has to move the checkpoint before this one reads the log itself.
const TAKEOVER_GRACE: Duration = Duration::from_millis(100);
/// The wait after the database did not answer.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Deliveries from RabbitMQ to one consumer of one partition; it also says when the log has events that are not delivered.
/// Holds a channel while it lives.
///
/// A message is acknowledged once its events are applied, by this instance or another; until then the server keeps it.
pub struct Deliveries {
    log: Log,
    pool: Pool,
    consumer: &'static str,
    partition: Partition,
    queue: String,
    head: LocalSubscription,
    subscription: QueueSubscription,
    validated: Arc<ValidatedMessages>,
    /// Not yet validated. This and the next two together hold at most [`MAX_UNACKNOWLEDGED_MESSAGES`] of a channel.
    received: VecDeque<Delivery>,
    /// To be parked, with the reason.
    invalid: VecDeque<(Delivery, String)>,
    /// Valid, and not yet applied.
    unacknowledged: Vec<Unacknowledged>,
    /// The consumer's position when it was last sent to the log.
    filled_from_log_at: Option<Position>,
    parking_fault: RepeatedFault,
}

/// Why a consumer is woken.
enum Wakeup {
    /// A message was received.
    Received,
    /// The log has events that are not delivered.
    Gap,
}

impl Deliveries {
    /// Deliveries of `consumer`'s queue at `partition`; `None` when the log has no such partition. The queue is declared
    /// and consumed from in the background, as soon as and whenever the broker is there. `pool`'s database is the log's:
    /// invalid deliveries are parked there.
    ///
    /// Needs [`Log::poll_heads`] to run, and a runtime.
    pub fn new(
        log: &Log,
        broker: &Broker,
        pool: Pool,
        consumer: &'static str,
        partition: Partition,
    ) -> Option<Self> {
        let head = log.subscribe(partition)?;
        let queue = topology::queue(log.identity().log_id, consumer, partition);
        Some(Self {
            log: log.clone(),
            pool,
            consumer,
            partition,
            parking_fault: RepeatedFault::new("an invalid delivery cannot be parked", &queue),
            queue,
            head,
            subscription: QueueSubscription::start(broker.clone(), consumer, partition),
            validated: broker.validated_messages().clone(),
            received: VecDeque::new(),
            invalid: VecDeque::new(),
            unacknowledged: Vec::new(),
            filled_from_log_at: None,
        })
    }

    /// Waits for a message, or until the log has events that are not delivered. Moves `position` on when another instance
    /// moved the checkpoint.
    async fn wait(&mut self, position: &mut Position) -> Wakeup {
        if !self.received.is_empty() {
            return Wakeup::Received;
        }
        // A gap fill that moved the consumer may continue at once.
        let is_catching_up = self
            .filled_from_log_at
            .take()
            .is_some_and(|at| *position > at);
        let grace = if is_catching_up {
            Duration::ZERO
        } else {
            TAKEOVER_GRACE
        };
        loop {
            tokio::select! {
                biased;
                Some(delivery) = self.subscription.incoming.recv() => {
                    self.received.push_back(delivery);
                    return Wakeup::Received;
                }
                is_consuming = wait_for_gap(&mut self.head, &mut self.subscription.is_consuming, *position, grace) => {
                    if !is_consuming {
                        return Wakeup::Gap;
                    }
                }
            }
            match self.checkpoint().await {
                // Another instance applies this partition and gets the deliveries.
                Some(at) if at > *position => {
                    *position = at;
                    self.acknowledge(at);
                }
                _ => return self.fill_gap(*position),
            }
        }
    }

    fn fill_gap(&mut self, position: Position) -> Wakeup {
        self.filled_from_log_at = Some(position);
        metrics::counter!("moa_deliveries_gap_filled_total", "consumer" => self.consumer)
            .increment(1);
        self.subscription.redeclare_queue();
        Wakeup::Gap
    }

    /// The consumer's checkpoint; `None` when it cannot be read, or is kept outside the database.
    async fn checkpoint(&self) -> Option<Position> {
        let position = sqlx::query_scalar(
            "select position from checkpoints where consumer = $1 and partition = $2",
        )
        .bind(self.consumer)
        .bind(self.partition)
        .fetch_optional(&self.pool);
        position.await.ok().flatten()
    }

    /// Takes the messages that are received until `not_before`, or until the server sends no more before some are acknowledged.
    async fn gather(&mut self, not_before: Instant) {
        let held =
            |this: &Self| this.received.len() + this.invalid.len() + this.unacknowledged.len();
        while held(self) < usize::from(MAX_UNACKNOWLEDGED_MESSAGES) {
            tokio::select! {
                biased;
                Some(delivery) = self.subscription.incoming.recv() => self.received.push_back(delivery),
                () = tokio::time::sleep_until(not_before) => return,
            }
        }
    }
}

impl EventSource for Deliveries {
    async fn next_batch(
        &mut self,
        position: Position,
        not_before: Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) {
        self.acknowledge(position);
        self.park_invalid().await;
        let mut position = position;
        while delivered.is_empty() && !self.holds_events_after(position) {
            let wakeup = self.wait(&mut position).await;
            self.gather(not_before).await;
            if let Wakeup::Gap = wakeup {
                return self.head.take_backlog(position, delivered).await;
            }
            if self.validate_received(position, delivered).await.is_err() {
                // The consumer meets the same fault, and reports it.
                return tokio::time::sleep(RETRY_DELAY).await;
            }
            self.park_invalid().await;
        }
        if delivered.is_empty() {
            self.head.take_backlog(position, delivered).await;
        }
        if delivered.is_empty() {
            // Without this wait, a consumer that cannot read the log would ask again and again.
            tokio::time::sleep_until(not_before).await;
        }
    }

    fn queue(&self) -> Option<&str> {
        Some(&self.queue)
    }

    fn distrust(&mut self) {
        self.head.distrust();
    }
}

/// Waits until the log has events after `position` that are not delivered: at once while the queue is not consumed from;
/// else after [`GAP_TIMEOUT`], or after `grace` where there are many. Returns whether the queue is consumed from.
async fn wait_for_gap(
    head: &mut LocalSubscription,
    is_consuming: &mut watch::Receiver<bool>,
    position: Position,
    grace: Duration,
) -> bool {
    loop {
        let consuming = *is_consuming.borrow_and_update();
        let gap = async {
            head.head_past(position).await;
            if consuming {
                tokio::time::sleep(grace).await;
                // Late or many: both are a gap.
                tokio::time::timeout(
                    GAP_TIMEOUT - grace,
                    head.head_past(position + BULK_LAG_EVENTS),
                )
                .await
                .ok();
            }
        };
        tokio::select! {
            () = gap => return consuming,
            Ok(()) = is_consuming.changed() => {}
        }
    }
}
