//! The blue/green switch: a standby becomes the live generation between two reads, and the former live one a standby.
//!
//! One transaction swaps both: tables change their schema, checkpoints their consumer. A reader's statement locks its tables
//! before it takes its snapshot, and resolves their names again after it waited; so it sees one generation and its positions,
//! never a mixture. Consumers lock their checkpoint by name before they write, so they write the tables of that name, or wait.
//!
//! Lock order: the table named like the read model is locked first. Statements that touch it before the others wait for the
//! switch there, without a lock on another table. A statement that already holds another table costs the switch one attempt,
//! never the reader an error.

mod swap;

use super::{GenerationState, execute};
use connection_pool::Connection;
use event_log::Position;
use event_log::consume::{ApplyError, StepError};
use std::time::{Duration, Instant};
use swap::SchemaSwap;

/// How long each attempt may wait for the tables, while readers wait behind it. Far below `deadlock_timeout`, so that no
/// reader is cancelled; less than a second in all.
const LOCK_TIMEOUTS_MS: [u64; 5] = [25, 50, 100, 200, 300];
/// The wait between two attempts, in which readers proceed.
const RETRY_DELAY: Duration = Duration::from_millis(100);
/// How long to wait for checkpoints, for the end of a vacuum, and for catching up. Blocks writers only. More than the
/// server's `deadlock_timeout`, after which the server cancels an autovacuum that blocks.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);
/// After so long without a statement the server ends the transaction of a process that froze.
const IDLE_TIMEOUT: Duration = Duration::from_millis(500);

/// What a switch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switched {
    /// The generation that was live before; `None` when this one was live already.
    pub(crate) from: Option<i32>,
    /// How long readers may have been blocked, in all attempts together.
    pub(crate) blocked: Duration,
}

/// Why a standby did not become the live generation. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    /// Others held the locks: end long statements, and try again.
    #[error(
        "{projection} is in use: nothing changed; end the long statements that pg_stat_activity shows, and try again"
    )]
    Busy {
        /// Which read model.
        projection: String,
        /// How long readers may have been blocked, in all attempts together.
        blocked: Duration,
    },
    /// The standby is behind: let it catch up, and try again.
    #[error(
        "generation {generation} of {projection} is {events} events behind the live one: nothing changed"
    )]
    Behind {
        /// Which read model.
        projection: String,
        /// The one that was to become live.
        generation: i32,
        /// How many, in all partitions together.
        events: i64,
    },
    /// There is no such generation, or it is not filled.
    #[error("generation {generation} of {projection} cannot become the live one: {reason}")]
    Unfit {
        /// Which read model.
        projection: String,
        /// The one that was to become live.
        generation: i32,
        /// Why it is unfit.
        reason: &'static str,
    },
    /// Catching up failed.
    #[error(transparent)]
    CatchUp(#[from] StepError),
    /// The database refused, or did not answer. If that was the commit, the switch may have happened: switching to a generation
    /// that is live already changes nothing.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Brings a standby to the live generation's positions. `()` leaves it where it is.
pub(crate) trait CatchUp: Send {
    /// Applies to the standby's tables the events that it lacks up to `live`, by partition, and moves its checkpoints there, in
    /// the switch's transaction, which holds both generations' checkpoints. Called in every attempt that finds it behind,
    /// and cancelled after two seconds.
    fn catch_up(
        &mut self,
        transaction: &mut Connection,
        live: &[Position],
    ) -> impl Future<Output = Result<(), StepError>> + Send;
}

impl CatchUp for () {
    async fn catch_up(&mut self, _: &mut Connection, _: &[Position]) -> Result<(), StepError> {
        Ok(())
    }
}

/// Makes `to` the live generation and the live one `PREVIOUS`; an older `PREVIOUS` becomes `READY`, so that a rollback is a
/// switch to the `PREVIOUS` one. Refused while `to` is behind in any partition, after `catch_up`. Atomic; blocks readers for
/// less than a second.
pub(crate) async fn switch(
    connection: &mut Connection,
    projection: &str,
    to: i32,
    catch_up: &mut impl CatchUp,
) -> Result<Switched, SwitchError> {
    let mut blocked = Duration::ZERO;
    for lock_timeout in LOCK_TIMEOUTS_MS.map(Duration::from_millis) {
        let mut attempt = Attempt {
            projection,
            to,
            lock_timeout,
            blocking_since: None,
        };
        let attempted = attempt.run(connection, catch_up).await;
        blocked += attempt
            .blocking_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        match attempted {
            Ok(from) => return Ok(Switched { from, blocked }),
            Err(error) if in_use(&error) => tokio::time::sleep(RETRY_DELAY).await,
            Err(error) => return Err(error),
        }
    }
    Err(SwitchError::Busy {
        projection: projection.into(),
        blocked,
    })
}

struct Attempt<'a> {
    projection: &'a str,
    to: i32,
    /// How long to wait for the tables.
    lock_timeout: Duration,
    /// Since when readers may be blocked.
    blocking_since: Option<Instant>,
}

