//! One partition's counters: what they show, where they stand, and how they go on.

use super::connection::Connection;
use super::hash::{Counters, Placed, Stands};
use super::read::{read_all, read_touched};
use super::touched::Touched;
use super::{COUNTERS, LOOK};
use event_log::{Log, LogError, Partition, Position, RecordedEvent, StoredEvent};
use metrics::counter;
use redis::RedisError;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

/// How many events are read from the log at once.
const STEP: i64 = 1_000;
/// How often `product_list` may move on while what it changed is collected; past it everything is loaded, which never
/// has to chase.
const ROUNDS: usize = 4;
/// Events behind from which loading everything is cheaper than reading them.
const FAR: Position = STEP * ROUNDS as i64;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The counters stand here, and nothing more is known.
    At(Position),
    /// The log has more, but `product_list` does not show it yet.
    Behind,
}

/// Why a step was not taken.
#[derive(Debug)]
pub(super) enum Fault {
    Redis(RedisError),
    Database(sqlx::Error),
    Log(LogError),
}

pub(super) struct Follower {
    log: Log,
    pool: PgPool,
    connection: Connection,
    counters: Counters,
    partition: Partition,
    /// Where they were left; `None` before they are loaded for the first time. What was there before is not believed.
    at: Option<Position>,
    /// Which generation of `product_list` they were loaded from: another may say something else at the same position.
    generation: Option<i32>,
    /// When Redis last said that they stand there.
    looked: Instant,
    complaint: String,
}

impl Follower {
    pub(super) fn new(log: Log, pool: PgPool, connection: Connection, partition: Partition) -> Self {
        let counters = Counters::new(connection.clone(), log.identity().log_id, partition, Uuid::now_v7());
        let (at, generation, looked, complaint) = (None, None, Instant::now(), String::new());
        Self { log, pool, connection, counters, partition, at, generation, looked, complaint }
    }

    /// Shows what follows: as far as `product_list` has come, which need not be as far as `delivered`, or the log, goes.
    pub(super) async fn step(&mut self, delivered: &[RecordedEvent]) -> Result<Step, Fault> {
        if self.looked.elapsed() >= LOOK {
            self.look().await?;
        }
        let Some(at) = self.at else { return self.reload().await };
        let mut touched = Touched::after(at);
        touched.add(delivered);
        if touched.is_empty() && !self.read_on(&mut touched).await? {
            return Ok(Step::At(at));
        }
        if touched.is_empty() {
            return Ok(Step::Behind);
        }
        self.show(at, touched).await
    }

    /// Looks whether Redis stands where it was left, and shows what is live, and if not, puts it right.
    pub(super) async fn look(&mut self) -> Result<Step, Fault> {
        let Some(at) = self.at else { return self.reload().await };
        if self.live().await? != self.generation {
            return self.reload().await;
        }
        match self.counters.look().await? {
            Some(stands) if stands.position == at => Ok(self.stand(at)),
            other => self.meet(at, other).await,
        }
    }

    /// Writes what `touched` changed, and what `product_list` has applied since, at its position.
    async fn show(&mut self, at: Position, mut touched: Touched) -> Result<Step, Fault> {
        for _ in 0..ROUNDS {
            let shown = read_touched(&self.pool, self.partition, &touched.products()).await?;
            if shown.position == at {
                return Ok(Step::Behind);
            }
            if shown.position < at || shown.position - at > FAR {
                // Ahead of `product_list`, which it was read from, it can only be of another time; far behind, it is slow.
                return self.reload().await;
            }
            if shown.position <= touched.end() {
                let listed = touched.listed(shown.position);
                return match self.counters.advance(at, &shown, listed).await? {
                    Ok(()) => Ok(self.moved(shown.position, touched.end())),
                    Err(stands) => self.meet(at, stands).await,
                };
            }
            self.read_on(&mut touched).await?;
        }
        self.reload().await
    }

    /// Redis does not stand where it was left. What another instance has written since is as good as our own; all else
    /// came about by no consumer's doing, and everything is loaded.
    async fn meet(&mut self, at: Position, stands: Option<Stands>) -> Result<Step, Fault> {
        match stands {
            Some(stands) if stands.position > at && !self.counters.wrote(&stands) => Ok(self.stand(stands.position)),
            _ => self.reload().await,
        }
    }

    /// Puts all of `product_list` there, whatever stands there now, unless it has become newer meanwhile.
    async fn reload(&mut self) -> Result<Step, Fault> {
        let seen = self.counters.look().await?;
        // Before what is read: were it switched in between, that is seen at the next look.
        self.generation = self.live().await?;
        let shown = read_all(&self.pool, self.log.identity().partitions, self.partition).await?;
        match self.counters.place(seen, &shown).await? {
            Placed::There => {
                counter!("moa_counters_reloads_total").increment(1);
                Ok(self.stand(shown.position))
            }
            Placed::Newer(position) => Ok(self.stand(position)),
            // What was put aside did not last until it was to be put in place.
            Placed::Lost => Ok(Step::Behind),
        }
    }

    /// Which generation of `product_list` is live.
    async fn live(&self) -> sqlx::Result<Option<i32>> {
        sqlx::query_scalar("select generation from generations where projection = 'product_list' and state = 'LIVE'")
            .fetch_optional(&self.pool)
            .await
    }

    fn stand(&mut self, at: Position) -> Step {
        self.at = Some(at);
        self.looked = Instant::now();
        Step::At(at)
    }

    fn moved(&mut self, at: Position, known: Position) -> Step {
        let stands = self.stand(at);
        if at < known { Step::Behind } else { stands }
    }

    /// Adds what follows in the log; says whether there is anything, though it may be unreadable, which is for
    /// `product_list` to complain of.
    async fn read_on(&self, touched: &mut Touched) -> Result<bool, Fault> {
        let stored = self.log.stored_after(self.partition, touched.end(), STEP).await?;
        let read: Vec<_> = stored.iter().map(StoredEvent::read).map_while(Result::ok).collect();
        touched.add(&read);
        Ok(!stored.is_empty())
    }

    /// Nothing is wrong any more.
    pub(super) fn is_well(&mut self) {
        self.connection.is_there_for(self.partition);
        self.complaint.clear();
    }

    /// Says what is wrong, once.
    pub(super) fn is_ailing(&mut self, fault: &Fault) {
        let said = match fault {
            Fault::Redis(error) => return self.connection.is_lost_to(self.partition, error),
            Fault::Database(error) => error.to_string(),
            Fault::Log(error) => error.to_string(),
        };
        if said != self.complaint {
            let partition = self.partition;
            tracing::warn!(consumer = COUNTERS, partition, error = said, "a consumer cannot go on; it tries again");
        }
        self.complaint = said;
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}
