//! What operators may ask for: rebuild a read model, compare it, switch and roll back, pause, drop. A rebuild and a dry run are
//! jobs, which a projector runs.

use crate::PROJECTIONS;
use crate::generation::switch::SwitchError;
use crate::generation::tables::remove_generation;
use crate::generation::{GenerationState, standby_schema};
use crate::job::{Job, JobKind, acquire_job_lease};
use crate::rebuild;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use event_log::consume::{ApplyError, StepError};
use event_log::{Log, LogError};
use sqlx::postgres::PgDatabaseError;
use std::time::Duration;

/// How long to wait until the projector of an ended job releases its lease: it hears of the end within a second. One that was
/// killed keeps its lease for longer than a caller waits.
const LEASE_HANDBACK_TIMEOUT: Duration = Duration::from_secs(5);

/// How a rebuild is done.
#[derive(Clone, Copy, Debug)]
pub struct RebuildOptions {
    /// Switch automatically once it is verified.
    pub switches: bool,
    /// Switch even when the new generation differs from the live one.
    pub accept_differences: bool,
    /// The most events a second; `None` is as fast as possible.
    pub max_rate: Option<i32>,
}

/// A complete set of a read model's tables.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Generation {
    /// Of which read model.
    pub projection: String,
    /// Its number, from 1.
    pub generation: i32,
    /// The version of the code that fills it.
    pub code_version: i32,
    /// Live, being built, or a standby.
    #[sqlx(try_from = "String")]
    pub state: GenerationState,
    /// When it was created.
    pub made_at: DateTime<Utc>,
}

impl Generation {
    /// The consumer of its checkpoints.
    pub fn consumer(&self) -> String {
        match self.state {
            GenerationState::Live => self.projection.clone(),
            GenerationState::Building
            | GenerationState::Ready
            | GenerationState::Different
            | GenerationState::Previous => standby_schema(&self.projection, self.generation),
        }
    }
}

/// Why a request was rejected.
#[derive(Debug, thiserror::Error)]
pub enum JobRejected {
    /// There is no such read model.
    #[error("there is no read model {0}")]
    Unknown(String),
    /// A job of it is running.
    #[error("job {0} of it is running: wait for it, or drop it")]
    Busy(i64),
    /// It has a standby, which must be dropped or switched to first.
    #[error("generation {generation} of it is there already ({state}): switch to it, or drop it")]
    StandbyExists {
        /// The standby.
        generation: i32,
        /// Its state.
        state: &'static str,
    },
    /// There is no generation for this.
    #[error("{0}")]
    NotAvailable(&'static str),
    /// The standby is behind the live generation.
    #[error("it is {events} events behind the live one: wait until it has caught up")]
    Behind {
        /// By how many events.
        events: i64,
    },
    /// The standby meets an event that it cannot apply.
    #[error("it cannot catch up with the live one: {0}")]
    Stuck(String),
    /// Readers or writers held locks on the tables all the time.
    #[error("the tables were in use all the time: try again")]
    TablesLocked,
    /// The database refused, or did not answer.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<sqlx::Error> for JobRejected {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

impl From<SwitchError> for JobRejected {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Behind { events, .. } => Self::Behind { events },
            SwitchError::Busy { .. } => Self::TablesLocked,
            SwitchError::Unfit { reason, .. } => Self::NotAvailable(reason),
            SwitchError::CatchUp(StepError::Log(error)) => error.into(),
            SwitchError::CatchUp(StepError::Apply(ApplyError::Database(error))) => error.into(),
            SwitchError::CatchUp(StepError::Apply(ApplyError::Event { reason, .. })) => {
                Self::Stuck(reason)
            }
            SwitchError::Database(error) => error.into(),
        }
    }
}

/// The read models of one log, as operators manage them.
#[derive(Clone)]
pub struct Jobs {
    log: Log,
    pool: Pool,
}

impl Jobs {
    /// `pool` must be allowed to create and drop tables.
    pub fn new(log: Log, pool: Pool) -> Self {
        Self { log, pool }
    }

