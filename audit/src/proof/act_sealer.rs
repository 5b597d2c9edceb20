//! The sealer of acts signs each new row of the record of acts, every two seconds, with the key of the log's seals.
//!
//! Every seal goes into the database, and from there into this instance's file. Of two instances that seal the same row, the unique number
//! lets one do it. What contradicts an earlier seal is not signed, until an operator has accepted that the database was set back.

use super::act_seal_store::{self, ACT_SEALS_PER_PAGE};
use super::sealer::{SEAL_INTERVAL, SealError, Sealing};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use ed25519_dalek::VerifyingKey;
use event_log::acts::{self, StoredAct};
use event_log::{Clause, Hash, Log, RepeatedFault};
use proof::act_seal::{ActSeal, ActStatement};
use proof::act_seal_chain::ActSealChain;
use proof::seals_file::{self, SealsFile};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Rows that are sealed in one transaction.
const ACTS_PER_TRANSACTION: i64 = 100;
/// How long sealing may fail before the process is not ready.
const UNREADY_AFTER: Duration = Duration::from_secs(5);
/// How long it waits after a contradiction: an operator may have accepted it then.
const CONFLICT_RETRY_DELAY: Duration = Duration::from_secs(10);
/// The clause of readiness.
const READINESS_CLAUSE: &str = "acts-sealer";

/// Seals until `shutdown`, and what is new then. `pool` may insert into `act_seals`.
pub async fn run(log: Log, pool: Pool, sealing: Sealing, shutdown: CancellationToken) {
    let mut fault = RepeatedFault::new("acts cannot be sealed", "");
    fault = fault.failing(log.readiness().clause(READINESS_CLAUSE), UNREADY_AFTER);
    let refusing = log.readiness().clause(READINESS_CLAUSE);
    while !shutdown.is_cancelled() {
        let ended = match ActSealer::begin(&log, &pool, &sealing).await {
            Ok(sealer) => sealer.run(&shutdown, &mut fault, &refusing).await,
            Err(error) => Err(error),
        };
        let delay = match ended {
            Ok(()) => return,
            Err(error) => failed(&error, &mut fault, &refusing),
        };
        let _: Option<()> = shutdown
            .run_until_cancelled(tokio::time::sleep(delay))
            .await;
    }
}

/// Says what went wrong, and how long to wait.
fn failed(error: &SealError, fault: &mut RepeatedFault, refusing: &Clause) -> Duration {
    fault.failed(error);
    match error {
        SealError::Unavailable(_) => SEAL_INTERVAL,
        SealError::Conflict(why) => {
            refusing.fail(why);
            CONFLICT_RETRY_DELAY
        }
    }
}

/// A sealer of acts that has compared all seals.
pub struct ActSealer {
    log: Log,
    pool: Pool,
    sealing: Sealing,
    chain: ActSealChain,
    /// When the last seal was made.
    sealed_at: Option<DateTime<Utc>>,
    /// The last row that is sealed and in the record.
    last: (i64, Hash),
    file: Option<SealsFile>,
}

impl ActSealer {
    /// One that has compared every seal of the file with the database's, and the end of the record with the last.
    ///
    /// # Errors
    /// They contradict each other, or cannot be read.
    pub async fn begin(log: &Log, pool: &Pool, sealing: &Sealing) -> Result<Self, SealError> {
        let keys: Vec<VerifyingKey> = std::iter::once(sealing.key.verifying_key())
            .chain(sealing.earlier.iter().copied())
            .collect();
        let (file, filed) = open_file(
            sealing
                .file
                .as_ref()
                .map(|path| seals_file::acts_path(path)),
        )
        .await?;
        let mut sealer = Self {
            log: log.clone(),
            pool: pool.clone(),
            sealing: sealing.clone(),
            chain: ActSealChain::new(log.identity().log_id, &keys),
            sealed_at: None,
            last: (0, Hash::default()),
            file,
        };
        sealer.compare(filed).await?;
        sealer.catch_up().await?;
        sealer.find_end().await?;
        Ok(sealer)
    }

