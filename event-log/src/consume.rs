//! Catch-up subscriptions: apply-once (an idempotent consumer), and the loop around it, for every consumer of the log.
//!
//! One transaction moves a consumer's checkpoint from p to q and changes its rows. Events at or before p are skipped, gaps are filled
//! from the log, and delivered events only save a read. So a delivery may come twice, late, in any order or not at all.

mod checkpoint;
mod local;
mod pace;
mod source;
mod trace;

pub use checkpoint::Checkpoint;
pub use local::LocalSubscription;
pub use pace::Pace;
pub use source::{EventSource, MAX_EVENTS_PER_STEP};
pub use trace::{MAX_TRACED_AGE, ProcessSpan};

use crate::deferral::Deferral;
use crate::log::Log;
use crate::{LogError, RecordedEvent, RepeatedFault};
use checkpoint::Holder;
use connection_pool::{Connection, Pool};
use log_format::{Partition, Position};
use pace::MIN_STEP_INTERVAL;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Events that one step applies after one that failed: whatever is slow or broken, a small step may pass.
const CAUTIOUS_STEP_EVENTS: usize = 500;
/// Pause before a failed step, or one that another instance owns, is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// A consumer that has failed for so long makes the process not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(5);

/// Turns events into rows. It depends on the events and its own rows alone: no clock, no fresh ids.
pub trait Projection: Send + Sync + 'static {
    /// The consumer's name, unique in the log; its checkpoint has it and, by convention, its tables.
    const NAME: &'static str;
    /// The version of the code: it changes when the same events would produce other rows. Rows of another version are left alone.
    const VERSION: i32 = 1;

    /// Applies `events`, of one partition, in order and without a gap, in the transaction that moves the checkpoint.
    fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Called after a step has committed.
    fn applied(&self) {}
}

/// Why events were not applied. Either way nothing of the step is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database refused or did not answer: it is retried.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// This event cannot be applied: the consumer is stuck here until the code or the log is corrected.
    #[error("event at position {position} cannot be applied: {reason}")]
    Event {
        /// Its position.
        position: Position,
        /// What is wrong, for the operator.
        reason: String,
    },
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The log could not be read, or is broken.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The events could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<sqlx::Error> for StepError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// What a step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The checkpoint moved to this position.
    Moved(Position),
    /// There was nothing to apply; the checkpoint is here.
    Idle(Position),
    /// Another instance works on this partition, it is paused, or its rows are of another code version.
    NotOwned,
}

/// One projection at one partition.
pub struct Consumer<P> {
    log: Log,
    pool: Pool,
    projection: Arc<P>,
    partition: Partition,
    schema: Option<String>,
    linger: Duration,
    /// How long a step may be put off in a rush.
    max_deferral: Duration,
    /// The queue that its source delivers from.
    queue: Option<String>,
}

impl<P: Projection> Consumer<P> {
    /// A consumer whose rows and checkpoint are in `pool`'s database.
    pub fn new(log: Log, pool: impl Into<Pool>, projection: Arc<P>, partition: Partition) -> Self {
        let (linger, max_deferral) = (MIN_STEP_INTERVAL, Duration::ZERO);
        Self {
            log,
            pool: pool.into(),
            projection,
            partition,
            schema: None,
            linger,
            max_deferral,
            queue: None,
        }
    }

    /// The same, but under load events gather for `linger` before they are applied together. A large step costs less for each event,
    /// and an invest that is reserved and settled within it is written once. So under load the rows are `linger` and a step old.
    pub fn lingering(self, linger: Duration) -> Self {
        Self {
            linger: linger.max(MIN_STEP_INTERVAL),
            ..self
        }
    }

    /// The same, but in a rush ([`Log::note_rush`]) it puts its steps off, unless its rows have readers ([`Log::note_reader`]). The rows are
    /// then up to `limit` and the time of the steps old. Zero puts nothing off.
    pub fn deferred_up_to(self, limit: Duration) -> Self {
        Self {
            max_deferral: limit,
            ..self
        }
    }

