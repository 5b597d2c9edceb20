//! The handle on one log: its identity, its heads, its clock, and the signals of new events.

use crate::append_hint::AppendHints;
use crate::backlog::BacklogReads;
use crate::clock::{DatabaseClock, LogClock, SteadyInstant};
use crate::deferral::Deferrals;
use crate::feed::PartitionFeed;
use crate::incarnation::{KnownForks, forks};
use crate::lag::Lags;
use crate::write_stop::{Acceptances, WriteStops};
use crate::{Acceptance, LogError, Readiness, RecordedEvent, RepeatedFault, WriteStop};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::ProductId;
use log_format::{Hash, Identity, Partition, Position};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many partitions a log may have at most.
const MAX_PARTITIONS: i32 = 64;
/// How often the heads are polled, for what other processes append. What this one appends is known at once.
const HEAD_POLL_INTERVAL: Duration = Duration::from_millis(50);
/// The same where the heads have stood still for [`QUIET_DURATION`] and a hint would tell of the next append.
const QUIET_HEAD_POLL_INTERVAL: Duration = Duration::from_millis(250);
const QUIET_DURATION: Duration = Duration::from_secs(1);
/// From one poll to the next at least, however many hints come.
const MIN_HEAD_POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Bounds one poll. The poll uses the pool's connections one after another, so it finds those that have fallen silent, and the idle
/// ones are closed, before real work meets them.
const HEAD_POLL_TIMEOUT: Duration = Duration::from_secs(2);

/// A handle on the log; clones share it.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    pool: Pool,
    /// The same pool, for statements that only read.
    reads: Pool,
    identity: Identity,
    feeds: Vec<PartitionFeed>,
    readiness: Readiness,
    clock: LogClock,
    stops: WriteStops,
    forks: KnownForks,
    lags: Lags,
    deferrals: Deferrals,
    backlog_reads: BacklogReads,
    append_hints: AppendHints,
}

