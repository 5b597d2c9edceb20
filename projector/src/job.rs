//! Jobs: rebuilds and dry runs of read models, as rows of the table `jobs`. A projector runs a job under its lease, and another
//! one resumes it from its row when that one ends.

use chrono::{DateTime, Utc};
use event_log::{Lease, Log, LogError};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a job's lease lasts; it is renewed ten times as often.
pub(crate) const LEASE_DURATION: Duration = Duration::from_secs(10);
/// How often a lease that another process holds is requested.
const LEASE_RETRY_INTERVAL: Duration = Duration::from_millis(200);

stored_words! {
    /// What a job does.
    JobKind {
        /// Builds a generation and switches to it.
        Rebuild = "REBUILD",
        /// A dry run: builds a generation, compares it, and drops it.
        Diff = "DIFF",
    }
}

stored_words! {
    /// Whether a job has ended.
    JobState {
        /// It runs, or waits for a projector.
        Running = "RUNNING",
        /// It has reached its end.
        Done = "DONE",
        /// It ended before.
        Failed = "FAILED",
    }
}

stored_words! {
    /// The stages of a job, in order.
    JobStage {
        /// No projector has taken it up.
        Waiting = "WAITING",
        /// Folds every partition in bulk.
        Folding = "FOLDING",
        /// Creates keys and indexes.
        Indexing = "INDEXING",
        /// Applies what was appended meanwhile.
        CatchingUp = "CATCHING_UP",
        /// Compares both generations.
        Comparing = "COMPARING",
        /// Makes the new generation live.
        Switching = "SWITCHING",
    }
}

/// A rebuild or a dry run.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Job {
    /// Its number.
    pub id: i64,
    /// Rebuild or dry run.
    #[sqlx(try_from = "String")]
    pub kind: JobKind,
    /// Of which read model.
    pub projection: String,
    /// The generation that it builds.
    pub generation: i32,
    /// The version of the code that builds it; projectors with another leave it alone.
    pub code_version: i32,
    /// Whether it switches by itself.
    pub switches: bool,
    /// Whether it switches even when there are differences.
    pub accept_differences: bool,
    /// The most events a second.
    pub max_rate: Option<i32>,
    /// Whether it has ended.
    #[sqlx(try_from = "String")]
    pub state: JobState,
    /// Its stage; the last one when it has ended.
    #[sqlx(try_from = "String")]
    pub stage: JobStage,
    /// Events folded.
    pub done: i64,
    /// Events to fold.
    pub total: i64,
    /// The latest fault, which is retried; or why it failed.
    pub problem: Option<String>,
    /// The result of the comparison, once there is one.
    pub outcome: Option<serde_json::Value>,
    /// When it was requested.
    pub asked_at: DateTime<Utc>,
    /// When it last advanced.
    pub moved_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

/// How far a running job is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Notified when a stage begins.
    pub(crate) stage_began: Notify,
    /// Index in [`JobStage::ALL`].
    stage: AtomicUsize,
    pub(crate) done: AtomicI64,
    pub(crate) total: AtomicI64,
}

impl Progress {
    /// As the job was left.
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            done: job.done.into(),
            total: job.total.into(),
            ..Self::default()
        }
    }

    pub(crate) fn begin_stage(&self, stage: JobStage) {
        let index = JobStage::ALL
            .iter()
            .position(|known| *known == stage)
            .unwrap_or_default();
        if self.stage.swap(index, Ordering::Relaxed) != index {
            self.stage_began.notify_one();
        }
    }

    pub(crate) fn stage(&self) -> JobStage {
        JobStage::ALL
            .get(self.stage.load(Ordering::Relaxed))
            .copied()
            .unwrap_or(JobStage::Waiting)
    }

    pub(crate) fn done(&self) -> i64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Takes a job's lease, as soon as nobody holds it.
pub(crate) async fn acquire_job_lease(log: &Log, job: i64) -> Result<Lease, LogError> {
    loop {
        if let Some(lease) = take_job_lease(log, job).await? {
            return Ok(lease);
        }
        tokio::time::sleep(LEASE_RETRY_INTERVAL).await;
    }
}

/// Takes a job's lease, unless another process holds it.
pub(crate) async fn take_job_lease(log: &Log, job: i64) -> Result<Option<Lease>, LogError> {
    Lease::acquire(log, &format!("job:{job}"), LEASE_DURATION).await
}
