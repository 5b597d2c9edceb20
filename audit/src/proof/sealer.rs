//! The sealer: signs what is new in the log, every few seconds, and never what contradicts what was sealed before.
//!
//! Every seal goes into the database, in a transaction that holds the lease, and from there into this instance's file.
//! There is no other way into the file, so each instance's is complete, whoever sealed; and what the file has and the
//! database has not means that the database was set back.

mod begin;
mod bookmark;
mod stretch;

use super::file::SealsFile;
use super::seal::{STRETCH, Seal, Statement};
use super::store::{self, PAGE};
use super::trust::SealChain;
pub(super) use bookmark::Bookmark;
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use ed25519_dalek::{SigningKey, VerifyingKey};
use event_log::{Lease, Log, LogError, Partition, RepeatedFault};
use sqlx::Executor as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked what is new.
pub const SEAL_EVERY: Duration = Duration::from_secs(2);
/// How long the lease is taken for; it is renewed at every look and every stretch.
const LEASE: Duration = Duration::from_secs(10);
/// How long nothing may be sealed, though there is something new, until the process is not ready.
const FAILURE_BOUND: Duration = Duration::from_secs(5);
/// Of readiness.
const CLAUSE: &str = "sealer";
/// The lease's name.
const NAME: &str = "sealer";

/// What a sealer is: the gauge `moa_sealer_state`.
#[derive(Clone, Copy)]
enum State {
    /// Another seals; this one only keeps its file.
    Waits = 0,
    /// It seals.
    Seals = 1,
    /// It refuses to, until somebody has looked and starts it again.
    Refuses = 2,
}

/// With what to seal, and where to.
pub struct Sealing {
    /// The key to seal with.
    pub key: SigningKey,
    /// Keys that earlier seals were made with.
    pub earlier: Vec<VerifyingKey>,
    /// The file outside the database; `None` where nothing is kept.
    pub file: Option<PathBuf>,
}

/// Why a sealer does not go on.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The database or the file cannot be had now: it is tried again.
    #[error("{0}")]
    Away(String),
    /// What is there contradicts what was sealed, or cannot be sealed. Nothing is sealed until somebody has looked.
    #[error("{0}")]
    Refused(String),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Away(format!("the database: {error}"))
    }
}

impl From<LogError> for Trouble {
    fn from(error: LogError) -> Self {
        Self::Away(error.to_string())
    }
}

