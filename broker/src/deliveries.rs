//! A consumer's ear at its queue. What is delivered is checked against the log before anything believes it; what is
//! not delivered, the consumer reads from the log. So the queue may lose, repeat or make up what it likes.

mod consuming;
mod inbox;

use crate::{Broker, topology};
use connection_pool::Pool;
use consuming::Consuming;
use event_log::consume::Source;
use event_log::{Listener, Log, Partition, Position, RecordedEvent};
use inbox::Pending;
use lapin::message::Delivery;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Messages that are on their way to a consumer, or with it, and not yet acknowledged.
const PREFETCH: u16 = 8;
/// Events that are enough for one step.
const GATHERED: usize = 1_000;
/// How long the log may be ahead of what is delivered before the consumer reads it there.
const HEAL: Duration = Duration::from_secs(1);
/// The log is so many events ahead: then deliveries are not waited for as long.
const FAR_BEHIND: Position = 2_000;
/// How long then: time for another instance, if there is one, to show that it is at it.
const GLANCE: Duration = Duration::from_millis(100);
/// How long to wait after the database could not be asked.
const RETRY: Duration = Duration::from_millis(500);

/// What RabbitMQ delivers to one consumer at one partition; also tells it when the log has what is not delivered. Keeps
/// a channel while it lives.
///
/// A message is acknowledged when its events are applied, by this instance or another; until then the server has it.
pub struct Deliveries {
    log: Log,
    pool: Pool,
    consumer: &'static str,
    partition: Partition,
    queue: String,
    head: Listener,
    consuming: Consuming,
    /// Taken in and not yet looked at. With the next two, bounded by the prefetch.
    arrived: VecDeque<Delivery>,
    /// To be parked.
    bad: VecDeque<(Delivery, String)>,
    /// True, and not yet applied.
    pending: Vec<Pending>,
    /// Where the consumer stood when it was last told to read the log.
    healed_at: Option<Position>,
    /// Whether it was said that parking fails.
    complained: bool,
}

/// Why a consumer is woken.
enum Word {
    Arrived,
    Heal,
}

impl Deliveries {
    /// Deliveries of `consumer`'s queue at `partition`; `None` when the log has no such partition. The queue is declared
    /// and consumed from in the background, as soon as and whenever the broker is there. `pool`'s database is the log's;
    /// it is where bad deliveries are parked.
    ///
    /// Needs [`Log::follow`] to run, and a runtime.
    pub fn new(log: &Log, broker: &Broker, pool: Pool, consumer: &'static str, partition: Partition) -> Option<Self> {
        let head = log.listen(partition)?;
        Some(Self {
            log: log.clone(),
            pool,
            consumer,
            partition,
            queue: topology::queue(log.identity().log_id, consumer, partition),
            head,
            consuming: Consuming::start(broker.clone(), consumer, partition),
            arrived: VecDeque::new(),
            bad: VecDeque::new(),
            pending: Vec::new(),
            healed_at: None,
            complained: false,
        })
    }

    /// Waits until something arrived, or until the log is known to have what nobody delivers. Moves `position` on when
    /// another instance moved the checkpoint.
    async fn word(&mut self, position: &mut Position) -> Word {
        if !self.arrived.is_empty() {
            return Word::Arrived;
        }
        // What was read from the log moved it on, so it may go on like that.
        let is_catching_up = self.healed_at.take().is_some_and(|at| *position > at);
        let glance = if is_catching_up { Duration::ZERO } else { GLANCE };
        loop {
            tokio::select! {
                biased;
                Some(delivery) = self.consuming.incoming.recv() => {
                    self.arrived.push_back(delivery);
                    return Word::Arrived;
                }
                is_consuming = missing(&mut self.head, &mut self.consuming.state, *position, glance) => {
                    if !is_consuming {
                        return Word::Heal;
                    }
                }
            }
            match self.checkpoint().await {
                // Another instance is at it, and has the deliveries.
                Some(at) if at > *position => {
                    *position = at;
                    self.acknowledge(at);
                }
                _ => return self.heal(*position),
            }
        }
    }

    fn heal(&mut self, position: Position) -> Word {
        self.healed_at = Some(position);
        metrics::counter!("moa_deliveries_healed_total", "consumer" => self.consumer).increment(1);
        self.consuming.look_after_the_queue();
        Word::Heal
    }

    /// Where the consumer stands by now; `None` when that is not known, or it keeps its checkpoint elsewhere.
    async fn checkpoint(&self) -> Option<Position> {
        let position = sqlx::query_scalar("select position from checkpoints where consumer = $1 and partition = $2")
            .bind(self.consumer)
            .bind(self.partition)
            .fetch_optional(&self.pool);
        position.await.ok().flatten()
    }

    /// Takes in what else is at hand.
    fn take_in(&mut self) {
        while let Ok(delivery) = self.consuming.incoming.try_recv() {
            self.arrived.push_back(delivery);
        }
    }
}

impl Source for Deliveries {
    async fn news(&mut self, position: Position, paced: Instant, delivered: &mut Vec<RecordedEvent>) {
        self.acknowledge(position);
        self.park().await;
        let mut position = position;
        while delivered.is_empty() && !self.holds_more_than(position) {
            let word = self.word(&mut position).await;
            self.take_in();
            if self.arrived.len() < usize::from(PREFETCH) {
                tokio::time::sleep_until(paced).await;
                self.take_in();
            }
            if let Word::Heal = word {
                return;
            }
            if self.look_at(position, delivered).await.is_err() {
                // The consumer meets the same fault, and says so.
                return tokio::time::sleep(RETRY).await;
            }
            self.park().await;
        }
        // Without it, a consumer that cannot go on from the log would ask again and again.
        tokio::time::sleep_until(paced).await;
    }
}

/// Waits until the log has something after `position` that is not coming: at once while nothing is consumed, else when
/// it is late, or after a `glance` when it is a lot. Says whether the queue is consumed from.
async fn missing(
    head: &mut Listener,
    consuming: &mut watch::Receiver<bool>,
    position: Position,
    glance: Duration,
) -> bool {
    loop {
        let is_consuming = *consuming.borrow_and_update();
        let missing = async {
            head.head_past(position).await;
            if is_consuming {
                tokio::time::sleep(glance).await;
                // Late or a lot: either way it is missing.
                tokio::time::timeout(HEAL - glance, head.head_past(position + FAR_BEHIND)).await.ok();
            }
        };
        tokio::select! {
            () = missing => return is_consuming,
            Ok(()) = consuming.changed() => {}
        }
    }
}
