//! The switch: another generation becomes the live one between two reads, and what was live stands by.
//!
//! One transaction trades the places: tables change their schema, checkpoints their consumer. A reader's statement locks
//! its tables before it takes its snapshot, and looks their names up again when it had to wait; so it sees one generation
//! and its positions, never a mixture. Appliers lock their checkpoint by name before they write, so they move to the tables
//! that the name stands for, or wait their turn.
//!
//! The table that bears the read model's very name is locked first. Statements that name it before the others meet the
//! switch there, holding nothing; one that holds another table by then costs an attempt, never a reader's error.

mod places;

use super::execute;
use connection_pool::Connection;
use event_log::Position;
use event_log::consume::{ApplyError, StepError};
use places::Places;
use std::time::{Duration, Instant};

/// How many milliseconds the tables may be waited for, attempt by attempt: readers wait behind it. Far below the
/// deadlock time-out, so that no reader pays; less than a second in all.
const HOLDS_MS: [u64; 5] = [25, 50, 100, 200, 300];
/// Readers come through between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long checkpoints are waited for, the end of a vacuum, and catching up. Holds up writers only. More than the
/// server's `deadlock_timeout`, after which an autovacuum in the way is cancelled.
const WAITS: Duration = Duration::from_secs(2);
/// After this the server takes the tables back from a process that froze.
const FROZEN: Duration = Duration::from_millis(500);

/// What a switch did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switched {
    /// What was live before; `None` when the generation was live already.
    pub(crate) from: Option<i32>,
    /// How long readers may have been held up, all attempts together.
    pub(crate) held: Duration,
}

