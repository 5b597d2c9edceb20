//! The one way out: apply-once, and the loop around it, for every consumer of the log.
//!
//! In one transaction a consumer's checkpoint moves from p to q and its rows change. Events it has seen are skipped, a
//! gap is filled from the log, and what it is handed is a help, never the truth. So a delivery may come twice, late, in
//! any order or not at all.

mod checkpoint;

pub use checkpoint::Checkpoint;
use connection_pool::{Connection, Pool};

use crate::log::{Log, MAX_DELIVERED_EVENTS, Partition, Position};
use crate::{LogError, RecordedEvent, RepeatedFault};
use checkpoint::Holder;
use futures::FutureExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How many events one step applies at most.
const STEP: i64 = 1_000;
/// The least time from one step to the next, so that a busy log is applied in few large steps; a lone event never waits.
const PACE: Duration = Duration::from_millis(10);
/// How long a consumer waits before it tries again what failed, or what another instance is at.
const RETRY: Duration = Duration::from_millis(500);
/// How long a consumer may be unable to go on until the process is not ready.
const FAILURE_BOUND: Duration = Duration::from_secs(5);

/// Turns events into rows. Must depend on nothing but the events and its own rows: no clock, no fresh ids.
pub trait Projection: Send + Sync + 'static {
    /// The consumer's name, unique in the log; its checkpoint's and, by custom, its tables'.
    const NAME: &'static str;
    /// The version of the code: another whenever the same events would make other rows. Rows of another version are left
    /// to who knows it.
    const VERSION: i32 = 1;

    /// Applies `events`, of one partition, in order and without a hole, in the transaction that moves the checkpoint.
    fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> impl Future<Output = Result<(), ApplyError>> + Send;

    /// Called after a step is committed, for those who wait for its rows.
    fn applied(&self) {}
}

/// Where a consumer hears that there is something to apply, and may be handed it.
pub trait Source: Send {
    /// Waits until there is something after `position`, and until `paced` unless that is a lot, then puts what is at hand
    /// of it in `delivered`: events of the log, in order. That may be nothing, or have gaps: the log has it all. Called
    /// again, with the position reached, when a step is committed or found nothing; what lies at or before it is done.
    /// May return early for any reason. Dropping it half way loses nothing.
    fn news(
        &mut self,
        position: Position,
        paced: Instant,
        delivered: &mut Vec<RecordedEvent>,
    ) -> impl Future<Output = ()> + Send;
}

/// Why events were not applied. Either way nothing of the step is.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The database said no, or nothing: tried again.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// This event cannot be applied: the partition stops here and says so, until the code or the log is mended.
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
    /// It is not this one's to take now: another instance is at this partition, it is paused, or its rows are of other
    /// code.
    Elsewhere,
}

/// One projection at one partition.
pub struct Consumer<P> {
    log: Log,
    pool: Pool,
    projection: Arc<P>,
    partition: Partition,
    slot: Option<String>,
}

impl<P: Projection> Consumer<P> {
    /// A consumer whose rows and checkpoint are in `pool`'s database.
    pub fn new(log: Log, pool: impl Into<Pool>, projection: Arc<P>, partition: Partition) -> Self {
        Self { log, pool: pool.into(), projection, partition, slot: None }
    }

    /// The same for a set of tables beside the live one: they are in the schema `slot`, which is the checkpoint's name,
    /// too. Its checkpoint must be there; without it no step is taken.
    pub fn beside(self, slot: String) -> Self {
        Self { slot: Some(slot), ..self }
    }

    fn name(&self) -> &str {
        self.slot.as_deref().unwrap_or(P::NAME)
    }

    /// Takes one step: applies what follows the checkpoint, from `delivered` where that goes on from there, else from
    /// the log.
    pub async fn step(&self, delivered: &[RecordedEvent]) -> Result<Step, StepError> {
        match self.transact(delivered, Position::MAX).await {
            // What comes before it is applied by itself, and the next step meets the bad one first.
            Err(StepError::Apply(ApplyError::Event { position, reason })) => {
                match self.transact(&[], position - 1).await? {
                    Step::Moved(at) => Ok(Step::Moved(at)),
                    Step::Idle(_) | Step::Elsewhere => Err(ApplyError::Event { position, reason }.into()),
                }
            }
            stepped => stepped,
        }
    }

