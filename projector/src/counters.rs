//! `counters`: what is taken of each product, in Redis, where it is read fast. A consumer like the others, except that
//! its checkpoint stands beside what it vouches for, and that it counts nothing itself: it shows `product_list`, so that
//! Redis says the fold of the log at its position or nothing.
//!
//! One hash for each partition, under [`counters_key`]: `moa:{<log id>.<partition>}:counters:2:<database>`. One key, so
//! that a flush, an eviction or a failover takes checkpoint and counters together; what is in the braces is all that a
//! Redis Cluster places it by; the 2 is the version of this format, and a copy of the database has a key of its own. Its
//! fields:
//!
//! | field | value |
//! |---|---|
//! | `@state` | `<position>:<list>:<event hash>:<by>:<check>` |
//! | `<product id>` | `<current amount>:<users>:<closed, 0 or 1>:<position>:<check>`, for every product of the partition |
//!
//! `@state`'s position is the checkpoint: everything in the hash is the fold of the partition up to it, and the event hash is
//! that of the log's event there, in hexadecimal digits (empty at 0). The list's position is that of the last
//! `ProductOpened` or `ProductClosed`, or where all was loaded, if later. `by` is which consumer wrote last, a uuid of one
//! life of it. A product's position is where its counter was last written. A check is the first 8 bytes of the SHA-256 of
//! `<key>\n<field>\n<value without it>`, in hexadecimal digits.
//!
//! What stands there is not believed: it must be of the log (the hash of its event), whole (the checks), and what
//! `product_list` says, which is compared page by page for as long as it runs.
//!
//! `query-api` reads this and must not know this crate: a test on either side holds the same words.

mod backoff;
mod comparison;
mod connection;
mod follower;
mod format;
mod hash;
mod read;
mod touched;

use crate::supervise::keep_running;
use backoff::Backoff;
use connection::Connection;
use connection_pool::Pool;
use event_log::consume::Source;
use event_log::{Log, Partition, Position, RecordedEvent};
use follower::{Fault, Follower, Step};
use format::State;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The consumer's name: where its deliveries come from is asked by it.
pub const COUNTERS: &str = "counters";

/// The least time from one step to the next, so that a busy log is shown in few large steps; a lone event never waits.
const PACE: Duration = Duration::from_millis(10);
/// How often Redis is asked whether it still stands where it was left, when nothing happens.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait for `product_list`, first and at most: it mostly is a few milliseconds behind the event.
const BEHIND: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));
/// How long to wait before what failed is tried again, first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long Redis may take to say where its counters stand.
const POSITIONS_TIME_LIMIT: Duration = Duration::from_secs(1);

/// Where the counters of a partition are in Redis, of a log in `database` ([`Log::database_id`]).
pub fn counters_key(log_id: Uuid, partition: Partition, database: &str) -> String {
    format!("moa:{{{log_id}.{partition}}}:counters:2:{database}")
}

/// Where the counters stand in Redis, by partition; `None` where it has none. Redis answers or fails within a second.
pub async fn counter_positions(
    redis: &redis::Client,
    log: &Log,
) -> Result<Vec<Option<Position>>, Box<dyn Error + Send + Sync>> {
    let (database, log_id) = (log.database_id().await?, log.identity().log_id);
    let keys: Vec<_> = log.partitions().map(|partition| counters_key(log_id, partition, &database)).collect();
    let connection = Connection::new(redis.clone());
    let mut asked = redis::pipe();
    for key in &keys {
        asked.cmd("HGET").arg(key).arg(format::STATE);
    }
    let answer = timeout(POSITIONS_TIME_LIMIT, connection.ask(async |redis| asked.query_async(redis).await));
    let states: Vec<Option<String>> = answer.await.map_err(|_| connection::too_late())??;
    let position = |(key, text): (&String, Option<String>)| Some(State::read(key, &text?)?.position);
    Ok(keys.iter().zip(states).map(position).collect())
}

/// Keeps the counters in `redis` up with `product_list` in `pool`'s database until `shutdown`, for every partition;
/// `source` says where word of the log comes from, and is asked again when a consumer that broke down is started anew.
///
/// Redis being away is no reason to stop: it is tried again, and everything is loaded anew where it is not as it was
/// left. Several instances may run side by side. Returns when all have stopped.
pub async fn run_counters<S: Source + 'static>(
    log: Log,
    pool: Pool,
    redis: redis::Client,
    source: impl Fn(&'static str, Partition) -> Option<S> + Clone + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let connection = Connection::new(redis);
    let mut consumers = JoinSet::new();
    for partition in log.partitions() {
        let readiness = log.readiness().clone();
        let (log, pool, connection) = (log.clone(), pool.clone(), connection.clone());
        let (source, stop) = (source.clone(), shutdown.clone());
        let start = move || {
            let follower = Follower::new(log.clone(), pool.clone(), connection.clone(), partition);
            let (source, stop) = (source(COUNTERS, partition), stop.clone());
            async move {
                if let Some(source) = source {
                    follow(follower, source, stop).await;
                }
            }
        };
        consumers.spawn(keep_running(COUNTERS, partition, readiness, shutdown.clone(), start));
    }
    while consumers.join_next().await.is_some() {}
}

/// One partition's consumer, until `shutdown`.
async fn follow(mut follower: Follower, mut source: impl Source, shutdown: CancellationToken) {
    let mut delivered = Vec::new();
    let (mut behind, mut retry) = (Backoff::new(BEHIND), Backoff::new(RETRY));
    while !shutdown.is_cancelled() {
        let paced = Instant::now() + PACE;
        // Nothing of a step is half done when it is dropped: it reads, and then runs one script.
        let Some(step) = shutdown.run_until_cancelled(follower.step(&delivered)).await else { return };
        let waiting = async {
            let heard = match step {
                Ok(Step::At(position)) => {
                    follower.is_well();
                    behind.reset();
                    retry.reset();
                    news(&mut follower, &mut source, position, paced, &mut delivered).await
                }
                Ok(Step::Behind) => {
                    behind.wait().await;
                    Ok(())
                }
                Err(fault) => Err(fault),
            };
            if let Err(fault) = heard {
                follower.is_ailing(&fault);
                retry.wait().await;
            }
        };
        shutdown.run_until_cancelled(waiting).await;
    }
}

/// Waits for word of something after `position`, and looks meanwhile whether Redis still stands there; ends early when
/// it does not.
async fn news(
    follower: &mut Follower,
    source: &mut impl Source,
    position: Position,
    paced: Instant,
    delivered: &mut Vec<RecordedEvent>,
) -> Result<(), Fault> {
    delivered.clear();
    // One wait, however often we look: a source may count on it, to find out what it was not told.
    let mut word = pin!(source.news(position, paced, delivered));
    while timeout(LOOK, &mut word).await.is_err() {
        if follower.look().await? != Step::At(position) {
            break;
        }
    }
    Ok(())
}
