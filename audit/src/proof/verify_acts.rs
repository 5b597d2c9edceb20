//! Verification of the record of acts in its database.

use super::act_seal_store;
use super::external_seals::ExternalSeals;
use super::verify_error::VerifyError;
use connection_pool::Pool;
use event_log::acts;
use proof::act::ActChecker;
use proof::act_seal::ActSeal;
use proof::act_seal_chain::ValidActSeals;
use proof::report::ActsReport;
use proof::seal::SealParseError;
use proof::seal_chain::BadSeal;
use proof::seals_file;
use std::io::ErrorKind;
use std::path::Path;
use uuid::Uuid;

/// Rows that are read at once.
const ACTS_PER_READ: i64 = 1_000;

type ReadSeals = Vec<Result<ActSeal, SealParseError>>;

/// Verifies the record of acts of the log `log` against `sealed` alone; `None` in a database of a release that had none.
///
/// # Errors
/// The database cannot be read.
pub async fn verify_acts(
    pool: &Pool,
    log: Uuid,
    sealed: &ValidActSeals,
) -> Result<Option<ActsReport>, VerifyError> {
    let exists: bool = sqlx::query_scalar("select to_regclass('acts') is not null")
        .fetch_one(pool)
        .await?;
    if !exists {
        return Ok(None);
    }
    let (mut checker, mut after) = (ActChecker::new(log, sealed), i64::MIN);
    loop {
        let page = acts::read_after(pool, after, ACTS_PER_READ).await?;
        page.iter().for_each(|act| checker.row(act));
        match page.last() {
            Some(last) if page.len() == ACTS_PER_READ as usize => after = last.number,
            _ => return Ok(Some(checker.finish())),
        }
    }
}

/// The seals of acts that the database has and those of the file outside it.
pub(super) async fn known_seals(
    pool: &Pool,
    log: Uuid,
    outside: Option<&ExternalSeals>,
) -> Result<ValidActSeals, VerifyError> {
    let Some(outside) = outside else {
        return Ok(ValidActSeals::none(log));
    };
    // The file first: what is in it is in the database before.
    let filed = match outside.file.clone() {
        Some(path) => {
            tokio::task::spawn_blocking(move || read_file(&seals_file::acts_path(&path))).await??
        }
        None => Vec::new(),
    };
    let exists: bool = sqlx::query_scalar("select to_regclass('act_seals') is not null")
        .fetch_one(pool)
        .await?;
    let stored = if exists {
        act_seal_store::all_seals(pool).await?
    } else {
        Vec::new()
    };
    let keys = outside.keys.clone();
    Ok(tokio::task::spawn_blocking(move || merge(log, &keys, filed, stored)).await?)
}

/// The seals in the file; none where there is no file yet.
fn read_file(path: &Path) -> Result<ReadSeals, VerifyError> {
    match seals_file::read_acts(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| VerifyError::File(path.to_owned(), error)),
    }
}

/// The file's seals, then those that only the database has, which must continue them.
fn merge(
    log: Uuid,
    keys: &[proof::key::VerifyingKey],
    filed: ReadSeals,
    mut stored: ReadSeals,
) -> ValidActSeals {
    let number = |at: usize| i64::try_from(at).map_or(i64::MAX, |at| at + 1);
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
    let mut sealed = ValidActSeals::read(log, filed.into_iter().chain(rest), keys);
    if let Some(at) = differs {
        let detail = "the database has another than the file outside it".into();
        sealed.reject(BadSeal {
            seal: number(at),
            detail,
        });
    } else if let Some(at) = lacks {
        let detail =
            "the file outside the database has it, the database does not: it was set back".into();
        sealed.reject(BadSeal {
            seal: number(at),
            detail,
        });
    }
    sealed
}
