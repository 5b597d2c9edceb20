//! Runs jobs: every projector does, each job in one of them at a time.

use super::{CatchUpTarget, JobError, Rebuild, Throttle, switch};
use crate::PROJECTIONS;
use crate::fold::ReadModel;
use crate::generation::GenerationState;
use crate::generation::switch::SwitchError;
use crate::generation::tables::remove_generation;
use crate::job::{Job, JobKind, JobStage, LEASE_DURATION, Progress, take_job_lease};
use connection_pool::Pool;
use event_log::{Lease, Log, LogError, RepeatedFault};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often new jobs are looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often a job's lease is renewed and its progress stored.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// How often a fault is retried without any event folded in between.
const MAX_ATTEMPTS: u32 = 20;
/// The wait before the first retry; it doubles up to [`MAX_RETRY_DELAY`].
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(30);

/// Runs rebuilds and dry runs of the code versions that this release has, until `shutdown`. `pool` must be allowed to create
/// and drop tables, and to run a statement for minutes. Several instances may run: a job runs in one of them at a time, and
/// another resumes it when that one ends.
pub async fn run_jobs(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut running: JoinSet<i64> = JoinSet::new();
    for projection in PROJECTIONS {
        metrics::gauge!("moa_job_running", "projection" => projection.name).set(0.0);
    }
    let (mut taken, mut fault) = (
        BTreeSet::new(),
        RepeatedFault::new("jobs cannot be looked for", ""),
    );
    while !shutdown.is_cancelled() {
        while let Some(ended) = running.try_join_next() {
            match ended {
                Ok(job) => {
                    taken.remove(&job);
                }
                // Which job it was is not known: its lease decides whether it may be taken again.
                Err(error) => {
                    metrics::counter!("moa_task_restarts_total", "task" => "a job").increment(1);
                    tracing::error!(%error, "a job panicked");
                    taken.clear();
                }
            }
        }
        match waiting_jobs(&pool, &taken).await {
            Ok(jobs) => {
                fault.recovered();
                for job in jobs {
                    if let Ok(Some(lease)) = take_job_lease(&log, job.id).await {
                        taken.insert(job.id);
                        running.spawn(
                            Worker::new(&log, &pool, job, lease, shutdown.child_token()).run(),
                        );
                    }
                }
            }
            Err(error) => fault.failed(&error),
        }
        shutdown
            .run_until_cancelled(tokio::time::sleep(POLL_INTERVAL))
            .await;
    }
    while running.join_next().await.is_some() {}
}

/// Running jobs of the code versions that this release has, except those in `taken`.
async fn waiting_jobs(pool: &Pool, taken: &BTreeSet<i64>) -> sqlx::Result<Vec<Job>> {
    let (names, versions): (Vec<_>, Vec<_>) = PROJECTIONS
        .iter()
        .map(|known| (known.name, known.version))
        .unzip();
    sqlx::query_as(
        "select j.* from jobs j
           join unnest($1::text[], $2::integer[]) as known (projection, code_version) using (projection, code_version)
          where j.state = 'RUNNING' and j.id <> all($3) order by j.id",
    )
    .bind(names)
    .bind(versions)
    .bind(taken.iter().copied().collect::<Vec<_>>())
    .fetch_all(pool)
    .await
}

/// One job, while its lease is held.
struct Worker {
    log: Log,
    pool: Pool,
    job: Job,
    lease: Arc<Lease>,
    progress: Arc<Progress>,
    problem: Arc<Mutex<Option<String>>>,
    stop: CancellationToken,
}

impl Worker {
    fn new(log: &Log, pool: &Pool, job: Job, lease: Lease, stop: CancellationToken) -> Self {
        let (progress, problem) = (
            Arc::new(Progress::of(&job)),
            Arc::new(Mutex::new(job.problem.clone())),
        );
        Self {
            log: log.clone(),
            pool: pool.clone(),
            job,
            lease: Arc::new(lease),
            progress,
            problem,
            stop,
        }
    }

    /// Runs the job until it has ended or the lease is lost; returns the job's id.
    async fn run(self) -> i64 {
        let job = &self.job;
        tracing::info!(
            job = job.id,
            kind = job.kind.as_str(),
            projection = job.projection,
            "a job starts"
        );
        let stop = self.stop.clone();
        let working = async {
            self.work().await;
            self.stop.cancel();
        };
        let running = metrics::gauge!("moa_job_running", "projection" => job.projection.clone());
        running.set(1.0);
        self.show_progress();
        tokio::join!(stop.run_until_cancelled(working), self.keep_lease());
        running.set(0.0);
        self.lease.release().await.ok();
        self.job.id
    }