    /// Checks the file's seals, and that the database has them too. Those that it lost it gets back where the loss was accepted.
    async fn compare(&mut self, filed: Vec<ActSeal>) -> Result<(), SealError> {
        let mut stored = act_seal_store::all_seals(&self.pool).await?.into_iter();
        let mut lost = Vec::new();
        for seal in filed {
            let number = self.chain.seals() + 1;
            match stored.next() {
                Some(Ok(there)) if there == seal => {}
                Some(_) => {
                    return Err(SealError::Conflict(format!(
                        "seal of acts {number} in the file is not the database's: one of them was changed"
                    )));
                }
                None => lost.push(seal.clone()),
            }
            self.append(&seal)?;
        }
        if !lost.is_empty() {
            self.check_loss_accepted("the file has seals of acts that the database lacks")
                .await?;
            self.insert(&lost).await?;
        }
        Ok(())
    }

    fn append(&mut self, seal: &ActSeal) -> Result<(), SealError> {
        let number = self.chain.seals() + 1;
        let appended = self.chain.append(seal);
        appended.map_err(|why| {
            SealError::Conflict(format!("seal of acts {number} is not valid: {why}"))
        })?;
        self.sealed_at = Some(seal.statement.at);
        Ok(())
    }

    /// An error unless an operator has accepted a loss since the last seal.
    async fn check_loss_accepted(&self, what: &str) -> Result<(), SealError> {
        let accepted = self.log.loss_accepted_at().await?;
        if accepted.is_some_and(|at| self.sealed_at.is_none_or(|sealed| at >= sealed)) {
            return Ok(());
        }
        Err(SealError::Conflict(format!(
            "{what}: it was set back or written into; run moa audit verify"
        )))
    }

    /// Finds the last row that is as it was sealed: the last sealed one, or, of a database that was set back, one before.
    async fn find_end(&mut self) -> Result<(), SealError> {
        let Some(end) = self.chain.end() else {
            return Ok(());
        };
        self.last = end;
        if self.has(end).await? {
            return Ok(());
        }
        self.check_loss_accepted(&format!(
            "the database does not have act {} as it was sealed",
            end.0
        ))
        .await?;
        self.last = (0, Hash::default());
        for (number, hash) in (1..).zip(self.chain.hashes().to_vec()) {
            if !self.has((number, hash)).await? {
                break;
            }
            self.last = (number, hash);
        }
        Ok(())
    }

    async fn has(&self, (number, hash): (i64, Hash)) -> sqlx::Result<bool> {
        let there = acts::read_after(&self.pool, number - 1, 1).await?;
        Ok(there
            .first()
            .is_some_and(|act| act.number == number && act.hash == hash))
    }

    async fn run(
        mut self,
        shutdown: &CancellationToken,
        fault: &mut RepeatedFault,
        refusing: &Clause,
    ) -> Result<(), SealError> {
        loop {
            let is_last = shutdown.is_cancelled();
            self.seal_once().await?;
            fault.recovered();
            refusing.clear();
            if is_last {
                return Ok(());
            }
            // When it is cancelled it seals once more.
            let _: Option<()> = shutdown
                .run_until_cancelled(tokio::time::sleep(SEAL_INTERVAL))
                .await;
        }
    }

    /// Seals every new row; returns how many seals were added, by whom it may be.
    ///
    /// # Errors
    /// The record contradicts an earlier seal, or cannot be read.
    pub async fn seal_once(&mut self) -> Result<i64, SealError> {
        let before = self.chain.seals();
        loop {
            self.catch_up().await?;
            let new = self.new_acts().await?;
            metrics::gauge!("moa_sealed_act").set(self.last.0 as f64);
            if new.is_empty() {
                return Ok(self.chain.seals() - before);
            }
            let seals = self.seals_of(&new).await?;
            self.insert(&seals).await?;
        }
    }

    /// The rows after the last sealed one, which must still be there, each following from the one before.
    async fn new_acts(&self) -> Result<Vec<StoredAct>, SealError> {
        let (mut number, mut hash) = self.last;
        let mut acts =
            acts::read_after(&self.pool, (number - 1).max(0), ACTS_PER_TRANSACTION + 1).await?;
        if number > 0 {
            let is_there = acts
                .first()
                .is_some_and(|act| act.number == number && act.hash == hash);
            if !is_there {
                return Err(SealError::Conflict(format!(
                    "the database does not have act {number} as it was sealed"
                )));
            }
            acts.remove(0);
        }
        for act in &acts {
            number += 1;
            hash = proof::act::hash(self.log.identity().log_id, act, &hash);
            if act.number != number || act.hash != hash {
                return Err(SealError::Conflict(format!(
                    "act {number} does not follow from the one before"
                )));
            }
        }
        Ok(acts)
    }

