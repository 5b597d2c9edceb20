//! Making a read model anew from position 0, beside the live one: fold every partition in bulk, index, catch up, compare,
//! switch. What is done is written down as it is done, so that whoever takes the job up after any end of it goes on there;
//! whoever writes compares the job's lease in the same transaction, so that one that was frozen changes nothing.

mod bulk;
#[cfg(test)]
mod tests;
mod throttle;
mod worker;

use connection_pool::{Connection, Pool, Transaction};
pub use worker::run_jobs;

use crate::fold::ReadModel;
use crate::generation::compare::{CompareError, Comparison, Snapshot};
use crate::generation::switch::{CatchUp, SwitchError, Switched};
use crate::generation::{self, tables};
use crate::jobs::Job;
use event_log::consume::{Consumer, Step, StepError};
use event_log::{Lease, Log, LogError, Position};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use throttle::Throttle;
use tokio::sync::Notify;
use tokio::time::timeout;

/// How long a lease of a job lasts; it is renewed ten times as often.
const LEASE: Duration = Duration::from_secs(10);
/// How often a lease that another has is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Partitions that are folded at the same time.
const FOLDERS: usize = 2;
/// So few events behind, the rest is made up while the live model's consumers are held.
const CLOSE: Position = 2_000;
/// How often it is looked how far the aim has gone on.
const GLANCE: Duration = Duration::from_millis(20);
/// How long the live model's consumers are held at most, to bring both generations to one position vector.
const HOLD: Duration = Duration::from_millis(800);
/// How often that is tried in a row.
const HOLDS: usize = 30;
/// What is waited after a hold that did not come to it.
const BETWEEN_HOLDS: Duration = Duration::from_millis(500);

/// With the operator's word for differences, a live model this far behind the log is not waited for, nor compared with: the
/// new one is made up to where the log stands.
const FAR: Position = 100_000;

/// The stages of a job, in order, as its row has them.
pub(crate) const STAGES: [&str; 6] = ["WAITING", "FOLDING", "INDEXING", "CATCHING_UP", "COMPARING", "SWITCHING"];

/// Why a job does not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Tried again, a bounded number of times.
    #[error("{0}")]
    Trouble(String),
    /// It ends the job.
    #[error("{0}")]
    Final(String),
    /// The lease is another's now.
    #[error("another took the job over")]
    Lost,
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refused) if made_by_another(refused.as_ref()) => Self::Trouble(error.to_string()),
            // What is in the tables contradicts what is to be in them (23), or it may not be done (42): no try changes that.
            sqlx::Error::Database(refused)
                if refused.code().is_some_and(|it| it.starts_with("23") || it.starts_with("42")) =>
            {
                Self::Final(format!("the database refuses it: {error}"))
            }
            _ => Self::Trouble(error.to_string()),
        }
    }
}

/// Somebody whose lease is over made the same table or index (42P06, 42P07, 42710, 42P16) at the same moment, maybe not yet
/// committed: then it is the catalog's own key that is taken. At the next try it is there, and passed over.
fn made_by_another(refused: &dyn sqlx::error::DatabaseError) -> bool {
    let catalog = refused.constraint().is_some_and(|key| key.starts_with("pg_"));
    match refused.code().as_deref() {
        Some("42P06" | "42P07" | "42710" | "42P16") => true,
        Some("23505") => catalog,
        _ => false,
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Unavailable(error) => error.into(),
            broken => Self::Final(broken.to_string()),
        }
    }
}

impl From<CompareError> for Fault {
    fn from(error: CompareError) -> Self {
        match error {
            CompareError::Database(error) => error.into(),
            apart => Self::Trouble(apart.to_string()),
        }
    }
}

impl From<StepError> for Fault {
    fn from(error: StepError) -> Self {
        match error {
            StepError::Log(error) => error.into(),
            StepError::Apply(event_log::consume::ApplyError::Database(error)) => error.into(),
            StepError::Apply(poison) => Self::Final(poison.to_string()),
        }
    }
}

/// How far a job is, for those who watch.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Another stage has begun.
    pub(crate) news: Notify,
    /// Which of [`STAGES`].
    stage: AtomicI64,
    done: AtomicI64,
    total: AtomicI64,
}

impl Progress {
    /// As it was left.
    pub(crate) fn of(job: &Job) -> Self {
        Self { done: job.done.into(), total: job.total.into(), ..Self::default() }
    }

