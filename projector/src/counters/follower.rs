//! One partition's counters: what they show, where they stand, and how they go on.

use super::comparison::Comparison;
use super::connection::Connection;
use super::format::State;
use super::hash::{Counters, Placed};
use super::read::{read_all, read_touched};
use super::touched::Touched;
use super::{COUNTERS, LOOK, counters_key};
use connection_pool::Pool;
use event_log::{Log, LogError, Partition, Position, RecordedEvent, RepeatedFault, StoredEvent};
use metrics::counter;
use redis::RedisError;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How many events are read from the log at once.
pub(super) const STEP: i64 = 1_000;
/// How often it is said that counters are not of this log, at most.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
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
    pub(super) log: Log,
    pub(super) pool: Pool,
    connection: Connection,
    pub(super) counters: Counters,
    pub(super) partition: Partition,
    /// The state they were left in; `None` before they are loaded for the first time. What was there before is not believed.
    at: Option<State>,
    /// What they were loaded from: another may say something else at the same position.
    origin: Option<Origin>,
    /// When Redis last said that they are so, and the log that its event is that.
    looked: Instant,
    pub(super) comparison: Comparison,
    fault: RepeatedFault,
    /// When it was last said that Redis has counters that are not of this log.
    complained: Option<Instant>,
}

/// Which database, and which generation of `product_list` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    database: String,
    generation: Option<i32>,
}

impl Follower {
    pub(super) fn new(log: Log, pool: Pool, connection: Connection, partition: Partition) -> Self {
        // Their key is known when they are loaded.
        let counters = Counters::new(connection.clone(), String::new(), Uuid::now_v7());
        let (at, origin, complained) = (None, None, None);
        let (looked, comparison) = (Instant::now(), Comparison::new());
        let fault = RepeatedFault::new("a consumer cannot go on", format!("{COUNTERS}, partition {partition}"));
        Self { log, pool, connection, counters, partition, at, origin, looked, comparison, fault, complained }
    }

    /// Shows what follows: as far as `product_list` has come, which need not be as far as `delivered`, or the log, goes.
    pub(super) async fn step(&mut self, delivered: &[RecordedEvent]) -> Result<Step, Fault> {
        if self.looked.elapsed() >= LOOK {
            self.look().await?;
        }
        let Some(at) = self.at.clone() else { return self.reload().await };
        let mut touched = Touched::after(at.position);
        touched.add(delivered);
        if touched.is_empty() && !self.read_on(&mut touched).await? {
            return Ok(Step::At(at.position));
        }
        if touched.is_empty() {
            return Ok(Step::Behind);
        }
        self.show(&at, touched).await
    }

    /// Looks whether Redis is as it was left, and shows what is live, of this log, and the same as `product_list`; and if
    /// not, puts it right.
    pub(super) async fn look(&mut self) -> Result<Step, Fault> {
        let Some(at) = self.at.clone() else { return self.reload().await };
        if Some(self.origin().await?) != self.origin || !self.is_of_the_log(&at).await? {
            return self.reload().await;
        }
        let text = self.counters.look().await?;
        self.looked = Instant::now();
        if text.as_ref() != Some(&at.text) {
            let state = text.and_then(|text| self.counters.read_state(&text));
            return self.meet(&at, state).await;
        }
        if self.differs().await? {
            counter!("moa_counters_differences_total").increment(1);
            let partition = self.partition;
            tracing::warn!(partition, "counters in Redis are not what product_list says; they are loaded anew");
            return self.reload().await;
        }
        Ok(Step::At(at.position))
    }

    /// Writes what `touched` changed, and what `product_list` has applied since, at its position.
    async fn show(&mut self, at: &State, mut touched: Touched) -> Result<Step, Fault> {
        for _ in 0..ROUNDS {
            let shown = read_touched(&self.pool, self.partition, &touched.products()).await?;
            if shown.position == at.position {
                return Ok(Step::Behind);
            }
            if shown.position < at.position || shown.position - at.position > FAR {
                // Ahead of `product_list`, which it was read from, it can only be of another time; far behind, it is slow.
                return self.reload().await;
            }
            if shown.position <= touched.end() {
                let listed = touched.listed(shown.position);
                return match self.counters.advance(at, &shown, listed).await? {
                    Ok(state) => Ok(self.moved(state, touched.end())),
                    Err(state) => self.meet(at, state).await,
                };
            }
            self.read_on(&mut touched).await?;
        }
        self.reload().await
    }

