//! Who takes up jobs: every projector, one of them each job at a time.

use super::{Aim, Fault, LEASE, Progress, Rebuild, Throttle, lease_of, switch};
use crate::fold::ReadModel;
use crate::generation::switch::SwitchError;
use crate::jobs::{Job, remove};
use crate::{PROJECTIONS, read_models};
use connection_pool::Pool;
use event_log::{Lease, Log, LogError, RepeatedFault};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often jobs are looked for.
const LOOK: Duration = Duration::from_millis(500);
/// How often a job's lease is renewed and its progress written down.
const KEEP: Duration = Duration::from_secs(1);
/// How often what went wrong is tried again without any event folded in between.
const TRIES: u32 = 20;
/// What is waited before the first try again; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Takes up rebuilds and dry runs, of code this release knows, until `shutdown`. `pool` must be allowed to make and drop
/// tables, and let a statement run for minutes. Several instances may run: each job is one's at a time, and another goes
/// on with it when that one ends.
pub async fn run_jobs(log: Log, pool: Pool, shutdown: CancellationToken) {
    let mut at_work: JoinSet<i64> = JoinSet::new();
    let (mut taken, mut fault) = (BTreeSet::new(), RepeatedFault::new("jobs cannot be looked for", ""));
    while !shutdown.is_cancelled() {
        while let Some(ended) = at_work.try_join_next() {
            match ended {
                Ok(job) => {
                    taken.remove(&job);
                }
                // Which one is not told: the lease says whether another may take it up.
                Err(error) => {
                    metrics::counter!("moa_task_restarts_total", "task" => "a job").increment(1);
                    tracing::error!(%error, "a job broke down");
                    taken.clear();
                }
            }
        }
        match waiting(&pool, &taken).await {
            Ok(jobs) => {
                fault.recovered();
                for job in jobs {
                    if let Ok(Some(lease)) = Lease::take(&log, &lease_of(job.id), LEASE).await {
                        taken.insert(job.id);
                        at_work.spawn(Worker::new(&log, &pool, job, lease, shutdown.child_token()).run());
                    }
                }
            }
            Err(error) => fault.failed(&error),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
    while at_work.join_next().await.is_some() {}
}

/// Jobs that run, of code that this release has, and that are not taken.
async fn waiting(pool: &Pool, taken: &BTreeSet<i64>) -> sqlx::Result<Vec<Job>> {
    let (names, versions): (Vec<_>, Vec<_>) = PROJECTIONS.iter().map(|known| (known.name, known.version)).unzip();
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
        let (progress, problem) = (Arc::new(Progress::of(&job)), Arc::new(Mutex::new(job.problem.clone())));
        Self { log: log.clone(), pool: pool.clone(), job, lease: Arc::new(lease), progress, problem, stop }
    }

    /// Works on the job until it has ended, or is no longer this one's; says which it was.
    async fn run(self) -> i64 {
        let job = &self.job;
        tracing::info!(job = job.id, kind = job.kind, projection = job.projection, "a job is taken up");
        let stop = self.stop.clone();
        let working = async {
            self.work().await;
            self.stop.cancel();
        };
        tokio::join!(stop.run_until_cancelled(working), self.keep());
        self.lease.release().await.ok();
        self.job.id
    }

    /// Holds the lease and writes down how far the job is; stops the work when it is not this one's any more.
    async fn keep(&self) {
        let next = async || tokio::time::timeout(KEEP, self.progress.news.notified()).await.ok();
        while self.stop.run_until_cancelled(next()).await.is_some() {
            match self.write_down().await {
                Ok(true) => {}
                Ok(false) => self.stop.cancel(),
                // The lease runs on for a while; it decides.
                Err(error) => tracing::debug!(job = self.job.id, %error, "a job's progress cannot be written down"),
            }
        }
    }

    async fn write_down(&self) -> Result<bool, LogError> {
        if !self.lease.renew(LEASE).await? {
            return Ok(false);
        }
        let problem = self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let written = sqlx::query(
            "update jobs set stage = $2, done = $3, total = $4, problem = $5, moved_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(self.job.id)
        .bind(self.progress.stage())
        .bind(self.progress.done())
        .bind(self.progress.total())
        .bind(problem)
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() == 1)
    }

    /// Tries until it is done, or has failed for good.
    async fn work(&self) {
        let (mut tries, mut pause, mut reached) = (0, PAUSE, -1);
        loop {
            let reason = match self.try_once().await {
                Ok(()) | Err(Fault::Lost) => return,
                Err(Fault::Final(reason)) => return self.fail(&reason).await,
                Err(Fault::Trouble(reason)) => reason,
            };
            let done = self.progress.done();
            if done > reached {
                (tries, pause, reached) = (0, PAUSE, done);
            }
            tries += 1;
            if tries > TRIES {
                return self.fail(&format!("given up after {TRIES} tries: {reason}")).await;
            }
            tracing::warn!(
                job = self.job.id,
                projection = self.job.projection,
                reason,
                "a job has trouble; it tries again"
            );
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
        }
    }

    async fn try_once(&self) -> Result<(), Fault> {
        let name = self.job.projection.as_str();
        macro_rules! dispatch {
            ($($model:ident),*) => {
                match name {
                    $(<crate::$model as event_log::consume::Projection>::NAME => self.remake::<crate::$model>().await,)*
                    _ => Err(Fault::Final(format!("there is no read model {name}"))),
                }
            };
        }
        read_models!(dispatch)
    }

    async fn remake<M: ReadModel>(&self) -> Result<(), Fault> {
        let rebuild = Rebuild {
            log: self.log.clone(),
            pool: self.pool.clone(),
            generation: self.job.generation,
            lease: self.lease.clone(),
            progress: self.progress.clone(),
            throttle: Throttle::new(self.job.max_rate),
            model: Arc::new(M::default()),
        };
        match self.standing().await?.as_deref() {
            Some("BUILDING") => {
                let may_skip = self.job.accept_differences && self.job.kind == "REBUILD";
                match rebuild.make(may_skip).await? {
                    Aim::Live => {
                        let found = rebuild.compare().await?;
                        let outcome = serde_json::to_value(&found).map_err(|error| Fault::Final(error.to_string()))?;
                        self.judge(&rebuild, outcome, found.equal).await
                    }
                    aim @ Aim::Head { behind } => {
                        rebuild.catch_up(aim).await?;
                        let why = format!("not compared: the live one was {behind} events behind");
                        self.judge(&rebuild, json!({"equal": null, "skipped": why}), true).await
                    }
                }
            }
            // It was killed after the verdict, and before the end.
            Some("READY") => self.switch(&rebuild).await,
            Some("DIFFERENT") => self.differs(&rebuild).await,
            Some("LIVE") => self.done(&rebuild).await,
            None if self.job.outcome.is_some() && self.job.kind == "DIFF" => self.done(&rebuild).await,
            _ => Err(Fault::Final("its generation was dropped".into())),
        }
    }

    async fn standing(&self) -> sqlx::Result<Option<String>> {
        sqlx::query_scalar("select state from generations where projection = $1 and generation = $2")
            .bind(&self.job.projection)
            .bind(self.job.generation)
            .fetch_optional(&self.pool)
            .await
    }

    /// What the comparison's outcome means for the job.
    async fn judge<M: ReadModel>(&self, rebuild: &Rebuild<M>, outcome: Value, is_good: bool) -> Result<(), Fault> {
        let state = if is_good { "READY" } else { "DIFFERENT" };
        let is_dry = self.job.kind == "DIFF";
        let mut transaction = rebuild.begin().await?;
        sqlx::query("update jobs set outcome = $2 where id = $1")
            .bind(self.job.id)
            .bind(&outcome)
            .execute(&mut *transaction)
            .await?;
        if !is_dry {
            sqlx::query("update generations set state = $3 where projection = $1 and generation = $2")
                .bind(M::NAME)
                .bind(self.job.generation)
                .bind(state)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await?;
        if is_dry {
            remove(&self.pool, M::NAME, self.job.generation).await?;
            return self.done(rebuild).await;
        }
        if is_good { self.switch(rebuild).await } else { self.differs(rebuild).await }
    }

    async fn differs<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), Fault> {
        match self.job.accept_differences {
            true => self.switch(rebuild).await,
            false => Err(Fault::Final("it differs from the live one, which stays".into())),
        }
    }

    async fn switch<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), Fault> {
        if self.job.switches {
            // The comparison may have taken a while, and the switch itself makes up but little.
            rebuild.catch_up(Aim::Live).await?;
            self.progress.at("SWITCHING");
            // Held while it is done: one that was frozen until another took over does not switch again.
            let alone = rebuild.begin().await?;
            let switched = switch(&self.log, &self.pool, M::NAME, self.job.generation).await;
            alone.rollback().await.ok();
            switched.map_err(|error| match error {
                SwitchError::Database(error) => error.into(),
                other => Fault::Trouble(other.to_string()),
            })?;
            tracing::info!(projection = M::NAME, generation = self.job.generation, "another generation is live");
        }
        self.done(rebuild).await
    }

    async fn done<M: ReadModel>(&self, rebuild: &Rebuild<M>) -> Result<(), Fault> {
        let mut transaction = rebuild.begin().await?;
        sqlx::query(
            "update jobs set state = 'DONE', stage = $2, done = $3, total = $4, problem = null,
                             moved_at = clock_timestamp(), ended_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(self.job.id)
        .bind(self.progress.stage())
        .bind(self.progress.done())
        .bind(self.progress.total())
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        tracing::info!(job = self.job.id, projection = M::NAME, "a job is done");
        Ok(())
    }

    async fn fail(&self, reason: &str) {
        tracing::error!(job = self.job.id, projection = self.job.projection, reason, "a job has failed");
        let failed = sqlx::query(
            "update jobs set state = 'FAILED', stage = $2, problem = $3, done = $4, total = $5,
                             moved_at = clock_timestamp(), ended_at = clock_timestamp()
              where id = $1 and state = 'RUNNING'",
        )
        .bind(self.job.id)
        .bind(self.progress.stage())
        .bind(reason)
        .bind(self.progress.done())
        .bind(self.progress.total())
        .execute(&self.pool)
        .await;
        if self.job.kind == "DIFF" && failed.is_ok() {
            // What stays is cleared away by the next who asks.
            remove(&self.pool, &self.job.projection, self.job.generation).await.ok();
        }
        if let Err(error) = failed {
            // It still runs, by its row; the next who takes it up comes to the same end.
            tracing::warn!(job = self.job.id, %error, "that a job has failed could not be written down");
        }
    }
}
