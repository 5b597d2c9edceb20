//! What operators may ask for: a read model made anew, compared, switched to and back, held still, dropped. A rebuild and a
//! dry run are jobs: rows that a projector takes up, wherever one runs, and goes on with after any end of it.

use crate::generation::{self, switch::SwitchError};
use crate::{PROJECTIONS, rebuild};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use event_log::consume::{ApplyError, StepError};
use event_log::{Log, LogError};
use sqlx::postgres::PgDatabaseError;
use std::time::Duration;

/// How long is waited for the projector that is at an ended job to let go: it hears of it within a second. One that was
/// killed keeps its lease for longer than a caller waits.
const LET_GO: Duration = Duration::from_secs(5);

/// What a rebuild is to do.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Switch by itself once it is verified.
    pub switches: bool,
    /// Switch even when the new generation differs from the live one.
    pub accept_differences: bool,
    /// Events a second, at most; `None` is as fast as it can.
    pub max_rate: Option<i32>,
}

/// A rebuild or a dry run.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// `REBUILD` or `DIFF`.
    pub kind: String,
    /// Of which read model.
    pub projection: String,
    /// Which generation it makes.
    pub generation: i32,
    /// By which version of the code; projectors with another leave it alone.
    pub code_version: i32,
    /// Whether it switches by itself.
    pub switches: bool,
    /// Whether it switches even when there are differences.
    pub accept_differences: bool,
    /// Events a second, at most.
    pub max_rate: Option<i32>,
    /// `RUNNING`, `DONE` or `FAILED`.
    pub state: String,
    /// `WAITING`, `FOLDING`, `INDEXING`, `CATCHING_UP`, `COMPARING` or `SWITCHING`; where it ended, when it has.
    pub stage: String,
    /// Events folded.
    pub done: i64,
    /// Events to fold.
    pub total: i64,
    /// The latest trouble, which is tried again; or why it failed.
    pub problem: Option<String>,
    /// What the comparison found, once there is one.
    pub outcome: Option<serde_json::Value>,
    /// When it was asked for.
    pub asked_at: DateTime<Utc>,
    /// When it last went on.
    pub moved_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// One set of a read model's tables.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Generation {
    /// Of which read model.
    pub projection: String,
    /// Which, from 1.
    pub generation: i32,
    /// The version of the code that fills it.
    pub code_version: i32,
    /// `LIVE`, `BUILDING`, `READY`, `DIFFERENT` or `PREVIOUS`.
    pub state: String,
    /// When it was begun.
    pub made_at: DateTime<Utc>,
}

impl Generation {
    /// The name its checkpoints bear.
    pub fn consumer(&self) -> String {
        match self.state.as_str() {
            "LIVE" => self.projection.clone(),
            _ => generation::slot(&self.projection, self.generation),
        }
    }
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is no such read model.
    #[error("there is no read model {0}")]
    Unknown(String),
    /// A job of it is running.
    #[error("job {0} is at it already: wait for it, or drop it")]
    Busy(i64),
    /// It has a generation beside the live one that must go, or be switched to, first.
    #[error("generation {generation} of it is there already ({state}): switch to it, or drop it")]
    InTheWay {
        /// Which.
        generation: i32,
        /// What it is.
        state: String,
    },
    /// There is no generation that this could be done with.
    #[error("{0}")]
    Nothing(&'static str),
    /// The generation is not as far as the live one.
    #[error("it is {events} events behind the live one: wait until it has caught up")]
    Behind {
        /// By how many events.
        events: i64,
    },
    /// It cannot get to where the live one stands.
    #[error("it cannot follow the live one: {0}")]
    Poison(String),
    /// Readers or writers held the tables all the time.
    #[error("the tables were in use all the time: try again")]
    Held,
    /// The database said no, or nothing.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<sqlx::Error> for Refused {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl From<SwitchError> for Refused {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Behind { events, .. } => Self::Behind { events },
            SwitchError::Busy { .. } => Self::Held,
            SwitchError::Unfit { reason, .. } => Self::Nothing(reason),
            SwitchError::CatchUp(StepError::Log(error)) => error.into(),
            SwitchError::CatchUp(StepError::Apply(ApplyError::Database(error))) => error.into(),
            SwitchError::CatchUp(StepError::Apply(ApplyError::Event { reason, .. })) => Self::Poison(reason),
            SwitchError::Database(error) => error.into(),
        }
    }
}