    /// Renews the lease and stores the job's progress; stops the work when the lease is lost or the job has ended.
    async fn keep_lease(&self) {
        let next = async || {
            tokio::time::timeout(PROGRESS_INTERVAL, self.progress.stage_began.notified())
                .await
                .ok()
        };
        while self.stop.run_until_cancelled(next()).await.is_some() {
            match self.store_progress().await {
                Ok(true) => {}
                Ok(false) => self.stop.cancel(),
                // The lease lasts a while longer, and decides.
                Err(error) => {
                    tracing::debug!(job = self.job.id, %error, "a job's progress cannot be stored")
                }
            }
        }
    }

    fn show_progress(&self) {
        let share = self.progress.done() as f64 / self.progress.total().max(1) as f64;
        metrics::gauge!("moa_job_progress_ratio", "projection" => self.job.projection.clone())
            .set(share);
    }

    async fn store_progress(&self) -> Result<bool, LogError> {
        self.show_progress();
        if !self.lease.renew(LEASE_DURATION).await? {
            return Ok(false);
        }
        let problem = self
            .problem
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let written = sqlx::query(
            "update jobs set stage = $2, done = $3, total = $4, problem = $5, moved_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(self.job.id)
        .bind(self.progress.stage().as_str())
        .bind(self.progress.done())
        .bind(self.progress.total())
        .bind(problem)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Attempts the job until it is done or has failed.
    async fn work(&self) {
        let (mut attempts, mut delay, mut reached) = (0, MIN_RETRY_DELAY, -1);
        loop {
            let reason = match self.attempt().await {
                Ok(()) | Err(JobError::LeaseLost) => return,
                Err(JobError::Fatal(reason)) => return self.fail(&reason).await,
                Err(JobError::Retryable(reason)) => reason,
            };
            let done = self.progress.done();
            if done > reached {
                (attempts, delay, reached) = (0, MIN_RETRY_DELAY, done);
            }
            attempts += 1;
            if attempts > MAX_ATTEMPTS {
                return self
                    .fail(&format!("given up after {MAX_ATTEMPTS} attempts: {reason}"))
                    .await;
            }
            tracing::warn!(
                job = self.job.id,
                projection = self.job.projection,
                reason,
                "a job met a fault; retrying"
            );
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            tokio::time::sleep(delay).await;
            delay = (2 * delay).min(MAX_RETRY_DELAY);
        }
    }

    async fn attempt(&self) -> Result<(), JobError> {
        let name = self.job.projection.as_str();
        with_model!(
            name,
            Model => self.run_for::<Model>().await,
            _ => Err(JobError::Fatal(format!("there is no read model {name}"))),
        )
    }

    /// Resumes the job from the state of its generation.
    async fn run_for<M: ReadModel>(&self) -> Result<(), JobError> {
        let rebuild = Rebuild {
            log: self.log.clone(),
            pool: self.pool.clone(),
            generation: self.job.generation,
            lease: self.lease.clone(),
            progress: self.progress.clone(),
            throttle: Throttle::new(self.job.max_rate),
            model: Arc::new(M::default()),
        };
        match self.generation_state().await? {
            Some(GenerationState::Building) => self.build(&rebuild).await,
            // The process ended after the comparison was stored, and before the job's end was.
            Some(GenerationState::Ready) => self.switch(&rebuild).await,
            Some(GenerationState::Different) => self.switch_if_accepted(&rebuild).await,
            Some(GenerationState::Live) => self.done(&rebuild).await,
            None if self.job.outcome.is_some() && self.job.kind == JobKind::Diff => {
                self.done(&rebuild).await
            }
            Some(GenerationState::Previous) | None => {
                Err(JobError::Fatal("its generation was dropped".into()))
            }
        }
    }

    async fn build<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), JobError> {
        let may_skip = self.job.accept_differences && self.job.kind == JobKind::Rebuild;
        match rebuild.build(may_skip).await? {
            CatchUpTarget::Live => {
                let found = rebuild.compare().await?;
                let outcome = serde_json::to_value(&found)
                    .map_err(|error| JobError::Fatal(error.to_string()))?;
                self.store_outcome(rebuild, outcome, found.equal).await
            }
            target @ CatchUpTarget::Head { behind } => {
                rebuild.catch_up(target).await?;
                let why = format!("not compared: the live one was {behind} events behind");
                self.store_outcome(rebuild, json!({"equal": null, "skipped": why}), true)
                    .await
            }
        }
    }

    /// The state of the job's generation; `None` when it was removed.
    async fn generation_state(&self) -> sqlx::Result<Option<GenerationState>> {
        let state: Option<String> = sqlx::query_scalar(
            "select state from generations where projection = $1 and generation = $2",
        )
        .bind(&self.job.projection)
        .bind(self.job.generation)
        .fetch_optional(&self.pool)
        .await?;
        Ok(state.map(GenerationState::try_from).transpose()?)
    }

    /// Stores the comparison's outcome and the generation's state, and does what follows from them.
    async fn store_outcome<M: ReadModel>(
        &self,
        rebuild: &Rebuild<M>,
        outcome: Value,
        is_ready: bool,
    ) -> Result<(), JobError> {
        let state = if is_ready {
            GenerationState::Ready
        } else {
            GenerationState::Different
        };
        let is_dry_run = self.job.kind == JobKind::Diff;
        let mut transaction = rebuild.begin().await?;
        sqlx::query("update jobs set outcome = $2 where id = $1")
            .bind(self.job.id)
            .bind(&outcome)
            .execute(&mut *transaction)
            .await?;
        if !is_dry_run {
            sqlx::query(
                "update generations set state = $3 where projection = $1 and generation = $2",
            )
            .bind(M::NAME)
            .bind(self.job.generation)
            .bind(state.as_str())
            .execute(&mut *transaction)
            .await?;
        }
        transaction.commit().await?;
        if is_dry_run {
            remove_generation(&self.pool, M::NAME, self.job.generation).await?;
            return self.done(rebuild).await;
        }
        if is_ready {
            self.switch(rebuild).await
        } else {
            self.switch_if_accepted(rebuild).await
        }
    }

    async fn switch_if_accepted<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), JobError> {
        match self.job.accept_differences {
            true => self.switch(rebuild).await,
            false => Err(JobError::Fatal(
                "it differs from the live one, which stays".into(),
            )),
        }
    }