    pub(crate) fn at(&self, stage: &'static str) {
        let number = STAGES.iter().position(|known| *known == stage).unwrap_or_default();
        if self.stage.swap(number as i64, Ordering::Relaxed) != number as i64 {
            self.news.notify_one();
        }
    }

    pub(crate) fn stage(&self) -> &'static str {
        let number = usize::try_from(self.stage.load(Ordering::Relaxed)).unwrap_or_default();
        STAGES.get(number).copied().unwrap_or(STAGES[0])
    }

    pub(crate) fn done(&self) -> i64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn total(&self) -> i64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Takes the lease of a job, as soon as nobody has it.
pub(crate) async fn alone_at(log: &Log, job: i64) -> Result<Lease, LogError> {
    loop {
        if let Some(lease) = Lease::take(log, &lease_of(job), LEASE).await? {
            return Ok(lease);
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn lease_of(job: i64) -> String {
    format!("job:{job}")
}

/// What a generation is brought up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Where the live one stands, to be compared with it there.
    Live,
    /// Where the log stands: the live one is far behind.
    Head {
        /// By how many events.
        behind: Position,
    },
}

/// One generation that is being made.
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
    fn slot(&self) -> String {
        generation::slot(M::NAME, self.generation)
    }

    fn consumers(&self) -> Vec<Consumer<M>> {
        consumers(&self.log, &self.pool, self.model.clone(), self.generation)
    }

    /// Makes the generation, up to its aim, which it says; ends with every index there. `may_skip`: a live one that is far
    /// behind need not be waited for.
    pub(crate) async fn make(&self, may_skip: bool) -> Result<Aim, Fault> {
        let mut transaction = self.begin().await?;
        tables::create(&mut transaction, M::NAME, self.generation, M::VERSION).await?;
        transaction.commit().await?;
        let (live, head) = (self.positions(M::NAME).await?, self.log.heads().await?);
        let behind = ahead(&head, &live);
        let aim = if may_skip && behind > FAR { Aim::Head { behind } } else { Aim::Live };
        let targets = if aim == Aim::Live { live } else { head };
        self.progress.total.store(targets.iter().sum(), Ordering::Relaxed);
        self.progress.at("FOLDING");
        self.fold_all(&targets).await?;
        self.progress.at("INDEXING");
        let mut connection = self.pool.acquire().await?;
        tables::index(&mut connection, M::NAME, self.generation, M::VERSION).await?;
        Ok(aim)
    }

    /// Follows its aim until it is close.
    pub(crate) async fn catch_up(&self, aim: Aim) -> Result<(), Fault> {
        self.progress.at("CATCHING_UP");
        let consumers = self.consumers();
        loop {
            let aims = match aim {
                Aim::Live => self.positions(M::NAME).await?,
                Aim::Head { .. } => self.log.heads().await?,
            };
            let (total, behind) = (aims.iter().sum::<Position>(), ahead(&aims, &self.positions(&self.slot()).await?));
            self.progress.done.store(total - behind, Ordering::Relaxed);
            self.progress.total.store(total, Ordering::Relaxed);
            if behind <= CLOSE {
                return Ok(());
            }
            follow(&consumers, &aims).await?;
            // Where another keeps it up by now, it is waited for.
            tokio::time::sleep(GLANCE).await;
        }
    }

    async fn positions(&self, consumer: &str) -> sqlx::Result<Vec<Position>> {
        positions(&self.pool, consumer, self.log.identity().partitions).await
    }

    /// Both generations at one position vector, and what the comparison finds there.
    pub(crate) async fn compare(&self) -> Result<Comparison, Fault> {
        for _ in 0..HOLDS {
            self.catch_up(Aim::Live).await?;
            self.progress.at("COMPARING");
            if let Some(snapshot) = self.hold_and_look().await? {
                return Ok(snapshot.compare().await?);
            }
            tokio::time::sleep(BETWEEN_HOLDS).await;
        }
        Err(Fault::Trouble("the live model moved on too fast to be compared with".into()))
    }

    /// Holds the live model's consumers, makes up the rest, and takes a snapshot of both; `None` when that took too long.
    async fn hold_and_look(&self) -> Result<Option<Snapshot>, Fault> {
        begin_all(&self.pool, M::NAME, self.log.identity().partitions, M::VERSION).await?;
        let mut held = self.pool.begin().await?;
        let looking = async {
            let live = hold(&mut held, M::NAME).await?;
            follow(&self.consumers(), &live).await?;
            Ok::<_, Fault>(Snapshot::open(&self.pool, M::NAME, self.generation).await?)
        };
        let looked = timeout(HOLD, looking).await;
        held.rollback().await?;
        looked.ok().transpose()
    }

    /// A transaction under the lease: while it lives, nobody else can take the job over.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static>, Fault> {
        let mut transaction = self.pool.begin().await?;
        if self.lease.guard(&mut transaction).await? { Ok(transaction) } else { Err(Fault::Lost) }
    }
}