    /// The same for a standby generation, whose tables are in `schema`. The checkpoint has the same name, and must exist: without
    /// it no step is taken.
    pub fn for_standby(self, schema: String) -> Self {
        Self {
            schema: Some(schema),
            ..self
        }
    }

    fn name(&self) -> &str {
        self.schema.as_deref().unwrap_or(P::NAME)
    }

    /// Takes one step: applies what follows the checkpoint, from `delivered` if that continues there, else from the log.
    pub async fn step(&self, delivered: &[RecordedEvent]) -> Result<Step, StepError> {
        self.step_at_most(delivered, MAX_EVENTS_PER_STEP).await
    }

    async fn step_at_most(
        &self,
        delivered: &[RecordedEvent],
        events: usize,
    ) -> Result<Step, StepError> {
        match self
            .apply_in_transaction(delivered, Position::MAX, events)
            .await
        {
            // The events before it are applied without it, and the next step meets the bad one first.
            Err(StepError::Apply(ApplyError::Event { position, reason })) => {
                match self.apply_in_transaction(&[], position - 1, events).await? {
                    Step::Moved(at) => Ok(Step::Moved(at)),
                    Step::Idle(_) | Step::NotOwned => {
                        Err(ApplyError::Event { position, reason }.into())
                    }
                }
            }
            stepped => stepped,
        }
    }

    /// The same from the log alone, up to and with `upto` at most.
    pub async fn step_to(&self, upto: Position) -> Result<Step, StepError> {
        self.apply_in_transaction(&[], upto, MAX_EVENTS_PER_STEP)
            .await
    }

    async fn apply_in_transaction(
        &self,
        delivered: &[RecordedEvent],
        upto: Position,
        max_events: usize,
    ) -> Result<Step, StepError> {
        let mut transaction = self.pool.begin().await?;
        let taken = self
            .apply_next(&mut transaction, delivered, upto, max_events)
            .await;
        let Ok((Step::Moved(at), span)) = taken else {
            // Awaited: a dropped transaction would hold the checkpoint's lock into the next step.
            transaction.rollback().await?;
            return taken.map(|(step, _)| step);
        };
        transaction.commit().await?;
        self.projection.applied();
        if let Some(span) = span {
            span.end(P::NAME);
        }
        Ok(Step::Moved(at))
    }

    /// Applies everything up to and including `upto` in the caller's transaction, which the caller commits or rolls back.
    pub async fn catch_up_in(
        &self,
        transaction: &mut Connection,
        upto: Position,
    ) -> Result<Step, StepError> {
        loop {
            match self
                .apply_next(transaction, &[], upto, MAX_EVENTS_PER_STEP)
                .await?
                .0
            {
                Step::Moved(at) if at < upto => {}
                done => {
                    sqlx::query("set local search_path to default")
                        .execute(transaction)
                        .await?;
                    return Ok(done);
                }
            }
        }
    }

    /// Also returns the step's span, which is over when the transaction is.
    async fn apply_next(
        &self,
        transaction: &mut Connection,
        delivered: &[RecordedEvent],
        upto: Position,
        max_events: usize,
    ) -> Result<(Step, Option<ProcessSpan>), StepError> {
        let Some(at) = checkpoint::lock(transaction, self.holder()).await? else {
            return Ok((Step::NotOwned, None));
        };
        if let Some(schema) = &self.schema {
            // A schema's name is a projection's name and a number: nothing to escape.
            let search_path = format!("set local search_path to \"{schema}\", public");
            sqlx::query(&search_path).execute(&mut *transaction).await?;
        }
        let read;
        let (following, queue) = match following(at.position, delivered) {
            [] => {
                read = self.read_next(transaction, &at, upto, max_events).await?;
                (&read[..], None)
            }
            events => (
                &events[..events.len().min(max_events)],
                self.queue.as_deref(),
            ),
        };
        let Some(last) = following.last() else {
            return Ok((Step::Idle(at.position), None));
        };
        // What a standby generation applies is not a part of what the request led to.
        let span = self
            .schema
            .is_none()
            .then(|| ProcessSpan::begin(following, queue))
            .flatten();
        self.projection.apply(transaction, following).await?;
        checkpoint::advance(transaction, self.name(), self.partition, &at, last).await?;
        self.count(following.len());
        Ok((Step::Moved(last.position), span))
    }