impl Log {
    /// Opens the log in `pool`'s database, whose schema must exist; creates it with `partitions` when it is new.
    /// [`LogError::Mismatch`] when an existing log has another number: it can never change.
    pub async fn open(pool: impl Into<Pool>, partitions: i32) -> Result<Self, LogError> {
        let pool = pool.into();
        let identity = identify(&pool, partitions).await?;
        compare_partitions(identity.partitions, partitions)?;
        let feeds = (0..partitions).map(|_| PartitionFeed::default()).collect();
        let readiness = Readiness::default();
        let (clock, stops) = (
            LogClock::new(&readiness),
            WriteStops::new(identity.partitions, &readiness),
        );
        let reads = pool.clone().for_reads();
        // A login that may only read views may not query this, and takes no writes either.
        if let Ok(known) = acceptances(&reads).await {
            stops.observe(known);
        }
        let (forks, lags) = (
            KnownForks::new(forks(&reads).await?),
            Lags::new(identity.partitions),
        );
        let (deferrals, backlog_reads) =
            (Deferrals::default(), BacklogReads::new(identity.partitions));
        let shared = Shared {
            pool,
            reads,
            identity,
            feeds,
            readiness,
            clock,
            stops,
            forks,
            lags,
            deferrals,
            backlog_reads,
            append_hints: AppendHints::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The number of partitions of the log in `pool`'s database; `None` when there is no log yet.
    pub async fn partitions_of(pool: &Pool) -> Result<Option<i32>, LogError> {
        Ok(sqlx::query_scalar("select partitions from log_identity")
            .fetch_optional(pool)
            .await?)
    }

    /// An error when the log in `pool`'s database has another number of partitions; no error when there is no log yet, nor its
    /// table. To be called before anything is migrated: the number of a log cannot change.
    pub async fn check_partitions(pool: &Pool, partitions: i32) -> Result<(), LogError> {
        let there = "select to_regclass('log_identity') is not null";
        let found = match sqlx::query_scalar(there).fetch_one(pool).await? {
            true => Self::partitions_of(pool).await?,
            false => None,
        };
        found.map_or(Ok(()), |found| compare_partitions(found, partitions))
    }

    /// The identity of the log in `pool`'s database, for tools that only read; `None` when there is no log.
    pub async fn identity_of(pool: &Pool) -> Result<Option<Identity>, LogError> {
        let found: Option<(Uuid, i32)> =
            sqlx::query_as("select log_id, partitions from log_identity")
                .fetch_optional(pool)
                .await?;
        Ok(found.map(|(log_id, partitions)| Identity { log_id, partitions }))
    }

    /// The log's identity.
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// All partitions.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        0..self.shared.identity.partitions
    }

    /// The partition of a product.
    pub fn partition_of(&self, product: ProductId) -> Partition {
        // Both are positive and the remainder is below 64, so it fits.
        (product.get() % i64::from(self.shared.identity.partitions)) as Partition
    }

    /// Whether everything that works on this handle can do its work.
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

    /// The lags of this process's consumers, whose gauges [`Self::poll_heads`] sets.
    pub(crate) fn lags(&self) -> &Lags {
        &self.shared.lags
    }

    /// Whether this process's consumers may take their steps.
    pub(crate) fn deferrals(&self) -> &Deferrals {
        &self.shared.deferrals
    }

    /// What consumers that are far behind have read.
    pub(crate) fn backlog_reads(&self) -> &BacklogReads {
        &self.shared.backlog_reads
    }

    pub(crate) fn genesis(&self, partition: Partition) -> Hash {
        self.identity().genesis(partition)
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

    /// How many reservations were appended after `from` and up to `to`, positions of every partition, in order. It reads that much of
    /// the log, so it is for spans of some seconds.
    pub async fn reservations_between(
        &self,
        from: &[Position],
        to: &[Position],
    ) -> Result<i64, LogError> {
        // Lateral, so that each span is a scan of the key: as a join it may be a hash of the whole table.
        let count = sqlx::query_scalar(
            "select coalesce(sum(counted.reservations), 0)::bigint
               from unnest($1::bigint[], $2::bigint[]) with ordinality as span (after, upto, number),
                    lateral (select count(*) as reservations from events e
                              where e.partition = (span.number - 1)::int and e.position > span.after
                                and e.position <= span.upto and e.event_type = 'InvestReserved') counted",
        )
        .bind(from)
        .bind(to)
        .fetch_one(self.reads())
        .await?;
        Ok(count)
    }

    /// An id for a product to be opened. Never given twice; a number may be skipped.
    pub async fn next_product_id(&self) -> Result<ProductId, LogError> {
        let id: i64 = sqlx::query_scalar("select nextval('product_id')")
            .fetch_one(self.pool())
            .await?;
        ProductId::try_from(id)
            .map_err(|error| LogError::Mismatch(format!("the product_id sequence {error}")))
    }

    /// Polls the heads, the clock and the operator's acceptances until `shutdown`, so that this handle knows what other processes
    /// append: at once where a hint tells of it, else within 50 ms, or 250 ms after a second in which nobody appended. Run one per
    /// process. It has a connection of its own beside the pool's.
    pub async fn poll_heads(&self, shutdown: CancellationToken) {
        let hints = &self.shared.append_hints;
        let polling = async {
            tokio::select! {
                () = hints.listen(self) => {}
                () = self.poll_for_ever(hints) => {}
            }
        };
        shutdown.run_until_cancelled(polling).await;
    }

    async fn poll_for_ever(&self, hints: &AppendHints) {
        let mut fault = RepeatedFault::new("the heads of the log cannot be read", "");
        let (mut heads, mut moved_at) = (Vec::new(), Instant::now());
        loop {
            tokio::time::sleep(MIN_HEAD_POLL_INTERVAL).await;
            let interval = if hints.is_listening() && moved_at.elapsed() > QUIET_DURATION {
                QUIET_HEAD_POLL_INTERVAL
            } else {
                HEAD_POLL_INTERVAL
            };
            tokio::select! {
                () = hints.heard() => {}
                () = tokio::time::sleep(interval - MIN_HEAD_POLL_INTERVAL) => {}
            }
            match self.poll().await {
                Ok(found) => {
                    fault.recovered();
                    if heads != found {
                        (heads, moved_at) = (found, Instant::now());
                    }
                }
                Err(error) => fault.failed(&error),
            }
        }
    }

    /// Returns the heads.
    async fn poll(&self) -> Result<Vec<Position>, LogError> {
        // Read before the query: a head below what was known then has lost events.
        let known: Vec<Position> = self.shared.feeds.iter().map(PartitionFeed::head).collect();
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
        .fetch_one(&self.pool().clone().with_answer_timeout(HEAD_POLL_TIMEOUT))
        .await?;
        // First, so that nothing is answered with the incarnation before once writes continue.
        if loss > self.loss_accepted() {
            self.read_forks().await?;
        }
        self.apply_acceptances(Acceptances { loss, clock }, &heads);
        self.clock().observe(received, said, asked);
        self.lags().observe(&heads, Instant::now());
        self.backlog_reads().forget_old(Instant::now());
        for ((partition, feed), (head, known)) in (0..)
            .zip(&self.shared.feeds)
            .zip(heads.iter().copied().zip(known))
        {
            metrics::gauge!("moa_log_head", "partition" => partition.to_string()).set(head as f64);
            // An acceptance may just have set the head back: then nothing is lost.
            if head < known && feed.head() >= known {
                feed.forget();
                self.backlog_reads().forget(partition);
                self.stop_writes(
                    partition,
                    WriteStop::LostTail {
                        partition,
                        seen: known,
                    },
                );
            }
            feed.advance_head(head);
        }
        Ok(heads)
    }

    fn apply_acceptances(&self, now: Acceptances, heads: &[Position]) {
        let before = self.shared.stops.observe(now);
        if now.clock > before.clock {
            tracing::warn!("an operator accepted the database's clock as it is");
            self.clock().accept();
        }
        if now.loss > before.loss {
            tracing::warn!(
                ?heads,
                "an operator accepted that the events after these heads are lost: writes continue there"
            );
            for ((partition, feed), head) in (0..).zip(&self.shared.feeds).zip(heads) {
                feed.reset_head(*head);
                self.backlog_reads().forget(partition);
            }
            self.shared.stops.lift(now.loss);
        }
    }

    /// Many invests are decided together: for the next 250 ms it is a rush, and accepting goes first.
    pub fn note_rush(&self) {
        self.deferrals().note_rush(Instant::now());
    }

    /// A client asks for the rows of this consumer at a position: it is not deferred for a minute.
    pub fn note_reader(&self, consumer: &'static str) {
        self.deferrals().note_reader(consumer, Instant::now());
    }

    /// Records that an operator accepts a loss, or the clock; returns the heads that this applies to. Every process that polls the
    /// heads learns of it.
    pub async fn accept(&self, what: Acceptance) -> Result<Vec<Position>, LogError> {
        let heads = self.heads().await?;
        sqlx::query("insert into operator_acceptances (what, heads) values ($1, $2)")
            .bind(what.stored_name())
            .bind(&heads)
            .execute(self.pool())
            .await?;
        Ok(heads)
    }

    /// When an operator last accepted a loss of events.
    pub async fn loss_accepted_at(&self) -> Result<Option<DateTime<Utc>>, LogError> {
        let at = sqlx::query_scalar(
            "select max(accepted_at) from operator_acceptances where what = 'LOSS'",
        );
        Ok(at.fetch_one(self.pool()).await?)
    }

    /// Stops writes to `partition` in this process until an operator accepts. The first reason stays.
    pub fn stop_writes(&self, partition: Partition, why: WriteStop) {
        self.shared.stops.stop(partition, why);
    }

    /// Why `partition` takes no writes in this process; `None` while it does.
    pub fn write_stop(&self, partition: Partition) -> Option<WriteStop> {
        self.shared
            .stops
            .of(partition)
            .or_else(|| self.clock().stop())
    }

    /// The database's time as far as it can be trusted; `None` before the first reading. Nothing is purged by a clock that is ahead
    /// of it.
    pub fn trusted_time(&self) -> Option<DateTime<Utc>> {
        self.clock().now()
    }

    /// The same as a clock that goes on.
    pub fn trusted_clock(&self) -> Option<DatabaseClock> {
        self.clock().latest()
    }

    pub(crate) fn clock(&self) -> &LogClock {
        &self.shared.clock
    }

    pub(crate) fn known_forks(&self) -> &KnownForks {
        &self.shared.forks
    }

    pub(crate) fn loss_accepted(&self) -> i64 {
        self.shared.stops.loss_accepted()
    }

    /// Passes committed events to this process's consumers.
    pub(crate) fn notify_local_consumers(
        &self,
        partition: Partition,
        events: Arc<[RecordedEvent]>,
    ) {
        if let Some(feed) = self.feed(partition) {
            feed.send(events);
        }
    }

    pub(crate) fn feed(&self, partition: Partition) -> Option<&PartitionFeed> {
        self.shared.feeds.get(usize::try_from(partition).ok()?)
    }
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
            return Err(LogError::Mismatch(format!(
                "a log has 1 to {MAX_PARTITIONS} partitions, not {partitions}"
            )));
        }
        // A login that finds the log need not have the right to create one.
        create(pool, partitions).await?;
    }
    let (log_id, partitions) = sqlx::query_as("select log_id, partitions from log_identity")
        .fetch_one(pool)
        .await?;
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