/// Seals until `shutdown`, and what is new then. `pool` may insert into `seals`.
pub async fn run(log: Log, pool: Pool, sealing: Sealing, shutdown: CancellationToken) {
    let fault = RepeatedFault::new("nothing can be sealed", "");
    let mut fault = fault.failing(log.readiness().clause(CLAUSE), FAILURE_BOUND);
    loop {
        let ended = match Sealer::begin(&log, &pool, &sealing).await {
            Ok(mut sealer) => sealer.go_on(&shutdown, &mut fault).await,
            Err(trouble) => Err(trouble),
        };
        match ended {
            Ok(()) => return,
            Err(Trouble::Refused(why)) => {
                told(State::Refuses);
                // Kept until the process ends: only a start clears it.
                let refusing = log.readiness().clause(CLAUSE);
                refusing.fail(&why);
                tracing::error!(
                    "the sealer refuses to seal: {why}; run moa audit verify, find out, then start it again"
                );
                return shutdown.cancelled().await;
            }
            Err(Trouble::Away(why)) => {
                told(State::Waits);
                fault.failed(&why);
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(SEAL_EVERY)).await.is_none() {
            return;
        }
    }
}

fn told(state: State) {
    metrics::gauge!("moa_sealer_state").set(f64::from(state as u8));
}

/// A sealer that knows where the seals stand.
pub struct Sealer {
    log: Log,
    pool: Pool,
    key: SigningKey,
    chain: SealChain,
    file: Option<SealsFile>,
    lease: Option<Lease>,
    /// A bookmark at every so many seals.
    mark_every: i64,
    /// The one to write next.
    bookmark: Option<Bookmark>,
}

impl Sealer {
    async fn go_on(&mut self, shutdown: &CancellationToken, fault: &mut RepeatedFault) -> Result<(), Trouble> {
        loop {
            if shutdown.is_cancelled() {
                return self.look_and_let_go().await.map(drop);
            }
            self.look().await?;
            fault.recovered();
            // One more look when it is cancelled: so nothing of a quiet log is left unsealed.
            let _: Option<()> = shutdown.run_until_cancelled(tokio::time::sleep(SEAL_EVERY)).await;
        }
    }

    /// The same, the last time.
    pub async fn look_and_let_go(&mut self) -> Result<usize, Trouble> {
        let added = self.look().await?;
        self.let_go().await?;
        Ok(added)
    }

    /// Gives the lease back, so that another need not wait.
    async fn let_go(&mut self) -> Result<(), LogError> {
        match self.lease.take() {
            Some(lease) => lease.release().await,
            None => Ok(()),
        }
    }

    /// Follows what was sealed, and seals what is new when nobody else does; says how many seals were added.
    pub async fn look(&mut self) -> Result<usize, Trouble> {
        let mut added = 0;
        loop {
            self.catch_up().await?;
            let round = if self.leads().await? { self.seal_new().await? } else { 0 };
            if round == 0 {
                self.tell();
                return Ok(added);
            }
            added += round;
        }
    }

    /// Whether this one holds the lease.
    async fn leads(&mut self) -> Result<bool, LogError> {
        if let Some(lease) = &self.lease
            && lease.renew(LEASE).await?
        {
            return Ok(true);
        }
        self.lease = Lease::take(&self.log, NAME, LEASE).await?;
        Ok(self.lease.is_some())
    }

    /// Follows the seals that were added, by whomever, and adds them to the file.
    async fn catch_up(&mut self) -> Result<(), Trouble> {
        loop {
            let known = self.chain.seals();
            let page = store::seals_from(&self.pool, known.max(1), PAGE).await?;
            let mut page = page.into_iter();
            if known > 0 {
                self.is_as_it_was(page.next().and_then(Result::ok))?;
            }
            let added = page.len();
            for (number, seal) in (known + 1..).zip(page) {
                let seal = seal.map_err(|error| bad(number, error))?;
                let followed = self.chain.follow(&seal);
                followed.map_err(|why| bad(number, why))?;
                self.write(vec![seal]).await?;
                self.mark(self.file.as_ref().map_or(0, SealsFile::last_began)).await;
            }
            if added == 0 {
                return Ok(());
            }
        }
    }

    /// The last seal that was followed, as it is now.
    fn is_as_it_was(&self, seal: Option<Seal>) -> Result<(), Trouble> {
        let known = self.chain.seals();
        let same = |seal: &Seal| (seal.statement.seal, seal.statement.digest()) == (known, self.chain.digest());
        if seal.as_ref().is_some_and(same) {
            return Ok(());
        }
        Err(Trouble::Refused(format!(
            "the database does not have seal {known} any more as it was: it was set back or written into"
        )))
    }

    async fn write(&mut self, seals: Vec<Seal>) -> Result<(), Trouble> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || file.append(&seals).map(|()| file)).await;
        let written = written.map_err(std::io::Error::other).and_then(|written| written);
        self.file = Some(written.map_err(|error| Trouble::Away(format!("the file of seals: {error}")))?);
        Ok(())
    }

    /// Where the last seal is one to mark, whose line begins at byte `begins`: writes the bookmark before this one. So at
    /// the next start at least so many seals are compared.
    async fn mark(&mut self, begins: u64) {
        let Some(file) = self.file.as_ref().filter(|_| self.chain.seals() % self.mark_every == 0) else { return };
        let before = self.bookmark.replace(Bookmark::at(&self.chain, begins));
        let (path, key) = (file.path().to_owned(), self.key.clone());
        let Some(before) = before else { return };
        let written = tokio::task::spawn_blocking(move || before.write(&path, &key)).await;
        if let Err(error) = written.map_err(std::io::Error::other).and_then(|written| written) {
            tracing::warn!(%error, "the bookmark of the file of seals is not written: the next start takes longer");
        }
    }

    /// Adds a seal for each partition that has something new; says how many.
    async fn seal_new(&mut self) -> Result<usize, Trouble> {
        let heads = self.log.heads().await?;
        let mut added = 0;
        for (partition, head) in self.log.partitions().zip(heads) {
            let Some(sealed) = self.chain.sealed_to(partition) else { continue };
            if head < sealed.position {
                return Err(Trouble::Refused(format!(
                    "partition {partition} ends at position {head}, but it was sealed up to {}",
                    sealed.position
                )));
            }
            if head > sealed.position {
                added += usize::from(self.seal_stretch(partition).await?);
                // The next one names this one: it must be followed first.
                self.catch_up().await?;
            }
        }
        Ok(added)
    }

    /// Seals what is new of `partition`, up to [`STRETCH`] events; says whether it did, and not another.
    async fn seal_stretch(&mut self, partition: Partition) -> Result<bool, Trouble> {
        let Some(sealed) = self.chain.sealed_to(partition) else { return Ok(false) };
        // The last sealed one too: it must still be there.
        let rows = self.log.stored_after(partition, (sealed.position - 1).max(0), STRETCH + 1).await?;
        let new = tokio::task::spawn_blocking(move || stretch::new(partition, sealed, &rows)).await;
        let new = new.map_err(|error| Trouble::Away(error.to_string()))?.map_err(Trouble::Refused)?;
        let Some(new) = new else { return Ok(false) };
        let Some(lease) = &self.lease else { return Ok(false) };
        let mut transaction = self.pool.begin().await?;
        // The file must never have what a crash can take from the database.
        transaction.execute("set local synchronous_commit = on").await?;
        if !lease.guard(&mut transaction).await? {
            self.lease = None;
            return Ok(false);
        }
        let at: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()").fetch_one(&mut *transaction).await?;
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
            marks: new.marks_digest(),
            at,
            previous: self.chain.digest(),
        };
        store::insert(&mut transaction, &statement.seal(new.marks, &self.key)).await?;
        transaction.commit().await?;
        Ok(true)
    }

    fn tell(&self) {
        told(if self.lease.is_some() { State::Seals } else { State::Waits });
        for partition in self.log.partitions() {
            let sealed = self.chain.sealed_to(partition).map_or(0, |sealed| sealed.position);
            metrics::gauge!("moa_sealed_position", "partition" => partition.to_string()).set(sealed as f64);
        }
    }
}

fn bad(number: i64, why: impl std::fmt::Display) -> Trouble {
    Trouble::Refused(format!("seal {number} in the database cannot be believed: {why}"))
}
