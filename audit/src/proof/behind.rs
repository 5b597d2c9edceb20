//! What a start compares: how far the seals outside the database say that the log went, and whether it still does.

use super::file::Lines;
use super::live::Outside;
use super::sealer::Bookmark;
use super::trust::{Distrust, SealChain, SealedTo};
use chrono::{DateTime, Utc};
use event_log::{Hash, Log, LogError, Partition, Position, WriteStop};
use std::io;
use std::path::Path;

/// Seals that are read at a time.
const LINES_PER_READ: usize = 1_000;

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The file cannot be read.
    #[error("the file of seals cannot be read: {0}")]
    File(#[from] io::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The comparison was ended half way.
    #[error("the file of seals was not read to its end")]
    Cut(#[from] tokio::task::JoinError),
}

/// How far the file says that each partition went, and when it was last told so.
struct Sealed {
    ends: Vec<SealedTo>,
    last_at: Option<DateTime<Utc>>,
}

/// Takes no writes into each partition whose last sealed event is not in the database as it was sealed: the database was
/// set back. An operator's word that is newer than the seals counts. Where there is no file, nothing is compared.
pub async fn stop_writes_behind_seals(log: &Log, outside: &Outside) -> Result<(), CompareError> {
    let Some(path) = outside.file.clone() else { return Ok(()) };
    let (identity, keys) = (*log.identity(), outside.keys.clone());
    let sealed = tokio::task::spawn_blocking(move || {
        let chain = SealChain::new(identity, &keys);
        let marked = Bookmark::read(&path, identity.partitions, &keys);
        read(&path, chain, marked)
    });
    let Some(sealed) = sealed.await?? else { return Ok(()) };
    if log.loss_accepted_at().await?.is_some_and(|at| sealed.last_at.is_none_or(|sealed| at >= sealed)) {
        return Ok(());
    }
    for (partition, end) in (0..).zip(sealed.ends) {
        if end.position > 0 && !is_there(log, partition, end).await? {
            log.stop_writes(partition, WriteStop::BehindSeals { partition, sealed: end.position });
        }
    }
    Ok(())
}

async fn is_there(log: &Log, partition: Partition, end: SealedTo) -> Result<bool, LogError> {
    let found = log.stored_after(partition, end.position - 1, 1).await?;
    let found: Option<(Position, Hash)> = found.first().map(|event| (event.position, event.hash));
    Ok(found == Some((end.position, end.head)))
}

/// The seals of the file, from the sealer's bookmark on where there is one; up to the first that cannot be believed.
fn read(path: &Path, chain: SealChain, marked: Option<Bookmark>) -> io::Result<Option<Sealed>> {
    if !path.exists() {
        return Ok(None);
    }
    if let Some(bookmark) = marked {
        let mut lines = Lines::open(path, bookmark.begins)?;
        if let Some(Ok(seal)) = lines.read(1)?.pop()
            && bookmark.names(&seal)
        {
            let sealed = follow(lines, bookmark.resume(chain), Some(seal.statement.at))?;
            return Ok(Some(sealed));
        }
    }
    Ok(Some(follow(Lines::open(path, 0)?, chain, None)?))
}

fn follow(mut lines: Lines, mut chain: SealChain, mut last_at: Option<DateTime<Utc>>) -> io::Result<Sealed> {
    loop {
        let read = lines.read(LINES_PER_READ)?;
        let more = read.len() == LINES_PER_READ;
        for seal in read {
            let followed = seal
                .map_err(|error| Distrust::Wrong(error.to_string()))
                .and_then(|seal| chain.follow(&seal).map(|()| last_at = Some(seal.statement.at)));
            if let Err(why) = followed {
                tracing::error!(
                    seal = chain.seals() + 1,
                    %why,
                    "a seal outside the database cannot be believed: the log is compared with those before it"
                );
                return Ok(sealed(&chain, last_at));
            }
        }
        if !more {
            return Ok(sealed(&chain, last_at));
        }
    }
}

fn sealed(chain: &SealChain, last_at: Option<DateTime<Utc>>) -> Sealed {
    Sealed { ends: chain.ends().to_vec(), last_at }
}