    async fn seals_of(&self, acts: &[StoredAct]) -> Result<Vec<ActSeal>, SealError> {
        let at: DateTime<Utc> = sqlx::query_scalar("select clock_timestamp()")
            .fetch_one(&self.pool)
            .await?;
        let (mut seal, mut previous, mut seals) =
            (self.chain.seals(), self.chain.digest(), Vec::new());
        for act in acts {
            seal += 1;
            let malformed =
                |_| SealError::Conflict(format!("the hash of act {} is malformed", act.number));
            let hash = act.hash.clone().try_into().map_err(malformed)?;
            let statement = ActStatement {
                log: self.log.identity().log_id,
                seal,
                act: act.number,
                hash,
                at,
                previous,
            };
            previous = statement.digest();
            seals.push(statement.seal(&self.sealing.key));
        }
        Ok(seals)
    }

    /// Adds them all, or none where another instance was faster.
    async fn insert(&self, seals: &[ActSeal]) -> Result<(), SealError> {
        let mut transaction = self.pool.begin().await?;
        // The file must never have what a crash can take from the database.
        sqlx::query("set local synchronous_commit = on")
            .execute(&mut *transaction)
            .await?;
        for seal in seals {
            if !act_seal_store::insert(&mut transaction, seal).await? {
                return Ok(transaction.rollback().await?);
            }
        }
        Ok(transaction.commit().await?)
    }

    /// Reads the seals that any instance added, and appends them to the file.
    async fn catch_up(&mut self) -> Result<(), SealError> {
        loop {
            let known = self.chain.seals();
            let mut page =
                act_seal_store::seals_after(&self.pool, known - 1, ACT_SEALS_PER_PAGE + 1).await?;
            if known > 0 {
                let first = page.drain(..page.len().min(1)).next().and_then(Result::ok);
                let is_same = |seal: &ActSeal| {
                    (seal.statement.seal, seal.statement.digest()) == (known, self.chain.digest())
                };
                if !first.as_ref().is_some_and(is_same) {
                    let why = format!(
                        "the database does not have seal of acts {known} any more as it was"
                    );
                    return Err(SealError::Conflict(why));
                }
            }
            let mut added = Vec::new();
            for seal in page {
                let number = self.chain.seals() + 1;
                let seal = seal
                    .map_err(|why| SealError::Conflict(format!("seal of acts {number}: {why}")))?;
                self.append(&seal)?;
                self.last = (seal.statement.act, seal.statement.hash);
                added.push(seal);
            }
            if added.is_empty() {
                return Ok(());
            }
            self.write(added).await?;
        }
    }

    async fn write(&mut self, seals: Vec<ActSeal>) -> Result<(), SealError> {
        let Some(mut file) = self.file.take() else {
            return Ok(());
        };
        let written =
            tokio::task::spawn_blocking(move || file.append_acts(&seals).map(|()| file)).await;
        self.file = Some(
            written
                .map_err(io::Error::other)
                .and_then(|written| written)
                .map_err(file_fault)?,
        );
        Ok(())
    }
}

fn file_fault(error: io::Error) -> SealError {
    SealError::Unavailable(format!("the file of seals of acts: {error}"))
}

/// The file, open for appending, and the seals in it.
async fn open_file(path: Option<PathBuf>) -> Result<(Option<SealsFile>, Vec<ActSeal>), SealError> {
    let Some(path) = path else {
        return Ok((None, Vec::new()));
    };
    let opened = tokio::task::spawn_blocking(move || {
        let file = SealsFile::open(&path)?;
        seals_file::read_acts(&path).map(|seals| (file, seals))
    });
    let (file, seals) = opened
        .await
        .map_err(io::Error::other)
        .and_then(|opened| opened)
        .map_err(file_fault)?;
    let seals: Result<Vec<_>, _> = seals.into_iter().collect();
    let seals = seals.map_err(|why| {
        SealError::Conflict(format!("a line of the file of seals of acts: {why}"))
    })?;
    Ok((Some(file), seals))
}
