//! What a process seals with, and what it knows of seals outside the database.

use crate::database::Database;
use crate::settings::{DatabaseSettings, OutsideSettings, SealSettings, SealerSettings};
use anyhow::Context;
use audit::proof::key::{self, VerifyingKey};
use audit::proof::sealer::Sealing;
use audit::proof::{self, Outside};
use event_log::Log;
use std::path::{Path, PathBuf};

/// The key in the data folder.
const KEY: &str = "seal-key.pem";
/// The file of seals in the data folder.
const SEALS: &str = "seals.ndjson";

/// With what to seal; `None` when nothing is said of it and the database is not a private one, whose data folder has a key
/// and a file, made when they are not there.
pub(super) fn sealing(
    settings: &SealSettings,
    database: &DatabaseSettings,
    private: bool,
) -> anyhow::Result<Option<Sealing>> {
    let earlier = public_keys(&settings.outside)?;
    let named = settings.outside.seals_file.clone();
    if let Some(path) = &settings.seal_key_file {
        let file = named.or_else(|| kept(database, private, SEALS));
        let file = file.context("set MOA_SEALS_FILE too: the file outside the database that seals are added to")?;
        return Ok(Some(Sealing { key: key::signing_key(path)?, earlier, file: Some(file) }));
    }
    if !private {
        return Ok(None);
    }
    let Some(path) = kept(database, private, KEY) else {
        // Nothing outlives the process, the log as little as the key.
        return Ok(Some(Sealing { key: key::fresh_key()?, earlier, file: named }));
    };
    let key = if path.exists() { key::signing_key(&path)? } else { key::make_key(&path)? };
    Ok(Some(Sealing { key, earlier, file: named.or_else(|| kept(database, private, SEALS)) }))
}

fn kept(database: &DatabaseSettings, private: bool, name: &str) -> Option<PathBuf> {
    (private && !database.ephemeral).then(|| database.data_dir.join(name))
}

/// The same for a sealer alone.
pub(super) fn sealing_alone(settings: &SealerSettings) -> anyhow::Result<Sealing> {
    let key = key::signing_key(&settings.seal_key_file)?;
    let earlier = read_all(&settings.seal_public_key_files)?;
    Ok(Sealing { key, earlier, file: Some(settings.seals_file.clone()) })
}

/// What is known where nothing is sealed; `None` without a public key.
pub(super) fn outside(settings: &OutsideSettings) -> anyhow::Result<Option<Outside>> {
    let keys = public_keys(settings)?;
    Ok((!keys.is_empty()).then(|| Outside { file: settings.seals_file.clone(), keys }))
}

/// What a process knows that seals.
pub(super) fn outside_of(sealing: &Sealing) -> Outside {
    let keys = std::iter::once(sealing.key.verifying_key()).chain(sealing.earlier.iter().copied());
    Outside { file: sealing.file.clone(), keys: keys.collect() }
}

/// Takes no writes where the log is behind the seals outside the database. Before anything is decided.
pub(super) async fn compare(log: &Log, outside: Option<&Outside>) -> anyhow::Result<()> {
    match outside {
        Some(outside) => Ok(proof::stop_writes_behind_seals(log, outside).await?),
        None => Ok(()),
    }
}

/// Said once, where nothing is sealed.
pub(super) fn tell_unsealed(database: &Database) {
    tracing::info!(
        "the log is not sealed: moa audit key makes a key; set MOA_SEAL_KEY_FILE and MOA_SEALS_FILE, or run moa serve sealer \
         on {}",
        database.describe()
    );
}

fn public_keys(settings: &OutsideSettings) -> anyhow::Result<Vec<VerifyingKey>> {
    read_all(&settings.seal_public_key_files)
}

fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
    let read = |path: &PathBuf| key::public_key(Path::new(path)).map_err(anyhow::Error::from);
    paths.iter().map(read).collect()
}
