//! `counters`: the amount taken of each product, in Redis, where it is read fast. A consumer like the others, with two
//! differences. Its checkpoint is in Redis, in the same hash as the counters. And it copies `product_list` instead of folding
//! events itself, so Redis has the fold of the log at its position, or nothing.
//!
//! Each partition has one hash, under [`counters_key`]: `moa:{<log id>.<partition>}:counters:2:<database>`. It is one key, so
//! that a flush, an eviction or a failover takes checkpoint and counters together. The part in braces is the hash tag of Redis
//! Cluster. The 2 is the version of this format, and a copy of the database has a key of its own. Its fields:
//!
//! | field | value |
//! |---|---|
//! | `@state` | `<position>:<list>:<event hash>:<by>:<check>` |
//! | `<product id>` | `<current amount>:<users>:<ended>:<position>:<check>`, for every product of the partition |
//!
//! Ended is 0 while the product stands, 1 when it is closed, and 2 when it was cancelled or has failed. A reader that does not know
//! the 2 takes it for damage, and reads PostgreSQL.
//!
//! The position in `@state` is the checkpoint: everything in the hash is the fold of the partition up to it. The event hash is
//! that of the log's event there, in hexadecimal digits (empty at 0). The list's position is that of the last `ProductOpened`,
//! `ProductClosed`, `ProductCancelled` or `ProductFailed`, or that of the last reload, if later. `by` is the consumer that wrote last, a UUID of one run of it. A
//! product's position is where its counter was last written. A check is the first 8 bytes of the SHA-256 of
//! `<key>\n<field>\n<value without it>`, in hexadecimal digits.
//!
//! The hash is not trusted: it must belong to the log (the event hash), be undamaged (the checks), and equal `product_list`,
//! with which it is compared page by page as long as the consumer runs.
//!
//! `query-api` reads it and must not depend on this crate: tests on both sides contain the same texts.

mod changes;
mod connection;
mod format;
mod hash;
mod read;
mod sync;

use crate::restart::spawn_for_each_partition;
use connection::Connection;
use connection_pool::Pool;
use event_log::consume::{EventSource, ProcessSpan};
use event_log::{Backoff, Log, Partition, Position, RecordedEvent};
use format::State;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;
use sync::{CounterSync, Step, SyncError};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The consumer's name, by which its event source is found.
pub const COUNTERS: &str = "counters";

/// The least time between two steps (linger), so that a busy log is applied in few large steps. A single event never waits.
const MIN_STEP_INTERVAL: Duration = Duration::from_millis(10);
/// How often an idle consumer verifies that Redis still has the state that it left.
const VERIFY_INTERVAL: Duration = Duration::from_secs(1);
/// How often the consumer looks whether `product_list` has moved on, while it moves: in a rush it is never at the end of the log, and each of its
/// steps is to be shown soon.
const LIST_POLL_INTERVAL: Duration = Duration::from_millis(15);
/// How long after its last step `product_list` counts as moving.
const LIST_POLL_DURATION: Duration = Duration::from_millis(500);
/// The first and the longest wait for `product_list` when it has not moved lately.
const MIN_LAG_DELAY: Duration = Duration::from_millis(5);
const MAX_LAG_DELAY: Duration = Duration::from_millis(500);
/// The first and the longest wait before a retry.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long Redis may take to return the positions of the counters.
const POSITIONS_TIMEOUT: Duration = Duration::from_secs(1);

/// The key of a partition's counters in Redis, for a log in `database` ([`Log::database_id`]).
pub fn counters_key(log_id: Uuid, partition: Partition, database: &str) -> String {
    format!("moa:{{{log_id}.{partition}}}:counters:2:{database}")
}

