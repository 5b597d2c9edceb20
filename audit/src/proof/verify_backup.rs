//! Verification of a database that was restored from a backup, before it is used.

use super::verify_error::VerifyError;
use super::verify_live::verify_all;
use super::{act_seal_store, seal_store};
use connection_pool::Pool;
use event_log::{Identity, Log};
use proof::act_seal::ActSeal;
use proof::act_seal_chain::ValidActSeals;
use proof::backup::{BackupReport, OwnSeals};
use proof::key::VerifyingKey;
use proof::seal::{Seal, SealParseError};
use proof::seal_chain::{BadSeal, ValidSeals};

/// What the lines of a file of seals are.
type Lines<T> = Vec<Result<T, SealParseError>>;

/// Compares the log in `pool`'s database and its record of acts with the seals of the auditor's files, which may go further; nothing is
/// written. The database's own seals must be those of the files as far as both go, and what they cover must be there.
///
/// # Errors
/// The database cannot be read, or has no log. That says nothing about it.
pub async fn verify_backup(
    pool: &Pool,
    (filed, filed_acts): (Lines<Seal>, Lines<ActSeal>),
    keys: &[VerifyingKey],
) -> Result<BackupReport, VerifyError> {
    let identity = Log::identity_of(pool).await?.ok_or(VerifyError::NoLog)?;
    let (own, own_acts) = (
        seal_store::all_seals(pool).await?,
        act_seal_store::all_seals(pool).await?,
    );
    let (common, common_acts) = (common(&own, &filed), common(&own_acts, &filed_acts));
    let shared = valid(filed[..common].to_vec(), keys, identity);
    let shared_acts =
        ValidActSeals::read(identity.log_id, filed_acts[..common_acts].to_vec(), keys);
    let of_another = |common| BadSeal {
        seal: number_after(common),
        detail: "the backup has another than the file".into(),
    };
    let differs = common < own.len().min(filed.len());
    let acts_differ = common_acts < own_acts.len().min(filed_acts.len());
    let mut sealed = valid(filed, keys, identity);
    let mut act_seals = ValidActSeals::read(identity.log_id, filed_acts, keys);
    differs.then(|| sealed.reject_from(of_another(common)));
    acts_differ.then(|| act_seals.reject(of_another(common_acts)));
    let found = verify_all(pool, &sealed, &act_seals).await?;
    if found.acts.is_none() {
        return Err(VerifyError::NoActs);
    }
    let ends = Log::head_times_of(pool, identity.partitions).await?;
    let own = OwnSeals {
        events: sealed_upto(&shared),
        acts: shared_acts.sealed_to(),
    };
    Ok(BackupReport::of(found, (&sealed, &act_seals), &own, &ends))
}

fn valid(seals: Lines<Seal>, keys: &[VerifyingKey], identity: Identity) -> ValidSeals {
    ValidSeals::read(seals, keys, Some(identity)).unwrap_or_else(|| ValidSeals::none(identity))
}

/// How many seals both begin with.
fn common<T: PartialEq>(own: &[T], filed: &[T]) -> usize {
    own.iter()
        .zip(filed)
        .take_while(|(own, filed)| own == filed)
        .count()
}

fn number_after(seals: usize) -> i64 {
    i64::try_from(seals).map_or(i64::MAX, |seals| seals + 1)
}

fn sealed_upto(seals: &ValidSeals) -> Vec<i64> {
    let last = |partition| {
        seals
            .of(partition)
            .last()
            .map_or(0, |seal| seal.statement.last)
    };
    (0..seals.identity().partitions).map(last).collect()
}
