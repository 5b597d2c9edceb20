//! The sealer signs the new events of the log every two seconds, and never signs what contradicts an earlier seal.
//!
//! Where an operator accepted that events are lost, it seals that, and goes on.
//!
//! Every seal goes into the database, in a transaction that holds the lease, and from there into this instance's file.
//! Nothing else writes to the file, so each instance's file is complete, whichever instance sealed. A seal that the file has
//! and the database lacks means that the database was set back.

mod begin;
mod loss;
mod resume_marker;
mod segment;

use super::seal_store::{self, SEALS_PER_PAGE};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use ed25519_dalek::{SigningKey, VerifyingKey};
use event_log::{
    Lease, Log, LogError, Partition, Position, RawEventRef, RawReader, RawRows, RepeatedFault,
};
use proof::seal::{MAX_EVENTS_PER_SEAL, Seal, Statement};
use proof::seal_chain::{SealChain, SealedTo};
use proof::seals_file::SealsFile;
pub(super) use resume_marker::ResumeMarker;
use segment::{Segment, SegmentBuilder};
use sqlx::Executor as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How often new events are sealed.
pub const SEAL_INTERVAL: Duration = Duration::from_secs(2);
/// How long the lease is acquired for; it is renewed before every segment.
const LEASE_DURATION: Duration = Duration::from_secs(10);
/// From so many new events of a partition on they are copied, over a connection of its own: that is cheaper for each.
const MIN_COPIED_EVENTS: Position = 1_000;
/// Blocks of rows that wait to be checked.
const MAX_QUEUED_BLOCKS: usize = 4;
/// How long sealing may fail before the process is not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(5);
/// The clause of readiness.
const READINESS_CLAUSE: &str = "sealer";
/// The lease's name.
const LEASE_NAME: &str = "sealer";

/// The state of a sealer: the gauge `moa_sealer_state`.
#[derive(Clone, Copy)]
enum State {
    /// Another instance seals; this one only appends to its file.
    Standby = 0,
    /// It seals.
    Active = 1,
    /// It found a contradiction, and seals nothing until an operator restarts it or accepts a loss.
    Conflict = 2,
}

/// The key to seal with, and the file to append to.
#[derive(Clone)]
pub struct Sealing {
    /// The key to seal with.
    pub key: SigningKey,
    /// Keys that earlier seals were made with.
    pub earlier: Vec<VerifyingKey>,
    /// The file outside the database; `None` where nothing is kept.
    pub file: Option<PathBuf>,
}

/// A sealer cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The database or the file is unavailable: it is tried again.
    #[error("{0}")]
    Unavailable(String),
    /// The log or the seals contradict an earlier seal. Nothing is sealed until an operator restarts the sealer or accepts a loss.
    #[error("{0}")]
    Conflict(String),
}

impl From<sqlx::Error> for SealError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(format!("the database: {error}"))
    }
}

