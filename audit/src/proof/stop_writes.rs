//! The comparison at start: does the log still have what the seals outside the database say? If not, the database was set back,
//! and the partition takes no writes.

use super::external_seals::ExternalSeals;
use super::sealer::ResumeMarker;
use chrono::{DateTime, Utc};
use event_log::{Log, LogError, WriteStop};
use proof::seal_chain::{SealChain, SealChainError, SealedTo};
use proof::seals_file::Lines;
use std::io;
use std::path::Path;

/// Seals that are read at a time.
const SEALS_PER_READ: usize = 1_000;

/// The comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The file cannot be read.
    #[error("the file of seals cannot be read: {0}")]
    File(#[from] io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The comparison was cancelled.
    #[error("the file of seals was not read to its end")]
    Cancelled(#[from] tokio::task::JoinError),
}

/// How far each partition is sealed, says the file, and when it said so last.
struct SealedEnds {
    ends: Vec<SealedTo>,
    last_at: Option<DateTime<Utc>>,
}

/// Stops writes into each partition whose last sealed event is not in the database as it was sealed: the database was
/// set back. An operator's `restore` that is newer than the seals outweighs them. Without a file, nothing is compared.
pub async fn stop_writes_behind_seals(
    log: &Log,
    outside: &ExternalSeals,
) -> Result<(), CompareError> {
    let Some(path) = outside.file.clone() else {
        return Ok(());
    };
    let (identity, keys) = (*log.identity(), outside.keys.clone());
    let sealed = tokio::task::spawn_blocking(move || {
        let chain = SealChain::new(identity, &keys);
        let marker = ResumeMarker::read(&path, identity.partitions, &keys);
        read(&path, chain, marker)
    });
    let Some(sealed) = sealed.await?? else {
        return Ok(());
    };
    if log
        .loss_accepted_at()
        .await?
        .is_some_and(|at| sealed.last_at.is_none_or(|sealed| at >= sealed))
    {
        return Ok(());
    }
    for (partition, end) in (0..).zip(sealed.ends) {
        if end.position > 0 && !log.has_event(partition, end.position, &end.head).await? {
            log.stop_writes(
                partition,
                WriteStop::BehindSeals {
                    partition,
                    sealed: end.position,
                },
            );
        }
    }
    Ok(())
}

/// The seals of the file, from the sealer's resume marker on where there is one; up to the first that is not valid.
fn read(
    path: &Path,
    chain: SealChain,
    marker: Option<ResumeMarker>,
) -> io::Result<Option<SealedEnds>> {
    if !path.exists() {
        return Ok(None);
    }
    if let Some(marker) = marker {
        let mut lines = Lines::open(path, marker.begins)?;
        if let Some(Ok(seal)) = lines.read(1)?.pop()
            && marker.names(&seal)
        {
            let sealed = read_valid(lines, marker.resume(chain), Some(seal.statement.at))?;
            return Ok(Some(sealed));
        }
    }
    Ok(Some(read_valid(Lines::open(path, 0)?, chain, None)?))
}

fn read_valid(
    mut lines: Lines,
    mut chain: SealChain,
    mut last_at: Option<DateTime<Utc>>,
) -> io::Result<SealedEnds> {
    loop {
        let read = lines.read(SEALS_PER_READ)?;
        let more = read.len() == SEALS_PER_READ;
        for seal in read {
            let appended = seal
                .map_err(|error| SealChainError::Wrong(error.to_string()))
                .and_then(|seal| {
                    chain
                        .append(&seal)
                        .map(|()| last_at = Some(seal.statement.at))
                });
            if let Err(why) = appended {
                tracing::error!(
                    seal = chain.seals() + 1,
                    %why,
                    "a seal outside the database is not valid: the log is compared with those before it"
                );
                return Ok(sealed(&chain, last_at));
            }
        }
        if !more {
            return Ok(sealed(&chain, last_at));
        }
    }
}

fn sealed(chain: &SealChain, last_at: Option<DateTime<Utc>>) -> SealedEnds {
    SealedEnds {
        ends: chain.ends().to_vec(),
        last_at,
    }
}
