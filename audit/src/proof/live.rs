//! Verification of a log in its database.

use super::check::Checker;
use super::file;
use super::key::VerifyingKey;
use super::report::{BadPosition, BadSeal, PartitionReport, Problem, Report};
use super::seal::{NoSeal, Seal};
use super::store;
use super::trust::Sealed;
use connection_pool::Pool;
use event_log::{Identity, Log, LogError, Partition, Position, StoredReader, StoredRows};
use futures::future::try_join_all;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Partitions that are read at once, each over a connection of its own.
pub const READERS: usize = 2;
/// Rows that one statement reads at most: well under a second's worth.
const RANGE: Position = 50_000;
/// Blocks of rows that wait to be checked.
const WAITING: usize = 4;

/// What is known of the seals outside the database.
#[derive(Clone, Debug)]
pub struct Outside {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// The keys that seals are made with.
    pub keys: Vec<VerifyingKey>,
}

/// Why a verification could not be done. It says nothing about the log.
#[derive(Debug, thiserror::Error)]
pub enum Impossible {
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no log.
    #[error("the database has no log")]
    NoLog,
    /// The file of seals cannot be read.
    #[error("the file of seals {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// A part of it did not come to its end.
    #[error("the verification did not come to its end")]
    Cut(#[from] tokio::task::JoinError),
}

/// Verifies the log in `pool`'s database against the seals that it has itself and those outside it.
pub async fn verify_live(pool: &Pool, outside: Option<&Outside>) -> Result<Report, Impossible> {
    let identity = Log::identity_of(pool).await?.ok_or(Impossible::NoLog)?;
    let sealed = match outside {
        Some(outside) => known_seals(pool, identity, outside).await?,
        None => Sealed::nothing(identity),
    };
    verify(pool, &sealed).await
}

/// Verifies the log in `pool`'s database against `sealed` alone.
pub async fn verify(pool: &Pool, sealed: &Sealed) -> Result<Report, Impossible> {
    let partitions = sealed.identity().partitions;
    // After the seals were read: so the log has at least what they cover.
    let heads = Log::heads_of(pool, partitions).await?;
    let left = Mutex::new((0..).zip(heads));
    let readers = (0..READERS.min(partitions.unsigned_abs() as usize)).map(|_| read_parts(pool, sealed, &left));
    let mut found: Vec<PartitionReport> = try_join_all(readers).await?.into_iter().flatten().collect();
    found.extend(Log::stray_of(pool, partitions).await?.map(stray));
    Ok(Report::of(sealed, found))
}

async fn read_parts<I: Iterator<Item = (Partition, Position)>>(
    pool: &Pool,
    sealed: &Sealed,
    left: &Mutex<I>,
) -> Result<Vec<PartitionReport>, Impossible> {
    let mut reader = StoredReader::open(pool).await?;
    let mut found = Vec::new();
    let next = || left.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next();
    while let Some((partition, head)) = next() {
        found.push(read_part(&mut reader, Checker::new(sealed, partition), partition, head).await?);
    }
    Ok(found)
}

/// Reads one partition up to `head`, and checks it on a thread beside.
async fn read_part(
    reader: &mut StoredReader,
    checker: Checker,
    partition: Partition,
    head: Position,
) -> Result<PartitionReport, Impossible> {
    let (blocks, incoming) = mpsc::channel(WAITING);
    let checking = tokio::task::spawn_blocking(move || check(checker, incoming));
    let mut after = None;
    while let Some(last) = reader.copy(partition, after, head, RANGE, &blocks).await? {
        after = Some(last);
        if last >= head {
            break;
        }
    }
    drop(blocks);
    Ok(checking.await?)
}

fn check(mut checker: Checker, mut incoming: mpsc::Receiver<StoredRows>) -> PartitionReport {
    while let Some(rows) = incoming.blocking_recv() {
        for row in rows.iter() {
            match row {
                Ok(row) => checker.row(&row),
                Err(unreadable) => checker.unreadable(unreadable.to_string()),
            }
        }
    }
    checker.finish()
}

/// A row where the log has no partition.
fn stray((partition, position): (Partition, Position)) -> PartitionReport {
    let detail = "the log has no such partition".into();
    let bad = Some(BadPosition { position, problem: Problem::Partition, detail, seal: None });
    PartitionReport { partition, events: 1, head: position, sealed_upto: 0, unsealed: None, bad }
}

/// The seals of the database, held against those of the file.
async fn known_seals(pool: &Pool, identity: Identity, outside: &Outside) -> Result<Sealed, Impossible> {
    // The file first: what is in it is in the database before.
    let filed = match outside.file.clone() {
        Some(path) => Some(tokio::task::spawn_blocking(move || read_file(path)).await??),
        None => None,
    };
    let stored = store::all_seals(pool).await?;
    let keys = outside.keys.clone();
    Ok(tokio::task::spawn_blocking(move || compared(identity, &keys, filed, stored)).await?)
}

fn read_file(path: PathBuf) -> Result<Vec<Result<Seal, NoSeal>>, Impossible> {
    file::read(&path).map_err(|error| Impossible::File(path, error))
}

/// What the file has counts; the database only goes on where the file ends.
fn compared(
    identity: Identity,
    keys: &[VerifyingKey],
    filed: Option<Vec<Result<Seal, NoSeal>>>,
    mut stored: Vec<Result<Seal, NoSeal>>,
) -> Sealed {
    let filed = filed.unwrap_or_default();
    let differs = filed.iter().zip(&stored).position(|(filed, stored)| filed != stored);
    let lacks = (filed.len() > stored.len()).then_some(stored.len());
    let rest = if stored.len() > filed.len() { stored.split_off(filed.len()) } else { Vec::new() };
    let number = |at: usize| i64::try_from(at).map_or(i64::MAX, |at| at + 1);
    let sealed = Sealed::read(filed.into_iter().chain(rest), keys, Some(identity));
    let mut sealed = sealed.unwrap_or_else(|| Sealed::nothing(identity));
    if let Some(at) = differs {
        let detail = "the database has another than the file outside it".into();
        sealed.distrust(BadSeal { seal: number(at), detail });
    } else if let Some(at) = lacks {
        let detail = "the file outside the database has it, the database does not: it was set back".into();
        sealed.distrust(BadSeal { seal: number(at), detail });
    }
    sealed
}