/// The read models of one log, for operators.
#[derive(Clone)]
pub struct Jobs {
    log: Log,
    pool: Pool,
}

impl Jobs {
    /// `pool` must be allowed to make and drop tables.
    pub fn new(log: Log, pool: Pool) -> Self {
        Self { log, pool }
    }

    /// Asks for a rebuild by today's code; says which job it is.
    pub async fn rebuild(&self, projection: &str, wanted: Wanted) -> Result<i64, Refused> {
        self.ask("REBUILD", projection, wanted).await
    }

    /// Asks for a dry run of today's code, compared with the live model and dropped again; says which job it is.
    pub async fn diff(&self, projection: &str, max_rate: Option<i32>) -> Result<i64, Refused> {
        self.ask("DIFF", projection, Wanted { switches: false, accept_differences: false, max_rate }).await
    }

    async fn ask(&self, kind: &str, projection: &str, wanted: Wanted) -> Result<i64, Refused> {
        let known = known(projection)?;
        if let Some(job) = self.running(known.name).await? {
            return Err(Refused::Busy(job));
        }
        self.clear(known.name).await?;
        let beside = self.beside(known.name).await?;
        if let (Some(other), "REBUILD") = (beside.first(), kind) {
            return Err(Refused::InTheWay { generation: other.generation, state: other.state.clone() });
        }
        let asked = sqlx::query_scalar(
            "with made as (
                 insert into generations (projection, generation, code_version, state)
                 select $2, coalesce(max(generation), 0) + 1, $3, 'BUILDING'
                   from (select generation from generations where projection = $2
                          union all select generation from jobs where projection = $2) as known
                 returning generation)
             insert into jobs (kind, projection, generation, code_version, switches, accept_differences, max_rate)
             select $1, $2, generation, $3, $4, $5, $6 from made returning id",
        )
        .bind(kind)
        .bind(known.name)
        .bind(known.version)
        .bind(wanted.switches)
        .bind(wanted.accept_differences)
        .bind(wanted.max_rate)
        .fetch_one(&self.pool)
        .await;
        match asked {
            Err(error) if is_taken(&error) => {
                // Another was faster.
                Err(self.running(known.name).await?.map_or(Refused::Held, Refused::Busy))
            }
            asked => Ok(asked?),
        }
    }

    /// One job; `None` when there is no such.
    pub async fn job(&self, id: i64) -> Result<Option<Job>, Refused> {
        Ok(sqlx::query_as("select * from jobs where id = $1").bind(id).fetch_optional(&self.pool).await?)
    }

    /// The jobs that run, and the last one of each read model.
    pub async fn jobs(&self) -> Result<Vec<Job>, Refused> {
        let jobs = sqlx::query_as("select distinct on (projection) * from jobs order by projection, id desc");
        Ok(jobs.fetch_all(&self.pool).await?)
    }

    /// Every generation there is.
    pub async fn generations(&self) -> Result<Vec<Generation>, Refused> {
        let all = sqlx::query_as("select * from generations order by projection, generation");
        Ok(all.fetch_all(&self.pool).await?)
    }

    /// Switches to the generation that stands ready; to one that differs from the live one only when that is accepted.
    pub async fn switch(&self, projection: &str, accept_differences: bool) -> Result<i32, Refused> {
        let known = known(projection)?;
        let beside = self.beside(known.name).await?;
        let may = |state: &str| state == "READY" || (state == "DIFFERENT" && accept_differences);
        match beside.iter().find(|other| may(&other.state)) {
            Some(other) => self.switch_to(known.name, other.generation).await,
            None if beside.iter().any(|other| other.state == "DIFFERENT") => {
                Err(Refused::Nothing("it differs from the live one: accept the differences, or drop it"))
            }
            None => Err(Refused::Nothing("no generation of it stands ready: rebuild it first")),
        }
    }

    /// Switches back to the generation that was live before.
    pub async fn rollback(&self, projection: &str) -> Result<i32, Refused> {
        let known = known(projection)?;
        let beside = self.beside(known.name).await?;
        match beside.iter().find(|other| other.state == "PREVIOUS") {
            Some(previous) => self.switch_to(known.name, previous.generation).await,
            None => Err(Refused::Nothing("there is no previous generation of it to go back to")),
        }
    }

    async fn switch_to(&self, projection: &'static str, generation: i32) -> Result<i32, Refused> {
        rebuild::switch(&self.log, &self.pool, projection, generation).await?;
        tracing::info!(projection, generation, "another generation is live");
        Ok(generation)
    }

    /// Holds the live model still, until it is resumed.
    pub async fn pause(&self, projection: &str) -> Result<(), Refused> {
        self.hold(projection, true).await
    }

    /// Lets it go on.
    pub async fn resume(&self, projection: &str) -> Result<(), Refused> {
        self.hold(projection, false).await
    }

    async fn hold(&self, projection: &str, paused: bool) -> Result<(), Refused> {
        let known = known(projection)?;
        sqlx::query(
            "insert into checkpoints as at (consumer, partition, code_version, paused)
             select $1, partition, $2, $3 from generate_series(0, $4 - 1) as partition
                 on conflict (consumer, partition) do update set paused = excluded.paused",
        )
        .bind(known.name)
        .bind(known.version)
        .bind(paused)
        .bind(self.log.identity().partitions)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Ends the job that is at it and drops every generation beside the live one; says how many.
    pub async fn drop(&self, projection: &str) -> Result<usize, Refused> {
        let known = known(projection)?;
        if let Some(job) = self.running(known.name).await? {
            self.end(job).await?;
        }
        let cleared = self.clear(known.name).await?;
        let beside = self.beside(known.name).await?;
        for other in &beside {
            remove(&self.pool, known.name, other.generation).await?;
        }
        Ok(cleared + beside.len())
    }

    async fn end(&self, job: i64) -> Result<(), Refused> {
        sqlx::query(
            "update jobs set state = 'FAILED', problem = 'dropped', ended_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(job)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn running(&self, projection: &str) -> Result<Option<i64>, Refused> {
        let running = sqlx::query_scalar("select id from jobs where projection = $1 and state = 'RUNNING'");
        Ok(running.bind(projection).fetch_optional(&self.pool).await?)
    }

    /// Generations beside the live one that are whole.
    async fn beside(&self, projection: &str) -> Result<Vec<Generation>, Refused> {
        let beside = sqlx::query_as(
            "select * from generations where projection = $1 and state not in ('LIVE', 'BUILDING') order by generation",
        );
        Ok(beside.bind(projection).fetch_all(&self.pool).await?)
    }

    /// Removes what ended jobs left half made; says how many.
    async fn clear(&self, projection: &str) -> Result<usize, Refused> {
        let left: Vec<(i64, i32)> = sqlx::query_as(
            "select max(j.id), g.generation from generations g join jobs j using (projection, generation)
              where projection = $1 and g.state = 'BUILDING' and j.state <> 'RUNNING' group by g.generation",
        )
        .bind(projection)
        .fetch_all(&self.pool)
        .await?;
        for (job, generation) in &left {
            // Whoever is at it may not have heard yet that it ended.
            let letting_go = tokio::time::timeout(LET_GO, rebuild::alone_at(&self.log, *job)).await;
            let alone = letting_go.map_err(|_| Refused::Busy(*job))??;
            remove(&self.pool, projection, *generation).await?;
            alone.release().await?;
        }
        Ok(left.len())
    }
}

/// Removes a generation that is not live, and what is known of it.
pub(crate) async fn remove(pool: &Pool, projection: &str, generation: i32) -> sqlx::Result<()> {
    generation::tables::remove(&mut pool.acquire().await?, projection, generation).await?;
    sqlx::query("delete from generations where projection = $1 and generation = $2 and state <> 'LIVE'")
        .bind(projection)
        .bind(generation)
        .execute(pool)
        .await?;
    Ok(())
}

fn known(projection: &str) -> Result<&'static crate::Description, Refused> {
    let known = PROJECTIONS.iter().find(|known| known.name == projection);
    known.ok_or_else(|| Refused::Unknown(projection.into()))
}

/// The unique index says that another job, or generation, was there first.
fn is_taken(error: &sqlx::Error) -> bool {
    let refused = error.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    refused.is_some_and(|refused| refused.code() == "23505")
}
