//! Looking at PostgreSQL once a second: how far `product_list` is, which an answer from Redis must have reached, and
//! what time it is there.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How often to look, and so by how much Redis may be behind.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take. One that fails changes nothing: while PostgreSQL is away, the last one counts.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// What the clock said is not believed when it took longer to hear: up to half of it may be error.
const DOUBT: Duration = Duration::from_millis(50);
/// What the clock said becomes doubtful by this part of its age: no clock that is kept drifts as fast.
const DRIFT: u32 = 1_000;

/// What PostgreSQL said when it was last looked at.
pub(super) struct Looked {
    positions: Vec<i64>,
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

    /// Looks, over and over.
    pub(super) async fn keep_looking(self, pool: PgPool, partitions: usize) {
        let mut due = interval(LOOK);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_failing = false;
        loop {
            due.tick().await;
            let looked = timeout(TIME_LIMIT, look(&pool, partitions)).await;
            let looked = looked.unwrap_or(Err(sqlx::Error::PoolTimedOut));
            if let (Err(error), false) = (&looked, is_failing) {
                tracing::warn!(%error, "PostgreSQL cannot be looked at; Redis may go on from the last look");
            }
            is_failing = looked.is_err();
            if let Ok(looked) = looked {
                self.keep(looked);
            }
        }
    }

    /// Takes over what was seen, with the better of the two clocks.
    fn keep(&self, mut looked: Looked) {
        let clocks = [looked.clock, self.last().and_then(|last| last.clock)];
        looked.clock = clocks.into_iter().flatten().min_by_key(Clock::doubt_by_now);
        self.last.send_replace(Some(Arc::new(looked)));
    }
}

async fn look(pool: &PgPool, partitions: usize) -> sqlx::Result<Looked> {
    let mut connection = pool.acquire().await?;
    let asked = Instant::now();
    let (positions, said): (Vec<i64>, _) = sqlx::query_as(
        "select array(select coalesce(position, 0)
                      from generate_series(0, $1 - 1) as n
                      left join checkpoints on consumer = 'product_list' and partition = n
                      order by n),
                clock_timestamp()",
    )
    .bind(i32::try_from(partitions).unwrap_or(i32::MAX))
    .fetch_one(&mut *connection)
    .await?;
    // Where on the way it was said is not known; the middle is the best guess.
    let doubt = asked.elapsed();
    let clock = Clock { said, at: asked + doubt / 2, doubt };
    Ok(Looked { positions, clock: (doubt <= DOUBT).then_some(clock) })
}