impl Attempt<'_> {
    /// Returns the generation that was live before, unless it is `to`.
    async fn run(
        &mut self,
        connection: &mut Connection,
        catch_up: &mut impl CatchUp,
    ) -> Result<Option<i32>, SwitchError> {
        let mut transaction = connection.begin().await?;
        match self.run_in(&mut transaction, catch_up).await {
            Ok(from) => {
                transaction.commit().await?;
                Ok(from)
            }
            Err(error) => {
                // Awaited, because a dropped transaction keeps its locks a while longer. The first error is returned.
                transaction.rollback().await.ok();
                Err(error)
            }
        }
    }

    async fn run_in(
        &mut self,
        transaction: &mut Connection,
        catch_up: &mut impl CatchUp,
    ) -> Result<Option<i32>, SwitchError> {
        set_timeouts(transaction, CATCH_UP_TIMEOUT, CATCH_UP_TIMEOUT).await?;
        let from = live_generation(transaction, self.projection, self.to).await?;
        if from == self.to {
            return Ok(None);
        }
        let swap = SchemaSwap::of(transaction, self.projection, from, self.to).await?;
        swap.keep_vacuum_out(transaction).await?;
        self.ensure_caught_up(transaction, &swap, catch_up).await?;
        swap.make_retire_schema(transaction).await?;
        set_timeouts(transaction, self.lock_timeout, IDLE_TIMEOUT).await?;
        self.blocking_since = Some(Instant::now());
        swap.swap(transaction).await?;
        Ok(Some(from))
    }

    /// Locks the checkpoints of both, so that neither moves, and makes sure that the standby is at the live one's positions.
    async fn ensure_caught_up(
        &self,
        transaction: &mut Connection,
        swap: &SchemaSwap<'_>,
        catch_up: &mut impl CatchUp,
    ) -> Result<(), SwitchError> {
        let mut held = swap.hold_checkpoints(transaction).await?;
        if held.behind() > 0 {
            // When it is cancelled, the standby is as far behind as before.
            let catching_up = catch_up.catch_up(transaction, &held.live);
            if let Ok(caught_up) = tokio::time::timeout(CATCH_UP_TIMEOUT, catching_up).await {
                caught_up?;
                held = swap.hold_checkpoints(transaction).await?;
            }
        }
        match held.behind() {
            0 => Ok(()),
            events => Err(SwitchError::Behind {
                projection: self.projection.into(),
                generation: self.to,
                events,
            }),
        }
    }
}

/// Bounds the following statements to `statement`, and the wait for the next one to `idle`.
async fn set_timeouts(
    transaction: &mut Connection,
    statement: Duration,
    idle: Duration,
) -> sqlx::Result<()> {
    let (statement, idle) = (statement.as_millis(), idle.as_millis());
    let bounds = format!(
        "set local lock_timeout = {statement}; set local statement_timeout = {statement};
         set local idle_in_transaction_session_timeout = {idle}"
    );
    execute(transaction, &bounds).await
}

/// Locks the rows of the read model's generations, and returns the live one.
async fn live_generation(
    transaction: &mut Connection,
    projection: &str,
    to: i32,
) -> Result<i32, SwitchError> {
    let known: Vec<(i32, String)> = sqlx::query_as(
        "select generation, state from generations where projection = $1 order by generation for update",
    )
    .bind(projection)
    .fetch_all(transaction)
    .await?;
    let unfit = |reason| SwitchError::Unfit {
        projection: projection.into(),
        generation: to,
        reason,
    };
    let has_state = |state: &str, expected: GenerationState| state == expected.as_str();
    match known.iter().find(|(generation, _)| *generation == to) {
        None => return Err(unfit("there is none of that number")),
        Some((_, state)) if has_state(state, GenerationState::Building) => {
            return Err(unfit("it is still being filled"));
        }
        Some(_) => {}
    }
    let live = known
        .iter()
        .find(|(_, state)| has_state(state, GenerationState::Live));
    live.map(|(generation, _)| *generation)
        .ok_or_else(|| unfit("none is live, so it has nothing to replace"))
}

/// Whether another transaction held a lock for too long, or deadlocked with this one.
fn in_use(error: &SwitchError) -> bool {
    let error = match error {
        SwitchError::Database(error)
        | SwitchError::CatchUp(StepError::Apply(ApplyError::Database(error))) => error,
        _ => return false,
    };
    let code = error.as_database_error().and_then(|refused| refused.code());
    code.is_some_and(|code| IN_USE.contains(&code.as_ref()))
}

/// SQLSTATEs: lock not available, deadlock detected, and query canceled (by our time-out).
const IN_USE: [&str; 3] = ["55P03", "40P01", "57014"];
