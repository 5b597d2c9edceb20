//! A handle on one log: who it is, where its heads are, and word of what was appended.

use crate::chain::{self, Hash};
use crate::clock::{DatabaseClock, LogClock, SteadyInstant};
use crate::consume::Source;
use crate::write_stop::{Acceptances, WriteStops};
use crate::{Acceptance, LogError, Readiness, RecordedEvent, RepeatedFault, WriteStop};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::ProductId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A part of the log with an order of its own, from 0. A product lives in exactly one.
pub type Partition = i32;
/// Place in a partition, from 1; 0 is before the first event.
pub type Position = i64;

/// How many partitions a log may have at most.
const MAX_PARTITIONS: i32 = 64;
/// How often the heads are asked for, for what other processes append. What this one appends is known at once.
const HEAD_POLL: Duration = Duration::from_millis(50);
/// How long its answer is waited for. The poll takes the pool's connections in turn, so it finds those that fell silent, and the
/// idle ones are closed, before whoever has work meets them.
const POLL_ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Appends a slow consumer may be behind before it reads from the log instead of being handed the events.
const DELIVERIES: usize = 64;
/// Delivered events that are enough for one step.
pub(crate) const MAX_DELIVERED_EVENTS: usize = 1_000;

/// What a log is for ever: made when it is created, stored with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Which log. Whatever leaves it carries this.
    pub log_id: Uuid,
    /// How many partitions it has, 1 to 64.
    pub partitions: i32,
}

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    /// The same, for what only reads.
    reads: Pool,
    identity: Identity,
    partitions: Vec<Word>,
    readiness: Readiness,
    clock: LogClock,
    stops: WriteStops,
}

/// Word of one partition's appends.
struct Word {
    head: watch::Sender<Position>,
    delivery: broadcast::Sender<Arc<[RecordedEvent]>>,
}

impl Log {
    /// Opens the log in `pool`'s database, whose schema must be there; creates it with `partitions` when it is new.
    /// [`LogError::Mismatch`] when an existing one has another number: it can never change.
    pub async fn open(pool: impl Into<Pool>, partitions: i32) -> Result<Self, LogError> {
        let pool = pool.into();
        let identity = identify(&pool, partitions).await?;
        compare_partitions(identity.partitions, partitions)?;
        let word = || Word { head: watch::Sender::new(0), delivery: broadcast::Sender::new(DELIVERIES) };
        let partitions = (0..partitions).map(|_| word()).collect();
        let readiness = Readiness::default();
        let (clock, stops) = (LogClock::new(&readiness), WriteStops::new(identity.partitions, &readiness));
        let reads = pool.clone().for_reads();
        // Whoever logs in to read views alone may not ask this, and takes no writes either.
        if let Ok(known) = acceptances(&reads).await {
            stops.heard(known);
        }
        Ok(Self { shared: Arc::new(Shared { pool, reads, identity, partitions, readiness, clock, stops }) })
    }

    /// The number of partitions of the log in `pool`'s database; `None` when there is no log yet.
    pub async fn partitions_of(pool: &Pool) -> Result<Option<i32>, LogError> {
        Ok(sqlx::query_scalar("select partitions from log_identity").fetch_optional(pool).await?)
    }

    /// An error when the log in `pool`'s database has another number of partitions; none when there is no log yet, nor its table.
    /// Before anything is migrated: the number of a log cannot change.
    pub async fn check_partitions(pool: &Pool, partitions: i32) -> Result<(), LogError> {
        let there = "select to_regclass('log_identity') is not null";
        let found = match sqlx::query_scalar(there).fetch_one(pool).await? {
            true => Self::partitions_of(pool).await?,
            false => None,
        };
        found.map_or(Ok(()), |found| compare_partitions(found, partitions))
    }

    /// Who the log in `pool`'s database is, for whoever only looks; `None` when there is no log.
    pub async fn identity_of(pool: &Pool) -> Result<Option<Identity>, LogError> {
        let found: Option<(Uuid, i32)> =
            sqlx::query_as("select log_id, partitions from log_identity").fetch_optional(pool).await?;
        Ok(found.map(|(log_id, partitions)| Identity { log_id, partitions }))
    }