    async fn switch<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), JobError> {
        if self.job.switches {
            // The comparison may have taken a while, and the switch itself can apply only a few events.
            rebuild.catch_up(CatchUpTarget::Live).await?;
            self.progress.begin_stage(JobStage::Switching);
            // Held during the switch: a process that was frozen until another took over does not switch again.
            let leased = rebuild.begin().await?;
            let switched = switch(&self.log, &self.pool, M::NAME, self.job.generation).await;
            leased.rollback().await.ok();
            switched.map_err(|error| match error {
                SwitchError::Database(error) => error.into(),
                other => JobError::Retryable(other.to_string()),
            })?;
            tracing::info!(
                projection = M::NAME,
                generation = self.job.generation,
                "another generation is live"
            );
        }
        self.done(rebuild).await
    }

    async fn done<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), JobError> {
        let mut transaction = rebuild.begin().await?;
        sqlx::query(
            "update jobs set state = 'DONE', stage = $2, done = $3, total = $4, problem = null,
                             moved_at = clock_timestamp(), ended_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(self.job.id)
        .bind(self.progress.stage().as_str())
        .bind(self.progress.done())
        .bind(self.progress.total())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        tracing::info!(job = self.job.id, projection = M::NAME, "a job is done");
        Ok(())
    }

    async fn fail(&self, reason: &str) {
        tracing::error!(
            job = self.job.id,
            projection = self.job.projection,
            reason,
            "a job has failed"
        );
        let failed = sqlx::query(
            "update jobs set state = 'FAILED', stage = $2, problem = $3, done = $4, total = $5,
                             moved_at = clock_timestamp(), ended_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(self.job.id)
        .bind(self.progress.stage().as_str())
        .bind(reason)
        .bind(self.progress.done())
        .bind(self.progress.total())
        .execute(&self.pool)
        .await;
        if self.job.kind == JobKind::Diff && failed.is_ok() {
            // What stays is removed by the next request.
            remove_generation(&self.pool, &self.job.projection, self.job.generation)
                .await
                .ok();
        }
        if let Err(error) = failed {
            // Its row still says that it runs; whoever takes it up fails again.
            tracing::warn!(job = self.job.id, %error, "the failure of a job could not be stored");
        }
    }
}