/// The consumers of a generation beside the live one.
fn consumers<M: ReadModel>(log: &Log, pool: &Pool, model: Arc<M>, generation: i32) -> Vec<Consumer<M>> {
    let slot = generation::slot(M::NAME, generation);
    let consumer = |partition| Consumer::new(log.clone(), pool.clone(), model.clone(), partition);
    log.partitions().map(|partition| consumer(partition).beside(slot.clone())).collect()
}

/// Brings every consumer to its partition's position.
async fn follow<M: ReadModel>(consumers: &[Consumer<M>], positions: &[Position]) -> Result<(), Fault> {
    let following = consumers.iter().zip(positions).map(|(consumer, upto)| follow_to(consumer, *upto));
    futures::future::try_join_all(following).await?;
    Ok(())
}

async fn follow_to<M: ReadModel>(consumer: &Consumer<M>, upto: Position) -> Result<(), Fault> {
    while matches!(consumer.step_to(upto).await?, Step::Moved(at) if at < upto) {}
    Ok(())
}

/// How many events `one` has that `other` lacks.
fn ahead(one: &[Position], other: &[Position]) -> Position {
    one.iter().zip(other).map(|(one, other)| (one - other).max(0)).sum()
}

/// Where a consumer stands in every partition.
async fn positions(pool: &Pool, consumer: &str, partitions: i32) -> sqlx::Result<Vec<Position>> {
    sqlx::query_scalar(
        "select coalesce(position, 0) from generate_series(0, $2 - 1) as p
           left join checkpoints on consumer = $1 and partition = p order by p",
    )
    .bind(consumer)
    .bind(partitions)
    .fetch_all(pool)
    .await
}

/// Writes down where a consumer stands that has not begun: one that is to be held must have what is locked.
async fn begin_all(pool: &Pool, consumer: &str, partitions: i32, code_version: i32) -> sqlx::Result<()> {
    sqlx::query(
        "insert into checkpoints (consumer, partition, code_version)
         select $1, p, $3 from generate_series(0, $2 - 1) as p on conflict do nothing",
    )
    .bind(consumer)
    .bind(partitions)
    .bind(code_version)
    .execute(pool)
    .await?;
    Ok(())
}

/// Locks every checkpoint of a consumer, so that it stands still as long as the transaction lives; says where.
async fn hold(transaction: &mut Connection, consumer: &str) -> sqlx::Result<Vec<Position>> {
    sqlx::query_scalar("select position from checkpoints where consumer = $1 order by partition for update")
        .bind(consumer)
        .fetch_all(transaction)
        .await
}

/// Makes another generation the live one, bringing it as far as that one first.
pub(crate) async fn switch(log: &Log, pool: &Pool, projection: &str, generation: i32) -> Result<Switched, SwitchError> {
    macro_rules! dispatch {
        ($($model:ident),*) => {
            match projection {
                $(<crate::$model as event_log::consume::Projection>::NAME => {
                    switch_model::<crate::$model>(log, pool, generation).await
                })*
                _ => Err(SwitchError::Unfit {
                    projection: projection.into(),
                    generation,
                    reason: "there is no such read model",
                }),
            }
        };
    }
    crate::read_models!(dispatch)
}

async fn switch_model<M: ReadModel>(log: &Log, pool: &Pool, generation: i32) -> Result<Switched, SwitchError> {
    let mut catch_up = Following(consumers(log, pool, Arc::new(M::default()), generation));
    generation::switch::switch(&mut pool.acquire().await?, M::NAME, generation, &mut catch_up).await
}

/// The consumers of the generation that is to become live.
struct Following<M>(Vec<Consumer<M>>);

impl<M: ReadModel> CatchUp for Following<M> {
    async fn catch_up(&mut self, transaction: &mut Connection, live: &[Position]) -> Result<(), StepError> {
        for (consumer, upto) in self.0.iter().zip(live) {
            consumer.drain_within(transaction, *upto).await?;
        }
        Ok(())
    }
}