    fn holder(&self) -> Holder<'_> {
        Holder {
            consumer: self.name(),
            partition: self.partition,
            code_version: P::VERSION,
            begins: self.schema.is_none(),
        }
    }

    fn count(&self, applied: usize) {
        let who = self.name().to_owned();
        metrics::counter!("moa_consumer_events_total", "consumer" => who.clone())
            .increment(applied as u64);
        metrics::histogram!("moa_consumer_step_size", "consumer" => who).record(applied as f64);
    }

    /// Of live rows alone: a standby is read by nobody, and its gauges would outlive it.
    fn labels(&self) -> Option<[(&'static str, String); 2]> {
        let labels = || {
            [
                ("consumer", self.name().to_owned()),
                ("partition", self.partition.to_string()),
            ]
        };
        self.schema.is_none().then(labels)
    }

    fn show_position(&self, position: Position) {
        if let Some(labels) = self.labels() {
            metrics::gauge!("moa_consumer_position", &labels).set(position as f64);
        }
    }

    fn show_failing(&self, is_failing: bool) {
        if let Some(labels) = self.labels() {
            metrics::gauge!("moa_consumer_failing", &labels).set(f64::from(u8::from(is_failing)));
        }
    }

    /// The events after the checkpoint. It reads the checkpoint's own event again: with another hash, this would not be the log
    /// that the rows were built from.
    async fn read_next(
        &self,
        transaction: &mut Connection,
        at: &Checkpoint,
        upto: Position,
        max_events: usize,
    ) -> Result<Vec<RecordedEvent>, StepError> {
        let limit = upto.saturating_sub(at.position).clamp(0, max_events as i64) + 1;
        let rows =
            crate::read::rows_after(transaction, self.partition, at.position - 1, limit).await?;
        let (known, new) = rows.split_at(usize::from(at.position > 0).min(rows.len()));
        let new = &new[..new.iter().take_while(|row| row.position <= upto).count()];
        let broken = |position, reason: &str| {
            StepError::Log(LogError::Broken {
                partition: self.partition,
                position,
                reason: reason.into(),
            })
        };
        if at.position > 0
            && known.first().map(|row| (row.position, row.hash))
                != at.hash.map(|hash| (at.position, hash))
        {
            return Err(broken(
                at.position,
                "it is not the event that the read model was built on; rebuild it",
            ));
        }
        for (row, position) in new.iter().zip(at.position + 1..) {
            if row.position != position {
                return Err(broken(position, "there is a hole"));
            }
        }
        let mut events = Vec::with_capacity(new.len());
        for row in new {
            match RecordedEvent::try_from(row) {
                Ok(event) => events.push(event),
                Err(error) if events.is_empty() => return Err(error.into()),
                // The events before it are good; the next step meets it first.
                Err(_) => break,
            }
        }
        Ok(events)
    }

    /// Applies everything up to the head, from the log alone.
    pub async fn catch_up(&self) -> Result<Step, StepError> {
        loop {
            match self.step(&[]).await? {
                Step::Moved(_) => {}
                done => return Ok(done),
            }
        }
    }

    /// Runs until `shutdown` with a subscription within this process; see [`Self::run_with`].
    pub async fn run(self, shutdown: CancellationToken) {
        let Some(source) = self.log.subscribe(self.partition) else {
            return;
        };
        self.run_with(source, shutdown).await;
    }

    /// Runs until `shutdown`: woken by `source`, applies what follows the checkpoint, and again. Faults are retried for ever; an
    /// event that cannot be applied is named in the checkpoint's row.
    ///
    /// After a fault the database may have been restored, and events delivered before it may be lost: until `source` has no older
    /// ones left, events are read from the log alone.
    pub async fn run_with(mut self, mut source: impl EventSource, shutdown: CancellationToken) {
        self.queue = source.queue().map(str::to_owned);
        let (mut delivered, mut fault) = (Vec::new(), self.fault());
        self.show_failing(false);
        let (mut distrusts_source, mut max_events) = (false, MAX_EVENTS_PER_STEP);
        let mut pace = Pace::of(self.linger);
        let mut deferral = Deferral::new(P::NAME, self.max_deferral);
        let follower = self
            .schema
            .is_none()
            .then(|| self.log.lags().follow(P::NAME, self.partition));
        while !shutdown.is_cancelled() {
            let began = Instant::now();
            let step = self
                .step_at_most(if distrusts_source { &[] } else { &delivered }, max_events)
                .await;
            max_events = if step.is_ok() {
                MAX_EVENTS_PER_STEP
            } else {
                CAUTIOUS_STEP_EVENTS
            };
            distrusts_source &= delivered.is_empty() || delivered.len() >= MAX_EVENTS_PER_STEP;
            delivered.clear();
            let reached = match step {
                Ok(Step::Moved(at) | Step::Idle(at)) => {
                    if fault.is_failing() {
                        self.show_failing(false);
                    }
                    fault.recovered();
                    self.show_position(at);
                    follower.iter().for_each(|follower| follower.is_at(at));
                    Some(at)
                }
                Ok(Step::NotOwned) => None,
                Err(error) => {
                    distrusts_source = true;
                    source.distrust();
                    self.report(&error, &mut fault).await;
                    None
                }
            };
            let waiting = async {
                match reached {
                    Some(at) => {
                        let not_before = pace.next_step_at(began, at);
                        let feed = self.log.feed(self.partition);
                        deferral.before_step(self.log.deferrals(), feed, at).await;
                        source.next_batch(at, not_before, &mut delivered).await;
                    }
                    None => tokio::time::sleep(RETRY_DELAY).await,
                }
            };
            shutdown.run_until_cancelled(waiting).await;
        }
    }

    /// Logs this consumer's faults; if its rows are live, they also fail readiness.
    fn fault(&self) -> RepeatedFault {
        let who = format!("{}, partition {}", self.name(), self.partition);
        let fault = RepeatedFault::new("a consumer cannot continue", who);
        match self.schema {
            None => fault.failing(self.log.readiness().clause("projection"), UNREADY_AFTER),
            Some(_) => fault,
        }
    }

    /// Reports a fault: in the log, in the metrics, and in the checkpoint's row if the consumer is stuck.
    async fn report(&self, error: &StepError, fault: &mut RepeatedFault) {
        let begins = !fault.is_failing();
        fault.failed(error);
        if begins {
            metrics::counter!("moa_consumer_faults_total", "consumer" => self.name().to_owned())
                .increment(1);
            self.show_failing(true);
        }
        let stuck_at = match error {
            StepError::Log(LogError::Broken { position, .. })
            | StepError::Apply(ApplyError::Event { position, .. }) => Some(*position),
            StepError::Log(_) | StepError::Apply(ApplyError::Database(_)) => None,
        };
        if let Some(position) = stuck_at {
            let written = checkpoint::stuck(
                &self.pool,
                self.name(),
                self.partition,
                position,
                &error.to_string(),
            )
            .await;
            if let Err(error) = written {
                tracing::warn!(consumer = self.name(), %error, "the position of a stuck consumer could not be stored");
            }
        }
    }
}

/// The part of `delivered` that continues directly after `position`; empty when there is a gap, or nothing new.
fn following(position: Position, delivered: &[RecordedEvent]) -> &[RecordedEvent] {
    let seen = delivered
        .iter()
        .take_while(|event| event.position <= position)
        .count();
    let new = &delivered[seen..];
    let whole = new
        .iter()
        .zip(position + 1..)
        .take_while(|(event, expected)| event.position == *expected)
        .count();
    &new[..whole]
}
