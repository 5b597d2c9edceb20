//! Looking once a second at PostgreSQL: how far `product_list` is, which an answer from Redis must have reached, what time it
//! is there, and whether what Redis has is of this log.
//!
//! What Redis states is held against the log: its position must not be ahead of `product_list`, which the counters follow,
//! and the event there must have the hash that it names. Who wrote such a state is trusted until one of his fails: writers
//! write what one database has, so those of a copy that went on differently are not shown, however far they are. What moves
//! on between two looks is so shown without asking PostgreSQL, which may be away.

use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::counters::{Counters, State};

/// How often to look, and so by how much Redis may be behind.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take. One that fails changes nothing: while PostgreSQL is away, the last one counts.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// What the clock said is not believed when it took longer to hear: up to half of it may be error.
const DOUBT: Duration = Duration::from_millis(50);
/// What the clock said becomes doubtful by this part of its age: no clock that is kept drifts as fast.
const DRIFT: u32 = 1_000;

/// How many writers of one partition are trusted at a time: instances of the projector, and some that have gone.
const MAX_TRUSTED_WRITERS: usize = 8;

/// What PostgreSQL said when it was last looked at.
pub(super) struct Looked {
    positions: Vec<i64>,
    /// By partition: who writes counters of this log, the latest last.
    writers: Vec<Vec<String>>,
    /// `None` until it was heard well.
    clock: Option<Clock>,
}

/// What the database's clock said, and when: its time can be told from then on without asking.
#[derive(Clone, Copy)]
struct Clock {
    said: DateTime<Utc>,
    at: Instant,
    doubt: Duration,
}

impl Looked {
    /// Whether a reader that stands at `positions` has come as far.
    pub(super) fn is_reached_by(&self, positions: &[i64]) -> bool {
        self.positions.len() == positions.len() && self.positions.iter().zip(positions).all(|(seen, at)| at >= seen)
    }

    /// Whether what a partition's hash says was written by somebody who writes of this log.
    pub(super) fn trusts(&self, partition: usize, state: &State) -> bool {
        self.writers.get(partition).is_some_and(|writers| writers.contains(&state.by))
    }

    /// The database's time now, if it is known.
    pub(super) fn now(&self) -> Option<DateTime<Utc>> {
        self.clock.map(|clock| clock.now())
    }
}

impl Clock {
    fn now(&self) -> DateTime<Utc> {
        self.said + TimeDelta::from_std(self.at.elapsed()).unwrap_or(TimeDelta::zero())
    }

    fn doubt_by_now(&self) -> Duration {
        self.doubt + self.at.elapsed() / DRIFT
    }
}

/// The last look; clones share it.
#[derive(Clone, Default)]
pub(super) struct Look {
    last: watch::Sender<Option<Arc<Looked>>>,
}

impl Look {
    /// `None` until PostgreSQL has answered for the first time.
    pub(super) fn last(&self) -> Option<Arc<Looked>> {
        self.last.borrow().clone()
    }

    /// Looks, over and over. A panic is a bug, but no reason to believe the last look for ever.
    pub(super) async fn keep_looking(self, pool: Pool, counters: Arc<Counters>, partitions: usize) {
        loop {
            let looking = self.clone().look_on(pool.clone(), counters.clone(), partitions);
            let looking = AbortOnDropHandle::new(tokio::spawn(looking));
            if let Err(error) = looking.await {
                metrics::counter!("moa_task_restarts_total", "task" => "the look at PostgreSQL").increment(1);
                tracing::error!(%error, "the look at PostgreSQL broke down; it is started anew");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn look_on(self, pool: Pool, counters: Arc<Counters>, partitions: usize) {
        let mut due = interval(LOOK);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            due.tick().await;
            let looked = timeout(TIME_LIMIT, look(&pool, &counters, partitions)).await;
            let looked = looked.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            if let (Err(error), false) = (&looked, is_failing) {
                tracing::warn!(%error, "PostgreSQL cannot be looked at; Redis may go on from the last look");
            }
            is_failing = looked.is_err();
            if let Ok(seen) = looked {
                self.keep(seen);
            }
        }
    }

    /// Takes over what was seen, with the better of the two clocks.
    fn keep(&self, seen: Seen) {
        let last = self.last();
        let clocks = [seen.clock, last.as_ref().and_then(|last| last.clock)];
        let clock = clocks.into_iter().flatten().min_by_key(Clock::doubt_by_now);
        let mut writers = last.map(|last| last.writers.clone()).unwrap_or_default();
        writers.resize(seen.positions.len(), Vec::new());
        for (writers, (by, is_ours)) in writers.iter_mut().zip(seen.writers).filter_map(|(all, one)| Some((all, one?)))
        {
            judge(writers, by, is_ours);
        }
        self.last.send_replace(Some(Arc::new(Looked { positions: seen.positions, writers, clock })));
    }
}

/// Trusts a writer from now on, or no more.
fn judge(writers: &mut Vec<String>, by: String, is_ours: bool) {
    writers.retain(|known| *known != by);
    if is_ours {
        writers.push(by);
        writers.drain(..writers.len().saturating_sub(MAX_TRUSTED_WRITERS));
    } else {
        metrics::counter!("moa_redis_foreign_counters_total").increment(1);
    }
}

/// What one look saw.
struct Seen {
    positions: Vec<i64>,
    clock: Option<Clock>,
    /// By partition, where Redis has one: who wrote last, and whether that is of this log.
    writers: Vec<Option<(String, bool)>>,
}

async fn look(pool: &Pool, counters: &Counters, partitions: usize) -> sqlx::Result<Seen> {
    let mut connection = pool.acquire().await?;
    let database: String = sqlx::query_scalar("select moa_database_id()").fetch_one(&mut connection).await?;
    counters.are_of(&database);
    // Redis first: it follows `product_list`, so what it had before cannot be ahead.
    let states = counters.states().await.unwrap_or_default();
    let stated: Vec<_> = states.iter().map(|state| state.as_ref().map(|state| state.position)).collect();
    let asked = Instant::now();
    let (positions, hashes, said): (Vec<i64>, Vec<String>, _) = sqlx::query_as(
        "select array(select coalesce(position, 0)
                      from generate_series(0, $1 - 1) as n
                      left join checkpoints on consumer = 'product_list' and partition = n
                      order by n),
                array(select coalesce(encode(moa_event_hash(n, ($2::bigint[])[n + 1]), 'hex'), '')
                      from generate_series(0, $1 - 1) as n
                      order by n),
                clock_timestamp()",
    )
    .bind(i32::try_from(partitions).unwrap_or(i32::MAX))
    .bind(stated)
    .fetch_one(&mut connection)
    .await?;
    // Where on the way it was said is not known; the middle is the best guess.
    let doubt = asked.elapsed();
    let clock = Clock { said, at: asked + doubt / 2, doubt };
    let judged = states.into_iter().zip(positions.iter().zip(&hashes));
    let writers = judged.map(|(state, (position, hash))| state.map(|state| is_ours(state, *position, hash))).collect();
    Ok(Seen { positions, clock: (doubt <= DOUBT).then_some(clock), writers })
}

/// Who wrote a state, and whether it is of a log in which the event at its position has this hash (none at 0), and whose
/// `product_list` is at `position`.
fn is_ours(state: State, position: i64, hash: &str) -> (String, bool) {
    let is_that_event = state.event_hash == hash && (state.position == 0) == hash.is_empty();
    (state.by, state.position <= position && is_that_event)
}