impl From<LogError> for SealError {
    fn from(error: LogError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Seals until `shutdown`, and what is new then. `pool` may insert into `seals`.
pub async fn run(log: Log, pool: Pool, sealing: Sealing, shutdown: CancellationToken) {
    let fault = RepeatedFault::new("nothing can be sealed", "");
    let mut fault = fault.failing(log.readiness().clause(READINESS_CLAUSE), UNREADY_AFTER);
    let mut accepted = None;
    loop {
        let ended = match Sealer::begin(&log, &pool, &sealing).await {
            Ok(mut sealer) => sealer.run(&shutdown, &mut fault).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(()) => return,
            Err(SealError::Conflict(why)) => {
                report_state(State::Conflict);
                let refusing = log.readiness().clause(READINESS_CLAUSE);
                refusing.fail(&why);
                tracing::error!(
                    "the sealer refuses to seal: {why}; run moa audit verify, find out, then start it again, or run \
                     moa restore --accept-loss if the database was set back"
                );
                accepted = loss::accepted_after(&log, accepted, &shutdown).await;
                if accepted.is_none() {
                    return;
                }
                refusing.clear();
                continue;
            }
            Err(SealError::Unavailable(why)) => {
                report_state(State::Standby);
                fault.failed(&why);
            }
        }
        if shutdown
            .run_until_cancelled(tokio::time::sleep(SEAL_INTERVAL))
            .await
            .is_none()
        {
            return;
        }
    }
}

fn report_state(state: State) {
    metrics::gauge!("moa_sealer_state").set(f64::from(state as u8));
}

/// A sealer that has compared all seals.
pub struct Sealer {
    log: Log,
    pool: Pool,
    key: SigningKey,
    chain: SealChain,
    file: Option<SealsFile>,
    lease: Option<Lease>,
    /// A resume marker at every so many seals.
    seals_per_marker: i64,
    /// The one to write next.
    resume_marker: Option<ResumeMarker>,
}

impl Sealer {
    async fn run(
        &mut self,
        shutdown: &CancellationToken,
        fault: &mut RepeatedFault,
    ) -> Result<(), SealError> {
        loop {
            if shutdown.is_cancelled() {
                return self.seal_once_and_release().await.map(drop);
            }
            self.seal_once().await?;
            fault.recovered();
            // When it is cancelled it seals once more: so nothing of a quiet log is left unsealed.
            let _: Option<()> = shutdown
                .run_until_cancelled(tokio::time::sleep(SEAL_INTERVAL))
                .await;
        }
    }

    /// Seals what is new, then gives the lease back, so that another instance need not wait.
    pub async fn seal_once_and_release(&mut self) -> Result<usize, SealError> {
        let added = self.seal_once().await?;
        self.release_lease().await?;
        Ok(added)
    }

    async fn release_lease(&mut self) -> Result<(), LogError> {
        match self.lease.take() {
            Some(lease) => lease.release().await,
            None => Ok(()),
        }
    }

    /// Reads the new seals, and seals what is new if this instance holds the lease; returns how many seals were added.
    pub async fn seal_once(&mut self) -> Result<usize, SealError> {
        let (mut added, mut reader) = (0, None);
        loop {
            self.catch_up().await?;
            let sealed_now = if self.holds_lease().await? {
                self.seal_new(&mut reader).await?
            } else {
                0
            };
            if sealed_now == 0 {
                self.report_progress();
                return Ok(added);
            }
            added += sealed_now;
        }
    }

    /// Renews or acquires the lease; whether this instance holds it.
    async fn holds_lease(&mut self) -> Result<bool, LogError> {
        if let Some(lease) = &self.lease
            && lease.renew(LEASE_DURATION).await?
        {
            return Ok(true);
        }
        self.lease = Lease::acquire(&self.log, LEASE_NAME, LEASE_DURATION).await?;
        Ok(self.lease.is_some())
    }

    /// Reads the seals that any instance added, and appends them to the file.
    async fn catch_up(&mut self) -> Result<(), SealError> {
        loop {
            let known = self.chain.seals();
            let page = seal_store::seals_from(&self.pool, known.max(1), SEALS_PER_PAGE).await?;
            let mut page = page.into_iter();
            if known > 0 {
                self.check_last_seal(page.next().and_then(Result::ok))?;
            }
            let added = page.len();
            for (number, seal) in (known + 1..).zip(page) {
                let seal = seal.map_err(|error| invalid_seal(number, error))?;
                let appended = self.chain.append(&seal);
                appended.map_err(|why| invalid_seal(number, why))?;
                self.write(vec![seal]).await?;
                self.write_marker(self.file.as_ref().map_or(0, SealsFile::last_began))
                    .await;
            }
            if added == 0 {
                return Ok(());
            }
        }
    }

    /// Checks that the database still has the last seal as it was.
    fn check_last_seal(&self, seal: Option<Seal>) -> Result<(), SealError> {
        let known = self.chain.seals();
        let same = |seal: &Seal| {
            (seal.statement.seal, seal.statement.digest()) == (known, self.chain.digest())
        };
        if seal.as_ref().is_some_and(same) {
            return Ok(());
        }
        Err(SealError::Conflict(format!(
            "the database does not have seal {known} any more as it was: it was set back or written into"
        )))
    }

    async fn write(&mut self, seals: Vec<Seal>) -> Result<(), SealError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let written = tokio::task::spawn_blocking(move || file.append(&seals).map(|()| file)).await;
        let written = written
            .map_err(std::io::Error::other)
            .and_then(|written| written);
        self.file = Some(
            written
                .map_err(|error| SealError::Unavailable(format!("the file of seals: {error}")))?,
        );
        Ok(())
    }

    /// If the last seal, whose line begins at byte `begins`, gets a resume marker: writes the marker before this one, so that the
    /// next start compares at least that many seals.
    async fn write_marker(&mut self, begins: u64) {
        let Some(file) = self
            .file
            .as_ref()
            .filter(|_| self.chain.seals() % self.seals_per_marker == 0)
        else {
            return;
        };
        let before = self
            .resume_marker
            .replace(ResumeMarker::at(&self.chain, begins));
        let (path, key) = (file.path().to_owned(), self.key.clone());
        let Some(before) = before else { return };
        let written = tokio::task::spawn_blocking(move || before.write(&path, &key)).await;
        if let Err(error) = written
            .map_err(std::io::Error::other)
            .and_then(|written| written)
        {
            tracing::warn!(%error, "the resume marker of the file of seals is not written: the next start takes longer");
        }
    }

    /// Adds a seal for each partition that has new events; returns how many. Many events are copied by `reader`, which is opened for them.
    async fn seal_new(&mut self, reader: &mut Option<RawReader>) -> Result<usize, SealError> {
        let heads = self.log.heads().await?;
        let mut added = 0;
        for (partition, head) in self.log.partitions().zip(heads) {
            let Some(sealed) = self.chain.sealed_to(partition) else {
                continue;
            };
            if head < sealed.position {
                return Err(SealError::Conflict(format!(
                    "partition {partition} ends at position {head}, but it was sealed up to {}",
                    sealed.position
                )));
            }
            if head > sealed.position {
                let new = if head - sealed.position < MIN_COPIED_EVENTS {
                    read_segment(&self.log, partition, sealed).await?
                } else {
                    let reader = match reader {
                        Some(reader) => reader,
                        None => reader.insert(RawReader::open(&self.pool).await?),
                    };
                    copy_segment(reader, partition, sealed).await?
                };
                let Some(new) = new else { continue };
                added += usize::from(self.seal_segment(partition, new).await?);
                // The next seal names this one: it must be read first.
                self.catch_up().await?;
            }
        }
        Ok(added)
    }

    /// Seals `new`, which is new in `partition`; returns false if another instance has the lease.
    async fn seal_segment(
        &mut self,
        partition: Partition,
        new: Segment,
    ) -> Result<bool, SealError> {
        let Some(lease) = &self.lease else {
            return Ok(false);
        };
        let mut transaction = self.pool.begin().await?;
        // The file must never have what a crash can take from the database.
        transaction
            .execute("set local synchronous_commit = on")
            .await?;
        if !lease.verify_held(&mut transaction).await? {
            self.lease = None;
            return Ok(false);
        }
        let at: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
            .fetch_one(&mut *transaction)
            .await?;
        let identity = self.log.identity();
        let statement = Statement {
            log: identity.log_id,
            partitions: identity.partitions,
            seal: self.chain.seals() + 1,
            partition,
            first: new.first,
            last: new.last,
            head: new.head,
            root: new.root,
            hash_prefixes_digest: new.hash_prefixes_digest(),
            at,
            previous: self.chain.digest(),
            loss: None,
        };
        seal_store::insert(
            &mut transaction,
            &statement.seal(new.hash_prefixes, &self.key),
        )
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    fn report_progress(&self) {
        report_state(if self.lease.is_some() {
            State::Active
        } else {
            State::Standby
        });
        for partition in self.log.partitions() {
            let sealed = self
                .chain
                .sealed_to(partition)
                .map_or(0, |sealed| sealed.position);
            metrics::gauge!("moa_sealed_position", "partition" => partition.to_string())
                .set(sealed as f64);
        }
    }
}

/// Reads the segment that follows `sealed`, few events, and checks it. The last sealed event too: it must still be there.
async fn read_segment(
    log: &Log,
    partition: Partition,
    sealed: SealedTo,
) -> Result<Option<Segment>, SealError> {
    let rows = log
        .raw_after(partition, first_read(sealed), MAX_EVENTS_PER_SEAL + 1)
        .await?;
    let mut builder = SegmentBuilder::after(partition, sealed);
    for row in &rows {
        builder.add(&RawEventRef::from(row))?;
    }
    builder.finish()
}

/// The position after which the last sealed event and what follows it are read.
fn first_read(sealed: SealedTo) -> Position {
    (sealed.position - 1).max(0)
}

/// The same as [`read_segment`] of many events, checked on another thread.
async fn copy_segment(
    reader: &mut RawReader,
    partition: Partition,
    sealed: SealedTo,
) -> Result<Option<Segment>, SealError> {
    let (blocks, incoming) = mpsc::channel(MAX_QUEUED_BLOCKS);
    let builder = SegmentBuilder::after(partition, sealed);
    let checking = tokio::task::spawn_blocking(move || check(builder, incoming));
    let (after, limit) = (first_read(sealed), MAX_EVENTS_PER_SEAL + 1);
    let read = reader
        .copy(partition, Some(after), Position::MAX, limit, &blocks)
        .await;
    drop(blocks);
    let checked = checking
        .await
        .map_err(|error| SealError::Unavailable(error.to_string()))?;
    // What was read of it may end too early.
    read?;
    checked
}

fn check(
    mut builder: SegmentBuilder,
    mut incoming: mpsc::Receiver<RawRows>,
) -> Result<Option<Segment>, SealError> {
    while let Some(rows) = incoming.blocking_recv() {
        for row in rows.iter() {
            let row = row.map_err(|why| SealError::Unavailable(format!("an event: {why}")))?;
            builder.add(&row)?;
        }
    }
    builder.finish()
}

fn invalid_seal(number: i64, why: impl std::fmt::Display) -> SealError {
    SealError::Conflict(format!("seal {number} in the database is not valid: {why}"))
}