    /// The same from the log alone, up to and with `upto` at most.
    pub async fn step_to(&self, upto: Position) -> Result<Step, StepError> {
        self.transact(&[], upto).await
    }

    async fn transact(&self, delivered: &[RecordedEvent], upto: Position) -> Result<Step, StepError> {
        let mut transaction = self.pool.begin().await?;
        let taken = self.take(&mut transaction, delivered, upto).await;
        match &taken {
            Ok(Step::Moved(_)) => {
                transaction.commit().await?;
                self.projection.applied();
            }
            // Awaited: dropped, it would hold the checkpoint's lock a while longer, and the next step find it taken.
            Ok(Step::Idle(_) | Step::Elsewhere) | Err(_) => transaction.rollback().await?,
        }
        taken
    }

    /// Applies what is left up to and with `upto`, in a transaction of the caller's, who alone decides what becomes of it.
    pub async fn drain_within(&self, transaction: &mut Connection, upto: Position) -> Result<Step, StepError> {
        loop {
            match self.take(transaction, &[], upto).await? {
                Step::Moved(at) if at < upto => {}
                done => {
                    sqlx::query("set local search_path to default").execute(transaction).await?;
                    return Ok(done);
                }
            }
        }
    }

    async fn take(
        &self,
        transaction: &mut Connection,
        delivered: &[RecordedEvent],
        upto: Position,
    ) -> Result<Step, StepError> {
        let Some(at) = checkpoint::lock(transaction, self.holder()).await? else { return Ok(Step::Elsewhere) };
        if let Some(slot) = &self.slot {
            // A slot is a projection's name and a number: nothing to escape.
            let tables = format!("set local search_path to \"{slot}\", public");
            sqlx::query(&tables).execute(&mut *transaction).await?;
        }
        let read;
        let following = match following(at.position, delivered) {
            [] => {
                read = self.read_on(transaction, &at, upto).await?;
                &read
            }
            events => events,
        };
        let Some(last) = following.last() else { return Ok(Step::Idle(at.position)) };
        self.projection.apply(transaction, following).await?;
        checkpoint::advance(transaction, self.name(), self.partition, &at, last).await?;
        self.count(last.position, following.len());
        Ok(Step::Moved(last.position))
    }