/// The positions of the counters in Redis, by partition; `None` where there are none. Returns or fails within a second.
pub async fn counter_positions(
    redis: &redis::Client,
    log: &Log,
) -> Result<Vec<Option<Position>>, Box<dyn Error + Send + Sync>> {
    let (database, log_id) = (log.database_id().await?, log.identity().log_id);
    let keys: Vec<_> = log
        .partitions()
        .map(|partition| counters_key(log_id, partition, &database))
        .collect();
    let connection = Connection::new(redis.clone());
    let mut asked = redis::pipe();
    for key in &keys {
        asked.cmd("HGET").arg(key).arg(format::STATE);
    }
    let answer = timeout(
        POSITIONS_TIMEOUT,
        connection.ask(async |redis| asked.query_async(redis).await),
    );
    let states: Vec<Option<String>> = answer.await.map_err(|_| connection::timeout_error())??;
    let position =
        |(key, text): (&String, Option<String>)| Some(State::read(key, &text?)?.position);
    Ok(keys.iter().zip(states).map(position).collect())
}

/// Keeps the counters in `redis` up to date with `product_list` in `pool`'s database until `shutdown`, for every partition.
/// `source` returns a consumer's event source; it is called again when a consumer that panicked is started again.
///
/// While Redis is away the consumers retry; where it has lost or changed their state they reload everything. Several instances
/// may run at the same time. Returns when all have stopped.
pub async fn run_counters<S: EventSource + 'static>(
    log: Log,
    pool: Pool,
    redis: redis::Client,
    source: impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let (connection, own_log, stop) = (Connection::new(redis), log.clone(), shutdown.clone());
    let mut consumers = JoinSet::new();
    spawn_for_each_partition(
        &mut consumers,
        COUNTERS,
        &log,
        &shutdown,
        move |partition| {
            let sync =
                CounterSync::new(own_log.clone(), pool.clone(), connection.clone(), partition);
            let (source, stop) = (source(COUNTERS, partition), stop.clone());
            async move {
                if let Some(source) = source {
                    run_partition(sync, source, stop).await;
                }
            }
        },
    );
    while consumers.join_next().await.is_some() {}
}

/// One partition's consumer, until `shutdown`.
async fn run_partition(
    mut sync: CounterSync,
    mut source: impl EventSource,
    shutdown: CancellationToken,
) {
    let (mut delivered, mut moved_at) = (Vec::new(), None::<Instant>);
    let (mut behind, mut retry) = (
        Backoff::new(MIN_LAG_DELAY, MAX_LAG_DELAY),
        Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
    );
    while !shutdown.is_cancelled() {
        let not_before = Instant::now() + MIN_STEP_INTERVAL;
        let span = ProcessSpan::begin(&delivered, source.queue());
        // A step may be dropped at any time: it reads, and then runs one script.
        let Some(step) = shutdown.run_until_cancelled(sync.step(&delivered)).await else {
            return;
        };
        let waiting = async {
            let heard = match step {
                Ok(Step::At(position)) => {
                    span.into_iter().for_each(|span| span.end(COUNTERS));
                    sync.clear_failure();
                    behind.reset();
                    retry.reset();
                    next_events(&mut sync, &mut source, position, not_before, &mut delivered).await
                }
                Ok(step @ (Step::Moved | Step::Behind)) => {
                    if step == Step::Moved {
                        moved_at = Some(Instant::now());
                        sync.clear_failure();
                        behind.reset();
                        retry.reset();
                    }
                    if moved_at.is_some_and(|at| at.elapsed() < LIST_POLL_DURATION) {
                        sleep(LIST_POLL_INTERVAL).await;
                    } else {
                        behind.wait().await;
                    }
                    Ok(())
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = heard {
                sync.report_failure(&fault);
                source.distrust();
                retry.wait().await;
            }
        };
        shutdown.run_until_cancelled(waiting).await;
    }
}

/// Waits for events after `position`, and verifies meanwhile that Redis is still there; ends early when it is not.
async fn next_events(
    sync: &mut CounterSync,
    source: &mut impl EventSource,
    position: Position,
    not_before: Instant,
    delivered: &mut Vec<RecordedEvent>,
) -> Result<(), SyncError> {
    delivered.clear();
    // One wait, however often Redis is verified: a source may rely on that to notice a gap.
    let mut batch = pin!(source.next_batch(position, not_before, delivered));
    while timeout(VERIFY_INTERVAL, &mut batch).await.is_err() {
        if sync.verify().await? != Step::At(position) {
            break;
        }
    }
    Ok(())
}