    /// Who this log is.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        0..self.shared.identity.partitions
    }

    /// Where a product lives.
    pub fn partition_of(&self, product: ProductId) -> Partition {
        // Both are positive and the remainder is below 64, so it fits.
        (product.get() % i64::from(self.shared.identity.partitions)) as Partition
    }

    /// Whether those who work on this handle can do their work.
    pub fn readiness(&self) -> &Readiness {
        &self.shared.readiness
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// For statements that only read.
    pub(crate) fn reads(&self) -> &Pool {
        &self.shared.reads
    }

    pub(crate) fn genesis(&self, partition: Partition) -> Hash {
        chain::genesis(self.identity(), partition)
    }

    /// The last position of every partition, in order.
    pub async fn heads(&self) -> Result<Vec<Position>, LogError> {
        Ok(self.heads_now().await?.0)
    }

    /// The last position of every partition, in order, and the database's time.
    pub async fn heads_now(&self) -> Result<(Vec<Position>, DateTime<Utc>), LogError> {
        let heads = sqlx::query_as(
            "select array(select coalesce((select e.position from events e where e.partition = p
                                            order by e.position desc limit 1), 0)
                            from generate_series(0, $1 - 1) p order by p),
                    clock_timestamp()",
        )
        .bind(self.shared.identity.partitions)
        .fetch_one(self.reads())
        .await?;
        Ok(heads)
    }

    /// An id for a product to be opened. Never given twice; a number may be skipped.
    pub async fn next_product_id(&self) -> Result<ProductId, LogError> {
        let id: i64 = sqlx::query_scalar("select nextval('product_id')").fetch_one(self.pool()).await?;
        ProductId::try_from(id).map_err(|error| LogError::Mismatch(format!("the product_id sequence {error}")))
    }

    /// Keeps this handle's knowledge of the heads, the clock and the operator's acceptances fresh until `shutdown`, whoever
    /// appends. Run one per process.
    pub async fn follow(&self, shutdown: CancellationToken) {
        let mut fault = RepeatedFault::new("the heads of the log cannot be read", "");
        while shutdown.run_until_cancelled(tokio::time::sleep(HEAD_POLL)).await.is_some() {
            match self.poll().await {
                Ok(()) => fault.recovered(),
                Err(error) => fault.failed(&error),
            }
        }
    }

    async fn poll(&self) -> Result<(), LogError> {
        // Before the question: a head below what was known then has lost events.
        let known: Vec<Position> = self.shared.partitions.iter().map(|word| *word.head.borrow()).collect();
        let asked = SteadyInstant::now();
        let (heads, received, said, loss, clock): (Vec<Position>, _, _, _, _) = sqlx::query_as(
            "select array(select coalesce((select e.position from events e where e.partition = p
                                            order by e.position desc limit 1), 0)
                            from generate_series(0, $1 - 1) p order by p),
                    statement_timestamp(), clock_timestamp(),
                    coalesce((select max(id) from operator_acceptances where what = 'LOSS'), 0),
                    coalesce((select max(id) from operator_acceptances where what = 'CLOCK'), 0)",
        )
        .bind(self.shared.identity.partitions)
        .fetch_one(&self.pool().clone().with_answer_timeout(POLL_ANSWER_TIMEOUT))
        .await?;
        self.heard_acceptances(Acceptances { loss, clock }, &heads);
        self.clock().heard(received, said, asked);
        for ((partition, word), (head, known)) in (0..).zip(&self.shared.partitions).zip(heads.into_iter().zip(known)) {
            metrics::gauge!("moa_log_head", "partition" => partition.to_string()).set(head as f64);
            // What an acceptance has just set back is known no more.
            if head < known && *word.head.borrow() >= known {
                self.stop_writes(partition, WriteStop::LostTail { partition, seen: known });
            }
            word.seen(head);
        }
        Ok(())
    }

    fn heard_acceptances(&self, now: Acceptances, heads: &[Position]) {
        let before = self.shared.stops.heard(now);
        if now.clock > before.clock {
            tracing::warn!("an operator agreed to the database's clock as it is");
            self.clock().accept();
        }
        if now.loss > before.loss {
            tracing::warn!(?heads, "an operator agreed that what followed these heads is lost: writes go on there");
            for (word, head) in self.shared.partitions.iter().zip(heads) {
                word.head.send_replace(*head);
            }
            self.shared.stops.lift(now.loss);
        }
    }

    /// Writes down that an operator agreed to go on, and gives the heads that he agreed to; every process that polls this
    /// log's heads hears of it.
    pub async fn accept(&self, what: Acceptance) -> Result<Vec<Position>, LogError> {
        let heads = self.heads().await?;
        sqlx::query("insert into operator_acceptances (what, heads) values ($1, $2)")
            .bind(what.word())
            .bind(&heads)
            .execute(self.pool())
            .await?;
        Ok(heads)
    }

    /// When an operator last agreed that events were lost.
    pub async fn loss_accepted_at(&self) -> Result<Option<DateTime<Utc>>, LogError> {
        let at = sqlx::query_scalar("select max(accepted_at) from operator_acceptances where what = 'LOSS'");
        Ok(at.fetch_one(self.pool()).await?)
    }

    /// Takes no writes into `partition` from now on, in this process, until an operator agrees. The first reason stays.
    pub fn stop_writes(&self, partition: Partition, why: WriteStop) {
        self.shared.stops.stop(partition, why);
    }

    /// Why `partition` takes no writes in this process; `None` while it does.
    pub fn write_stop(&self, partition: Partition) -> Option<WriteStop> {
        self.shared.stops.of(partition).or_else(|| self.clock().stop())
    }

    /// The database's time as far as it can be believed; `None` before the first reading. Nothing is forgotten for its age
    /// by a clock that is ahead of this.
    pub fn believed_time(&self) -> Option<DateTime<Utc>> {
        self.clock().now()
    }

    /// The same, to be asked again and again.
    pub fn believed_clock(&self) -> Option<DatabaseClock> {
        self.clock().latest()
    }

    pub(crate) fn clock(&self) -> &LogClock {
        &self.shared.clock
    }

    pub(crate) fn loss_accepted(&self) -> i64 {
        self.shared.stops.loss_accepted()
    }

    /// Hands what was just committed to this process's consumers.
    pub(crate) fn announce(&self, partition: Partition, events: Arc<[RecordedEvent]>) {
        let (Some(word), Some(last)) = (self.word(partition), events.last().map(|event| event.position)) else {
            return;
        };
        // No receiver is no fault: then nobody here consumes this partition.
        word.delivery.send(events).ok();
        word.seen(last);
    }

    /// An ear for what this process appends to `partition`, and for word of what others do; `None` when there is no
    /// such partition. Needs [`Log::follow`] to run.
    pub fn listen(&self, partition: Partition) -> Option<Listener> {
        self.word(partition).map(|word| Listener { head: word.head.subscribe(), delivery: word.delivery.subscribe() })
    }

    fn word(&self, partition: Partition) -> Option<&Word> {
        self.shared.partitions.get(usize::try_from(partition).ok()?)
    }
}