    fn holder(&self) -> Holder<'_> {
        Holder {
            consumer: self.name(),
            partition: self.partition,
            code_version: P::VERSION,
            begins: self.slot.is_none(),
        }
    }

    fn count(&self, position: Position, applied: usize) {
        let who = self.name().to_owned();
        let labels = [("consumer", who.clone()), ("partition", self.partition.to_string())];
        metrics::counter!("moa_consumer_events_total", "consumer" => who.clone()).increment(applied as u64);
        metrics::histogram!("moa_consumer_step_size", "consumer" => who).record(applied as f64);
        metrics::gauge!("moa_consumer_position", &labels).set(position as f64);
    }

    /// What follows the checkpoint in the log. The checkpoint's own event is read again: were its hash another, this
    /// log would not be the one the rows were made from.
    async fn read_on(
        &self,
        transaction: &mut Connection,
        at: &Checkpoint,
        upto: Position,
    ) -> Result<Vec<RecordedEvent>, StepError> {
        let limit = upto.saturating_sub(at.position).clamp(0, STEP) + 1;
        let rows = crate::read::rows_after(transaction, self.partition, at.position - 1, limit).await?;
        let (known, new) = rows.split_at(usize::from(at.position > 0).min(rows.len()));
        let new = &new[..new.iter().take_while(|row| row.position <= upto).count()];
        let broken = |position, reason: &str| {
            StepError::Log(LogError::Broken { partition: self.partition, position, reason: reason.into() })
        };
        if at.position > 0
            && known.first().map(|row| (row.position, row.hash)) != at.hash.map(|hash| (at.position, hash))
        {
            return Err(broken(at.position, "it is not the event that the read model stands on; rebuild it"));
        }
        for (row, position) in new.iter().zip(at.position + 1..) {
            if row.position != position {
                return Err(broken(position, "there is a hole"));
            }
        }
        let mut events = Vec::with_capacity(new.len());
        for row in new {
            match row.read() {
                Ok(event) => events.push(event),
                Err(error) if events.is_empty() => return Err(error.into()),
                // What comes before it is good; the next step meets it first.
                Err(_) => break,
            }
        }
        Ok(events)
    }

    /// Applies everything there is, from the log alone, and says where it stands then.
    pub async fn drain(&self) -> Result<Step, StepError> {
        loop {
            match self.step(&[]).await? {
                Step::Moved(_) => {}
                done => return Ok(done),
            }
        }
    }

    /// Follows the log until `shutdown`, woken and handed events within this process; see [`Self::run_with`].
    pub async fn run(self, shutdown: CancellationToken) {
        let Some(source) = self.log.listen(self.partition) else { return };
        self.run_with(source, shutdown).await;
    }

    /// Follows the log until `shutdown`: woken by `source`, takes what follows the checkpoint, applies it, and again.
    /// Faults are tried again, for ever; an event that cannot be applied is named in the checkpoint's row.
    ///
    /// After a fault the database may be one that was set back, and what was handed over before it may be lost: until all of
    /// that has been taken from `source`, events are read from the log alone.
    pub async fn run_with(self, mut source: impl Source, shutdown: CancellationToken) {
        let (mut delivered, mut fault) = (Vec::new(), self.fault());
        let mut in_doubt = false;
        while !shutdown.is_cancelled() {
            let paced = Instant::now() + PACE;
            let step = self.step(if in_doubt { &[] } else { &delivered }).await;
            // A source that hands over less than it may has nothing older left.
            in_doubt &= delivered.is_empty() || delivered.len() >= MAX_DELIVERED_EVENTS;
            delivered.clear();
            let waiting = match step {
                Ok(Step::Moved(at) | Step::Idle(at)) => {
                    fault.recovered();
                    source.news(at, paced, &mut delivered).left_future()
                }
                Ok(Step::Elsewhere) => tokio::time::sleep(RETRY).right_future(),
                Err(error) => {
                    in_doubt = true;
                    self.complain(&error, &mut fault).await;
                    tokio::time::sleep(RETRY).right_future()
                }
            };
            shutdown.run_until_cancelled(waiting).await;
        }
    }

    /// What is wrong with this consumer, for the log; and for readiness, where its rows are live.
    fn fault(&self) -> RepeatedFault {
        let who = format!("{}, partition {}", self.name(), self.partition);
        let fault = RepeatedFault::new("a consumer cannot go on", who);
        match self.slot {
            None => fault.failing(self.log.readiness().clause("projection"), FAILURE_BOUND),
            Some(_) => fault,
        }
    }

    /// Says what is wrong where operators look.
    async fn complain(&self, error: &StepError, fault: &mut RepeatedFault) {
        let begins = !fault.is_failing();
        fault.failed(error);
        if begins {
            metrics::counter!("moa_consumer_faults_total", "consumer" => self.name().to_owned()).increment(1);
        }
        let stuck_at = match error {
            StepError::Log(LogError::Broken { position, .. })
            | StepError::Apply(ApplyError::Event { position, .. }) => Some(*position),
            StepError::Log(_) | StepError::Apply(ApplyError::Database(_)) => None,
        };
        if let Some(position) = stuck_at {
            let written =
                checkpoint::stuck(&self.pool, self.name(), self.partition, position, &error.to_string()).await;
            if let Err(error) = written {
                tracing::warn!(consumer = self.name(), %error, "that a consumer is stuck could not be written down");
            }
        }
    }
}

/// The part of `delivered` that goes on directly from `position`; empty when there is a gap, or nothing new.
fn following(position: Position, delivered: &[RecordedEvent]) -> &[RecordedEvent] {
    let seen = delivered.iter().take_while(|event| event.position <= position).count();
    let new = &delivered[seen..];
    let whole = new.iter().zip(position + 1..).take_while(|(event, expected)| event.position == *expected).count();
    &new[..whole]
}
