//! Rebuilds a read model from position 0, as a standby generation: fold every partition in bulk, index, catch up, compare,
//! switch (blue/green).
//!
//! Every step is stored when it is complete, so that whoever resumes the job continues there. Every write checks the job's
//! lease in the same transaction, so that a process that was frozen until another took over changes nothing.

mod bulk;
#[cfg(test)]
mod tests;
mod throttle;
mod worker;

pub use worker::run_jobs;

use crate::fold::ReadModel;
use crate::generation::compare::{CompareError, Comparison, Snapshot};
use crate::generation::switch::{CatchUp, SwitchError, Switched};
use crate::generation::{self, standby_schema, tables};
use crate::job::{JobStage, Progress};
use crate::positions::{ensure_checkpoints, hold, positions};
use connection_pool::{Connection, Pool, Transaction};
use event_log::consume::{ApplyError, Consumer, Step, StepError};
use event_log::{Lease, Log, LogError, Position};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use throttle::Throttle;
use tokio::time::timeout;

/// With no more events to catch up, the rest is applied while the live generation's consumers are held.
const MAX_LAG_TO_HOLD: Position = 2_000;
/// How often the lag behind the target is read.
const LAG_POLL_INTERVAL: Duration = Duration::from_millis(20);
/// How long the live generation's consumers may be held, to bring both generations to the same positions.
const MAX_HOLD_DURATION: Duration = Duration::from_millis(800);
/// How many holds are attempted.
const MAX_HOLD_ATTEMPTS: usize = 30;
/// The wait after a hold that was too long.
const HOLD_RETRY_DELAY: Duration = Duration::from_millis(500);

/// Where the operator accepts differences, a live generation so many events behind the log is not compared with: the new one
/// catches up with the log instead.
const SKIP_COMPARE_LAG: Position = 100_000;

/// Why a job stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// It is retried, a bounded number of times.
    #[error("{0}")]
    Retryable(String),
    /// It ends the job.
    #[error("{0}")]
    Fatal(String),
    /// Another process has the lease.
    #[error("another process took the job over")]
    LeaseLost,
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refused) if is_concurrent_create(refused.as_ref()) => {
                Self::Retryable(error.to_string())
            }
            // A constraint is violated (23), or the statement is not allowed (42): a retry changes neither.
            sqlx::Error::Database(refused)
                if refused
                    .code()
                    .is_some_and(|it| it.starts_with("23") || it.starts_with("42")) =>
            {
                Self::Fatal(format!("the database refuses it: {error}"))
            }
            _ => Self::Retryable(error.to_string()),
        }
    }
}

/// Whether a process whose lease expired created the same table or index concurrently (42P06, 42P07, 42710, 42P16; a key of
/// the catalog, when it has not committed yet). The next attempt finds it and skips it.
fn is_concurrent_create(refused: &dyn sqlx::error::DatabaseError) -> bool {
    let catalog = refused
        .constraint()
        .is_some_and(|key| key.starts_with("pg_"));
    match refused.code().as_deref() {
        Some("42P06" | "42P07" | "42710" | "42P16") => true,
        Some("23505") => catalog,
        _ => false,
    }
}

impl From<LogError> for JobError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(error) => error.into(),
            broken => Self::Fatal(broken.to_string()),
        }
    }
}

impl From<CompareError> for JobError {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Database(error) => error.into(),
            apart => Self::Retryable(apart.to_string()),
        }
    }
}

impl From<StepError> for JobError {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Log(error) => error.into(),
            StepError::Apply(ApplyError::Database(error)) => error.into(),
            StepError::Apply(stuck @ ApplyError::Event { .. }) => Self::Fatal(stuck.to_string()),
        }
    }
}

/// What a generation catches up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CatchUpTarget {
    /// The live generation, to be compared with it.
    Live,
    /// The log's heads, because the live generation is far behind.
    Head {
        /// By how many events.
        behind: Position,
    },
}

/// A generation that is being built.
pub(crate) struct Rebuild<M> {
    pub(crate) log: Log,
    pub(crate) pool: Pool,
    pub(crate) generation: i32,
    pub(crate) lease: Arc<Lease>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) throttle: Throttle,
    pub(crate) model: Arc<M>,
}

impl<M: ReadModel> Rebuild<M> {
    fn schema(&self) -> String {
        standby_schema(M::NAME, self.generation)
    }

    fn consumers(&self) -> Vec<Consumer<M>> {
        consumers(&self.log, &self.pool, self.model.clone(), self.generation)
    }

    /// Folds the generation up to its target and indexes it; returns the target. `may_skip`: a live generation that is far
    /// behind need not be compared with.
    pub(crate) async fn build(&self, may_skip: bool) -> Result<CatchUpTarget, JobError> {
        let mut transaction = self.begin().await?;
        tables::create(&mut transaction, M::NAME, self.generation, M::VERSION).await?;
        transaction.commit().await?;
        let (live, head) = (
            positions(&self.pool, M::NAME).await?,
            self.log.heads().await?,
        );
        let behind = lag(&head, &live);
        let skips = may_skip && behind > SKIP_COMPARE_LAG;
        let target = if skips {
            CatchUpTarget::Head { behind }
        } else {
            CatchUpTarget::Live
        };
        let upto = if skips { head } else { live };
        self.progress
            .total
            .store(upto.iter().sum(), Ordering::Relaxed);
        self.progress.begin_stage(JobStage::Folding);
        self.fold_all(&upto).await?;
        self.progress.begin_stage(JobStage::Indexing);
        let mut connection = self.pool.acquire().await?;
        tables::index(&mut connection, M::NAME, self.generation, M::VERSION).await?;
        Ok(target)
    }