impl Word {
    fn seen(&self, head: Position) {
        self.head.send_if_modified(|known| {
            let news = head > *known;
            *known = head.max(*known);
            news
        });
    }
}

/// One consumer's ear for a partition's appends.
#[derive(Debug)]
pub struct Listener {
    head: watch::Receiver<Position>,
    delivery: broadcast::Receiver<Arc<[RecordedEvent]>>,
}

impl Listener {
    /// Waits until the log has something after `position`, as far as this process has heard.
    pub async fn head_past(&mut self, position: Position) {
        // The sender lives as long as the log's handle; when it is gone there is nobody to hear for.
        if self.head.wait_for(|head| *head > position).await.is_err() {
            std::future::pending().await
        }
    }

    fn gather(&mut self, position: Position, delivered: &mut Vec<RecordedEvent>) {
        while delivered.len() < MAX_DELIVERED_EVENTS {
            match self.delivery.try_recv() {
                Ok(events) => take(&events, position, delivered),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }
}

/// In the same process events are handed over in memory, and word of the heads does the rest.
impl Source for Listener {
    async fn news(&mut self, position: Position, paced: Instant, delivered: &mut Vec<RecordedEvent>) {
        // A delivery is sent before word of its head, so with the head it is there.
        self.head_past(position).await;
        if *self.head.borrow() - position < MAX_DELIVERED_EVENTS as Position {
            tokio::time::sleep_until(paced).await;
        }
        self.gather(position, delivered);
    }
}

fn take(events: &[RecordedEvent], position: Position, delivered: &mut Vec<RecordedEvent>) {
    delivered.extend(events.iter().filter(|event| event.position > position).cloned());
}

fn compare_partitions(found: i32, asked: i32) -> Result<(), LogError> {
    if found == asked {
        return Ok(());
    }
    Err(LogError::Mismatch(format!(
        "this log was created with {found} partitions, which cannot change: set partitions to {found}, not {asked}"
    )))
}

async fn identify(pool: &Pool, partitions: i32) -> Result<Identity, LogError> {
    if Log::partitions_of(pool).await?.is_none() {
        if !(1..=MAX_PARTITIONS).contains(&partitions) {
            return Err(LogError::Mismatch(format!("a log has 1 to {MAX_PARTITIONS} partitions, not {partitions}")));
        }
        // Who finds it there need not be allowed to.
        create(pool, partitions).await?;
    }
    let (log_id, partitions) = sqlx::query_as("select log_id, partitions from log_identity").fetch_one(pool).await?;
    Ok(Identity { log_id, partitions })
}

/// Creates the log unless it is there.
async fn create(pool: &Pool, partitions: i32) -> Result<(), LogError> {
    sqlx::query(
        "insert into log_identity (log_id, partitions)
                 select $1, $2 where not exists (select from log_identity) on conflict do nothing",
    )
    .bind(Uuid::now_v7())
    .bind(partitions)
    .execute(pool)
    .await?;
    Ok(())
}

async fn acceptances(pool: &Pool) -> Result<Acceptances, LogError> {
    let found = sqlx::query_as(
        "select coalesce(max(id) filter (where what = 'LOSS'), 0) as loss,
                coalesce(max(id) filter (where what = 'CLOCK'), 0) as clock
           from operator_acceptances",
    );
    Ok(found.fetch_one(pool).await?)
}
