//! Verification of a log in its database.

use super::external_seals::ExternalSeals;
use super::verify_error::VerifyError;
use super::{seal_store, verify_acts};
use connection_pool::Pool;
use event_log::{Identity, Log, Partition, Position, RawReader, RawRows};
use futures::future::try_join_all;
use proof::act_seal_chain::ValidActSeals;
use proof::chain_check::Checker;
use proof::key::VerifyingKey;
use proof::report::{BadPosition, PartitionReport, Problem, Report};
use proof::seal::{Seal, SealParseError};
use proof::seal_chain::{BadSeal, ValidSeals};
use proof::seals_file;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Partitions that are read at once, each over a connection of its own.
pub const CONCURRENT_PARTITIONS: usize = 2;
/// Rows that one statement reads at most: well under a second's worth.
const ROWS_PER_READ: Position = 50_000;
/// Blocks of rows that wait to be checked.
const MAX_QUEUED_BLOCKS: usize = 4;

/// Verifies the log and its record of acts in `pool`'s database against the seals that it has itself and those outside it.
pub async fn verify_live(
    pool: &Pool,
    outside: Option<&ExternalSeals>,
) -> Result<Report, VerifyError> {
    let identity = Log::identity_of(pool).await?.ok_or(VerifyError::NoLog)?;
    let sealed = match outside {
        Some(outside) => known_seals(pool, identity, outside).await?,
        None => ValidSeals::none(identity),
    };
    let act_seals = verify_acts::known_seals(pool, identity.log_id, outside).await?;
    verify_all(pool, &sealed, &act_seals).await
}

/// Verifies the log and its record of acts in `pool`'s database against these seals alone.
pub async fn verify_all(
    pool: &Pool,
    sealed: &ValidSeals,
    act_seals: &ValidActSeals,
) -> Result<Report, VerifyError> {
    let report = verify(pool, sealed).await?;
    Ok(
        match verify_acts::verify_acts(pool, sealed.identity().log_id, act_seals).await? {
            Some(acts) => report.with_acts(acts, act_seals),
            None => report,
        },
    )
}

/// Verifies the log in `pool`'s database against `sealed` alone.
pub async fn verify(pool: &Pool, sealed: &ValidSeals) -> Result<Report, VerifyError> {
    let partitions = sealed.identity().partitions;
    // After the seals were read: so the log has at least what they cover.
    let heads = Log::heads_of(pool, partitions).await?;
    let left = Mutex::new((0..).zip(heads));
    let readers = (0..CONCURRENT_PARTITIONS.min(partitions.unsigned_abs() as usize))
        .map(|_| verify_partitions(pool, sealed, &left));
    let mut found: Vec<PartitionReport> =
        try_join_all(readers).await?.into_iter().flatten().collect();
    found.extend(Log::stray_of(pool, partitions).await?.map(stray));
    Ok(Report::of(sealed, found))
}

async fn verify_partitions<I: Iterator<Item = (Partition, Position)>>(
    pool: &Pool,
    sealed: &ValidSeals,
    left: &Mutex<I>,
) -> Result<Vec<PartitionReport>, VerifyError> {
    let mut reader = RawReader::open(pool).await?;
    let mut found = Vec::new();
    let next = || {
        left.lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .next()
    };
    while let Some((partition, head)) = next() {
        found.push(
            verify_partition(
                &mut reader,
                Checker::new(sealed, partition),
                partition,
                head,
            )
            .await?,
        );
    }
    Ok(found)
}

/// Reads one partition up to `head`, and checks it on another thread.
async fn verify_partition(
    reader: &mut RawReader,
    checker: Checker,
    partition: Partition,
    head: Position,
) -> Result<PartitionReport, VerifyError> {
    let (blocks, incoming) = mpsc::channel(MAX_QUEUED_BLOCKS);
    let checking = tokio::task::spawn_blocking(move || check(checker, incoming));
    let mut after = None;
    while let Some(last) = reader
        .copy(partition, after, head, ROWS_PER_READ, &blocks)
        .await?
    {
        after = Some(last);
        if last >= head {
            break;
        }
    }
    drop(blocks);
    Ok(checking.await?)
}

fn check(mut checker: Checker, mut incoming: mpsc::Receiver<RawRows>) -> PartitionReport {
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
    let bad = Some(BadPosition {
        position,
        problem: Problem::Partition,
        detail,
        seal: None,
    });
    PartitionReport {
        partition,
        events: 1,
        head: position,
        sealed_upto: 0,
        unsealed: None,
        bad,
    }
}

/// The seals of the database, merge with those of the file.
async fn known_seals(
    pool: &Pool,
    identity: Identity,
    outside: &ExternalSeals,
) -> Result<ValidSeals, VerifyError> {
    // The file first: what is in it is in the database before.
    let filed = match outside.file.clone() {
        Some(path) => Some(tokio::task::spawn_blocking(move || read_file(path)).await??),
        None => None,
    };
    let stored = seal_store::all_seals(pool).await?;
    let keys = outside.keys.clone();
    Ok(tokio::task::spawn_blocking(move || merge(identity, &keys, filed, stored)).await?)
}

fn read_file(path: PathBuf) -> Result<Vec<Result<Seal, SealParseError>>, VerifyError> {
    seals_file::read(&path).map_err(|error| VerifyError::File(path, error))
}

/// The file's seals, then those that only the database has, which must continue them.
fn merge(
    identity: Identity,
    keys: &[VerifyingKey],
    filed: Option<Vec<Result<Seal, SealParseError>>>,
    mut stored: Vec<Result<Seal, SealParseError>>,
) -> ValidSeals {
    let filed = filed.unwrap_or_default();
    let differs = filed
        .iter()
        .zip(&stored)
        .position(|(filed, stored)| filed != stored);
    let lacks = (filed.len() > stored.len()).then_some(stored.len());
    let rest = if stored.len() > filed.len() {
        stored.split_off(filed.len())
    } else {
        Vec::new()
    };
    let number = |at: usize| i64::try_from(at).map_or(i64::MAX, |at| at + 1);
    let sealed = ValidSeals::read(filed.into_iter().chain(rest), keys, Some(identity));
    let mut sealed = sealed.unwrap_or_else(|| ValidSeals::none(identity));
    if let Some(at) = differs {
        let detail = "the database has another than the file outside it".into();
        sealed.reject_from(BadSeal {
            seal: number(at),
            detail,
        });
    } else if let Some(at) = lacks {
        let detail =
            "the file outside the database has it, the database does not: it was set back".into();
        sealed.reject_from(BadSeal {
            seal: number(at),
            detail,
        });
    }
    sealed
}