    /// Applies events until the lag behind the target is at most [`MAX_LAG_TO_HOLD`].
    pub(crate) async fn catch_up(&self, target: CatchUpTarget) -> Result<(), JobError> {
        self.progress.begin_stage(JobStage::CatchingUp);
        let consumers = self.consumers();
        loop {
            let upto = match target {
                CatchUpTarget::Live => positions(&self.pool, M::NAME).await?,
                CatchUpTarget::Head { .. } => self.log.heads().await?,
            };
            let total = upto.iter().sum::<Position>();
            let behind = lag(&upto, &positions(&self.pool, &self.schema()).await?);
            self.progress.done.store(total - behind, Ordering::Relaxed);
            self.progress.total.store(total, Ordering::Relaxed);
            if behind <= MAX_LAG_TO_HOLD {
                return Ok(());
            }
            advance_to(&consumers, &upto).await?;
            // Where another process keeps the standby up to date by now, this one waits for it.
            tokio::time::sleep(LAG_POLL_INTERVAL).await;
        }
    }

    /// Brings both generations to the same positions, and compares them there.
    pub(crate) async fn compare(&self) -> Result<Comparison, JobError> {
        for _ in 0..MAX_HOLD_ATTEMPTS {
            self.catch_up(CatchUpTarget::Live).await?;
            self.progress.begin_stage(JobStage::Comparing);
            if let Some(snapshot) = self.snapshot_at_same_positions().await? {
                return Ok(snapshot.compare().await?);
            }
            tokio::time::sleep(HOLD_RETRY_DELAY).await;
        }
        Err(JobError::Retryable(
            "the live generation advances too fast to be compared with".into(),
        ))
    }

    /// Holds the live generation's consumers, catches up with them, and opens a snapshot of both; `None` when that took too
    /// long.
    async fn snapshot_at_same_positions(&self) -> Result<Option<Snapshot>, JobError> {
        ensure_checkpoints(
            &self.pool,
            M::NAME,
            self.log.identity().partitions,
            M::VERSION,
        )
        .await?;
        let mut held = self.pool.begin().await?;
        let opening = async {
            let live = hold(&mut held, M::NAME).await?;
            advance_to(&self.consumers(), &live).await?;
            Ok::<_, JobError>(Snapshot::open(&self.pool, M::NAME, self.generation).await?)
        };
        let opened = timeout(MAX_HOLD_DURATION, opening).await;
        held.rollback().await?;
        opened.ok().transpose()
    }

    /// A transaction under the lease: while it lives, no other process can take the job over.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static>, JobError> {
        let mut transaction = self.pool.begin().await?;
        if self.lease.verify_held(&mut transaction).await? {
            Ok(transaction)
        } else {
            Err(JobError::LeaseLost)
        }
    }
}

/// The consumers of a standby generation.
fn consumers<M: ReadModel>(
    log: &Log,
    pool: &Pool,
    model: Arc<M>,
    generation: i32,
) -> Vec<Consumer<M>> {
    let schema = standby_schema(M::NAME, generation);
    let consumer = |partition| Consumer::new(log.clone(), pool.clone(), model.clone(), partition);
    log.partitions()
        .map(|partition| consumer(partition).for_standby(schema.clone()))
        .collect()
}

/// Brings every consumer to its partition's position.
async fn advance_to<M: ReadModel>(
    consumers: &[Consumer<M>],
    positions: &[Position],
) -> Result<(), JobError> {
    let advancing = consumers
        .iter()
        .zip(positions)
        .map(|(consumer, upto)| advance_consumer_to(consumer, *upto));
    futures::future::try_join_all(advancing).await?;
    Ok(())
}

async fn advance_consumer_to<M: ReadModel>(
    consumer: &Consumer<M>,
    upto: Position,
) -> Result<(), JobError> {
    while matches!(consumer.step_to(upto).await?, Step::Moved(at) if at < upto) {}
    Ok(())
}

/// How many events `behind` lacks of `ahead`.
fn lag(ahead: &[Position], behind: &[Position]) -> Position {
    ahead
        .iter()
        .zip(behind)
        .map(|(ahead, behind)| (ahead - behind).max(0))
        .sum()
}

/// Makes a standby the live generation, after it has caught up.
pub(crate) async fn switch(
    log: &Log,
    pool: &Pool,
    projection: &str,
    generation: i32,
) -> Result<Switched, SwitchError> {
    with_model!(
        projection,
        Model => switch_model::<Model>(log, pool, generation).await,
        _ => {
            let (projection, reason) = (projection.into(), "there is no such read model");
            Err(SwitchError::Unfit { projection, generation, reason })
        },
    )
}

async fn switch_model<M: ReadModel>(
    log: &Log,
    pool: &Pool,
    generation: i32,
) -> Result<Switched, SwitchError> {
    let mut catch_up = ConsumersCatchUp(consumers(log, pool, Arc::new(M::default()), generation));
    generation::switch::switch(
        &mut pool.acquire().await?,
        M::NAME,
        generation,
        &mut catch_up,
    )
    .await
}

/// Catches up with the consumers of the generation that is to become live.
struct ConsumersCatchUp<M>(Vec<Consumer<M>>);

impl<M: ReadModel> CatchUp for ConsumersCatchUp<M> {
    async fn catch_up(
        &mut self,
        transaction: &mut Connection,
        live: &[Position],
    ) -> Result<(), StepError> {
        for (consumer, upto) in self.0.iter().zip(live) {
            consumer.catch_up_in(transaction, *upto).await?;
        }
        Ok(())
    }
}