    /// Redis is not as it was left. What another instance has written since is as good as our own, if it is of this log;
    /// all else came about by no consumer's doing, and everything is loaded.
    async fn meet(&mut self, at: &State, found: Option<State>) -> Result<Step, Fault> {
        let Some(state) = found else { return self.reload().await };
        if !self.is_of_the_log(&state).await? {
            self.complain_of_strangers();
            return self.reload().await;
        }
        if state.position < at.position || self.counters.wrote(&state) {
            return self.reload().await;
        }
        Ok(self.stand(state))
    }

    /// Puts all of `product_list` there, whatever stands there now, unless it has become newer meanwhile.
    async fn reload(&mut self) -> Result<Step, Fault> {
        self.at = None;
        // Before what is read: were it switched in between, that is seen at the next look.
        let origin = self.origin().await?;
        let log_id = self.log.identity().log_id;
        self.counters.move_to(counters_key(log_id, self.partition, &origin.database));
        self.origin = Some(origin);
        let seen = self.counters.look().await?;
        let shown = read_all(&self.pool, self.log.identity().partitions, self.partition).await?;
        match self.counters.place(seen, &shown).await? {
            Placed::There(state) => {
                counter!("moa_counters_reloads_total").increment(1);
                Ok(self.stand(state))
            }
            Placed::Newer(Some(state)) if self.is_of_the_log(&state).await? => Ok(self.stand(state)),
            // It is no better than what was seen: when it is seen again, it is replaced.
            Placed::Newer(_) => Ok(Step::Behind),
            // What was put aside did not last until it was to be put in place.
            Placed::Lost => Ok(Step::Behind),
        }
    }

    /// Which database this is, and which generation of `product_list` is live.
    async fn origin(&self) -> sqlx::Result<Origin> {
        let (database, generation) = sqlx::query_as(
            "select moa_database_id(),
                    (select generation from generations where projection = 'product_list' and state = 'LIVE')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Origin { database, generation })
    }

    /// Whether the log has the event that `state` names, at its position; and so is as long.
    async fn is_of_the_log(&self, state: &State) -> sqlx::Result<bool> {
        sqlx::query_scalar("select coalesce(encode(moa_event_hash($1, $2), 'hex'), '') = $3 and ($2 = 0 or $3 <> '')")
            .bind(self.partition)
            .bind(state.position)
            .bind(&state.event_hash)
            .fetch_one(&self.pool)
            .await
    }

    fn stand(&mut self, state: State) -> Step {
        let at = state.position;
        self.at = Some(state);
        Step::At(at)
    }

    fn moved(&mut self, state: State, known: Position) -> Step {
        let at = state.position;
        let stands = self.stand(state);
        if at < known { Step::Behind } else { stands }
    }

    fn complain_of_strangers(&mut self) {
        counter!("moa_counters_foreign_total").increment(1);
        if self.complained.is_none_or(|last| last.elapsed() >= COMPLAINT_INTERVAL) {
            self.complained = Some(Instant::now());
            let partition = self.partition;
            tracing::warn!(
                partition,
                "counters in Redis are of another log: if a copy of this database uses the same Redis, give it its own"
            );
        }
    }

    /// Adds what follows in the log; says whether there is anything, though it may be unreadable, which is for
    /// `product_list` to complain of.
    pub(super) async fn read_on(&self, touched: &mut Touched) -> Result<bool, Fault> {
        let stored = self.log.stored_after(self.partition, touched.end(), STEP).await?;
        let read: Vec<_> = stored.iter().map(StoredEvent::read).map_while(Result::ok).collect();
        touched.add(&read);
        Ok(!stored.is_empty())
    }

    /// Nothing is wrong any more.
    pub(super) fn is_well(&mut self) {
        self.connection.is_there_for(self.partition);
        self.fault.recovered();
    }

    /// Says what is wrong.
    pub(super) fn is_ailing(&mut self, fault: &Fault) {
        match fault {
            Fault::Redis(error) => self.connection.is_lost_to(self.partition, error),
            Fault::Database(error) => self.fault.failed(error),
            Fault::Log(error) => self.fault.failed(error),
        }
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