    /// Requests a rebuild by this release's code; returns the job's id.
    pub async fn rebuild(
        &self,
        projection: &str,
        options: RebuildOptions,
    ) -> Result<i64, JobRejected> {
        self.request(JobKind::Rebuild, projection, options).await
    }

    /// Requests a dry run of this release's code, which is compared with the live generation and dropped; returns the job's id.
    pub async fn diff(&self, projection: &str, max_rate: Option<i32>) -> Result<i64, JobRejected> {
        let options = RebuildOptions {
            switches: false,
            accept_differences: false,
            max_rate,
        };
        self.request(JobKind::Diff, projection, options).await
    }

    async fn request(
        &self,
        kind: JobKind,
        projection: &str,
        options: RebuildOptions,
    ) -> Result<i64, JobRejected> {
        let known = known(projection)?;
        if let Some(job) = self.running(known.name).await? {
            return Err(JobRejected::Busy(job));
        }
        self.remove_incomplete(known.name).await?;
        let standbys = self.standbys(known.name).await?;
        if let (Some(standby), JobKind::Rebuild) = (standbys.first(), kind) {
            let (generation, state) = (standby.generation, standby.state.as_str());
            return Err(JobRejected::StandbyExists { generation, state });
        }
        let requested = sqlx::query_scalar(
            "with made as (
                 insert into generations (projection, generation, code_version, state)
                 select $2, coalesce(max(generation), 0) + 1, $3, 'BUILDING'
                   from (select generation from generations where projection = $2
                          union all select generation from jobs where projection = $2) as known
                 returning generation)
             insert into jobs (kind, projection, generation, code_version, switches, accept_differences, max_rate)
             select $1, $2, generation, $3, $4, $5, $6 from made returning id",
        )
        .bind(kind.as_str())
        .bind(known.name)
        .bind(known.version)
        .bind(options.switches)
        .bind(options.accept_differences)
        .bind(options.max_rate)
        .fetch_one(&self.pool)
        .await;
        match requested {
            // A concurrent request was faster.
            Err(error) if is_unique_violation(&error) => Err(self
                .running(known.name)
                .await?
                .map_or(JobRejected::TablesLocked, JobRejected::Busy)),
            requested => Ok(requested?),
        }
    }

    /// One job; `None` when there is no such job.
    pub async fn job(&self, id: i64) -> Result<Option<Job>, JobRejected> {
        Ok(sqlx::query_as("select * from jobs where id = $1")
            .bind(id)
            .fetch_optional(&self.pool)
            .await?)
    }

    /// The jobs that run, and the last one of each read model.
    pub async fn jobs(&self) -> Result<Vec<Job>, JobRejected> {
        let jobs = sqlx::query_as(
            "select distinct on (projection) * from jobs order by projection, id desc",
        );
        Ok(jobs.fetch_all(&self.pool).await?)
    }

    /// Every generation.
    pub async fn generations(&self) -> Result<Vec<Generation>, JobRejected> {
        let all = sqlx::query_as("select * from generations order by projection, generation");
        Ok(all.fetch_all(&self.pool).await?)
    }

    /// Switches to the standby that is ready; to one that differs only when `accept_differences`.
    pub async fn switch(
        &self,
        projection: &str,
        accept_differences: bool,
    ) -> Result<i32, JobRejected> {
        let known = known(projection)?;
        let standbys = self.standbys(known.name).await?;
        let may_switch = |state: GenerationState| {
            state == GenerationState::Ready
                || (state == GenerationState::Different && accept_differences)
        };
        match standbys.iter().find(|standby| may_switch(standby.state)) {
            Some(standby) => self.switch_to(known.name, standby.generation).await,
            None if standbys
                .iter()
                .any(|standby| standby.state == GenerationState::Different) =>
            {
                Err(JobRejected::NotAvailable(
                    "it differs from the live one: accept the differences, or drop it",
                ))
            }
            // After a rollback, the one to switch to is the one to roll back to.
            None if standbys
                .iter()
                .any(|standby| standby.state == GenerationState::Previous) =>
            {
                Err(JobRejected::NotAvailable(
                    "its standby was live before: roll back to it, or drop it and rebuild",
                ))
            }
            None => Err(JobRejected::NotAvailable(
                "no standby of it is ready: rebuild it first",
            )),
        }
    }

    /// Switches back to the generation that was live before (rollback).
    pub async fn rollback(&self, projection: &str) -> Result<i32, JobRejected> {
        let known = known(projection)?;
        let standbys = self.standbys(known.name).await?;
        match standbys
            .iter()
            .find(|standby| standby.state == GenerationState::Previous)
        {
            Some(previous) => self.switch_to(known.name, previous.generation).await,
            None => Err(JobRejected::NotAvailable(
                "there is no previous generation of it to go back to",
            )),
        }
    }

    async fn switch_to(
        &self,
        projection: &'static str,
        generation: i32,
    ) -> Result<i32, JobRejected> {
        rebuild::switch(&self.log, &self.pool, projection, generation).await?;
        tracing::info!(projection, generation, "another generation is live");
        Ok(generation)
    }

    /// Pauses the live generation's consumers, until they are resumed.
    pub async fn pause(&self, projection: &str) -> Result<(), JobRejected> {
        self.set_paused(projection, true).await
    }

    /// Resumes the live generation's consumers.
    pub async fn resume(&self, projection: &str) -> Result<(), JobRejected> {
        self.set_paused(projection, false).await
    }

    async fn set_paused(&self, projection: &str, paused: bool) -> Result<(), JobRejected> {
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

    /// Ends its running job, and drops every generation that is not live; returns how many.
    pub async fn drop(&self, projection: &str) -> Result<usize, JobRejected> {
        let known = known(projection)?;
        if let Some(job) = self.running(known.name).await? {
            self.end(job).await?;
        }
        let incomplete = self.remove_incomplete(known.name).await?;
        let standbys = self.standbys(known.name).await?;
        for standby in &standbys {
            remove_generation(&self.pool, known.name, standby.generation).await?;
        }
        Ok(incomplete + standbys.len())
    }

    async fn end(&self, job: i64) -> Result<(), JobRejected> {
        sqlx::query(
            "update jobs set state = 'FAILED', problem = 'dropped', ended_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(job)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn running(&self, projection: &str) -> Result<Option<i64>, JobRejected> {
        let running =
            sqlx::query_scalar("select id from jobs where projection = $1 and state = 'RUNNING'");
        Ok(running.bind(projection).fetch_optional(&self.pool).await?)
    }

    /// Its standbys, in order.
    async fn standbys(&self, projection: &str) -> Result<Vec<Generation>, JobRejected> {
        let standbys = sqlx::query_as(
            "select * from generations where projection = $1 and state = any($2) order by generation",
        );
        let states = GenerationState::STANDBY.map(GenerationState::as_str);
        Ok(standbys
            .bind(projection)
            .bind(states)
            .fetch_all(&self.pool)
            .await?)
    }

    /// Removes incomplete generations of ended jobs; returns how many.
    async fn remove_incomplete(&self, projection: &str) -> Result<usize, JobRejected> {
        let incomplete: Vec<(i64, i32)> = sqlx::query_as(
            "select max(j.id), g.generation from generations g join jobs j using (projection, generation)
              where projection = $1 and g.state = 'BUILDING' and j.state <> 'RUNNING' group by g.generation",
        )
        .bind(projection)
        .fetch_all(&self.pool)
        .await?;
        for (job, generation) in &incomplete {
            // Its projector may not have heard yet that it ended.
            let acquiring =
                tokio::time::timeout(LEASE_HANDBACK_TIMEOUT, acquire_job_lease(&self.log, *job))
                    .await;
            let lease = acquiring.map_err(|_| JobRejected::Busy(*job))??;
            remove_generation(&self.pool, projection, *generation).await?;
            lease.release().await?;
        }
        Ok(incomplete.len())
    }
}

fn known(projection: &str) -> Result<&'static crate::Description, JobRejected> {
    let known = PROJECTIONS.iter().find(|known| known.name == projection);
    known.ok_or_else(|| JobRejected::Unknown(projection.into()))
}

/// Whether a unique index refused, because a concurrent request inserted a job or a generation first.
fn is_unique_violation(error: &sqlx::Error) -> bool {
    let refused = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    refused.is_some_and(|refused| refused.code() == "23505")
}