/// Why a generation did not become the live one. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    /// Others kept the locks: end what runs for long, and try again.
    #[error(
        "{projection} is in use: nothing changed; end the long statements that pg_stat_activity shows, and try again"
    )]
    Busy {
        /// Which read model.
        projection: String,
        /// How long readers may have been held up, all attempts together.
        held: Duration,
    },
    /// Let it catch up, and try again.
    #[error("generation {generation} of {projection} is {events} events behind the live one: nothing changed")]
    Behind {
        /// Which read model.
        projection: String,
        /// The one that was to become live.
        generation: i32,
        /// How many, all partitions together.
        events: i64,
    },
    /// There is no such generation, or it is not filled.
    #[error("generation {generation} of {projection} cannot become the live one: {reason}")]
    Unfit {
        /// Which read model.
        projection: String,
        /// The one that was to become live.
        generation: i32,
        /// What it lacks.
        reason: &'static str,
    },
    /// Catching up went wrong.
    #[error(transparent)]
    CatchUp(#[from] StepError),
    /// The database said no, or nothing. When that was the answer to the commit, it may have happened: switching again
    /// to a generation that is live is fine.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Brings a generation to where the live one stands. `()` leaves it where it is.
pub(crate) trait CatchUp: Send {
    /// Applies to the generation's own tables what it lacks up to `live`, by partition, and moves its checkpoints there, in
    /// the switch's transaction, which holds both generations' checkpoints. Called in every attempt that finds it behind,
    /// and cut off after two seconds.
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

/// Makes `to` the live generation and the live one PREVIOUS; an older PREVIOUS is READY then, so that going back is a
/// switch to the one that is PREVIOUS. Refused while `to` is behind in any partition, after `catch_up`. All or nothing,
/// whenever it is cut off; holds readers up for less than a second.
pub(crate) async fn switch(
    connection: &mut Connection,
    projection: &str,
    to: i32,
    catch_up: &mut impl CatchUp,
) -> Result<Switched, SwitchError> {
    let mut held = Duration::ZERO;
    for hold in HOLDS_MS.map(Duration::from_millis) {
        let mut attempt = Attempt { projection, to, hold, holding: None };
        let tried = attempt.make(connection, catch_up).await;
        held += attempt.holding.map_or(Duration::ZERO, |since| since.elapsed());
        match tried {
            Ok(from) => return Ok(Switched { from, held }),
            Err(error) if in_use(&error) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    Err(SwitchError::Busy { projection: projection.into(), held })
}

struct Attempt<'a> {
    projection: &'a str,
    to: i32,
    /// How long the tables may be waited for.
    hold: Duration,
    /// Since when readers may be held up.
    holding: Option<Instant>,
}

impl Attempt<'_> {
    /// Says what was live before, unless it is `to`.
    async fn make(
        &mut self,
        connection: &mut Connection,
        catch_up: &mut impl CatchUp,
    ) -> Result<Option<i32>, SwitchError> {
        let mut transaction = connection.begin().await?;
        match self.make_within(&mut transaction, catch_up).await {
            Ok(from) => {
                transaction.commit().await?;
                Ok(from)
            }
            Err(error) => {
                // Awaited: dropped, it would keep its locks a while longer. What went wrong first is what is told.
                transaction.rollback().await.ok();
                Err(error)
            }
        }
    }

    async fn make_within(
        &mut self,
        transaction: &mut Connection,
        catch_up: &mut impl CatchUp,
    ) -> Result<Option<i32>, SwitchError> {
        bound(transaction, WAITS, WAITS).await?;
        let from = live(transaction, self.projection, self.to).await?;
        if from == self.to {
            return Ok(None);
        }
        let places = Places::of(transaction, self.projection, from, self.to).await?;
        places.keep_vacuum_out(transaction).await?;
        self.bring_up(transaction, &places, catch_up).await?;
        places.make_room(transaction).await?;
        bound(transaction, self.hold, FROZEN).await?;
        self.holding = Some(Instant::now());
        places.trade(transaction).await?;
        Ok(Some(from))
    }

    /// Holds all checkpoints of both, so that nobody moves, and makes sure that the other generation has what the live
    /// one has.
    async fn bring_up(
        &self,
        transaction: &mut Connection,
        places: &Places<'_>,
        catch_up: &mut impl CatchUp,
    ) -> Result<(), SwitchError> {
        let mut held = places.hold_checkpoints(transaction).await?;
        if held.behind() > 0 {
            // One that is cut off is as far behind as it was.
            let catching_up = catch_up.catch_up(transaction, &held.live);
            if let Ok(caught_up) = tokio::time::timeout(WAITS, catching_up).await {
                caught_up?;
                held = places.hold_checkpoints(transaction).await?;
            }
        }
        match held.behind() {
            0 => Ok(()),
            events => Err(SwitchError::Behind { projection: self.projection.into(), generation: self.to, events }),
        }
    }
}

/// Whatever comes next waits and runs for `statement` at most, and all is undone when nothing comes for `idle`.
async fn bound(transaction: &mut Connection, statement: Duration, idle: Duration) -> sqlx::Result<()> {
    let (statement, idle) = (statement.as_millis(), idle.as_millis());
    let bounds = format!(
        "set local lock_timeout = {statement}; set local statement_timeout = {statement};
         set local idle_in_transaction_session_timeout = {idle}"
    );
    execute(transaction, &bounds).await
}

/// Locks what is known of the read model's generations, and says which one is live.
async fn live(transaction: &mut Connection, projection: &str, to: i32) -> Result<i32, SwitchError> {
    let known: Vec<(i32, String)> = sqlx::query_as(
        "select generation, state from generations where projection = $1 order by generation for update",
    )
    .bind(projection)
    .fetch_all(transaction)
    .await?;
    let unfit = |reason| SwitchError::Unfit { projection: projection.into(), generation: to, reason };
    match known.iter().find(|(generation, _)| *generation == to).map(|(_, state)| state.as_str()) {
        None => return Err(unfit("there is none of that number")),
        Some("BUILDING") => return Err(unfit("it is still being filled")),
        Some(_) => {}
    }
    let live = known.iter().find(|(_, state)| state == "LIVE");
    live.map(|(generation, _)| *generation).ok_or_else(|| unfit("none is live, so it has nothing to replace"))
}

/// Whether someone else had what it takes: a lock that was not to be had in time, and a deadlock, which is the same.
fn in_use(error: &SwitchError) -> bool {
    let error = match error {
        SwitchError::Database(error) | SwitchError::CatchUp(StepError::Apply(ApplyError::Database(error))) => error,
        _ => return false,
    };
    let code = error.as_database_error().and_then(|refused| refused.code());
    code.is_some_and(|code| IN_USE.contains(&code.as_ref()))
}

/// SQLSTATEs: lock not available, deadlock detected, and query canceled, by a time-out of ours.
const IN_USE: [&str; 3] = ["55P03", "40P01", "57014"];
