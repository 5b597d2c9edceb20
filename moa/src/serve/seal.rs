//! What a process seals with, and what it knows of seals outside the database.

use crate::database::Database;
use crate::secret_file;
use crate::settings::{DatabaseSettings, OutsideSettings, SealSettings, SealerSettings};
use audit::proof::key::{self, SigningKey, VerifyingKey};
use audit::proof::sealer::Sealing;
use audit::proof::{self, Outside};
use event_log::Log;
use std::path::{Path, PathBuf};

/// The key in the data folder.
const KEY: &str = "seal-key.pem";
/// The file of seals in the data folder.
const SEALS: &str = "seals.ndjson";

/// The keys that are named, read.
pub(super) struct Keys {
    named: Option<SigningKey>,
    earlier: Vec<VerifyingKey>,
}

/// Reads the keys that are named, and sees that a file for the seals is named or made.
pub(super) fn keys(settings: &SealSettings, database: &DatabaseSettings) -> anyhow::Result<Keys> {
    let named = settings.seal_key_file.as_deref().map(signing_key).transpose()?;
    let has_file = settings.outside.seals_file.is_some() || kept(database, SEALS).is_some();
    anyhow::ensure!(
        named.is_none() || has_file,
        "set MOA_SEALS_FILE too: the file outside the database that seals are added to"
    );
    Ok(Keys { named, earlier: public_keys(&settings.outside)? })
}

/// With what to seal; `None` when nothing is said of it and the database is not a private one, whose data folder has a key
/// and a file, made when they are not there.
pub(super) fn sealing(
    Keys { named, earlier }: Keys,
    outside: &OutsideSettings,
    database: &DatabaseSettings,
) -> anyhow::Result<Option<Sealing>> {
    let key = match named {
        Some(key) => key,
        None if !is_private(database) => return Ok(None),
        None => made_key(database)?,
    };
    Ok(Some(Sealing { key, earlier, file: outside.seals_file.clone().or_else(|| kept(database, SEALS)) }))
}

/// The data folder's, made the first time; where nothing outlives the process, the key as little as the log.
fn made_key(database: &DatabaseSettings) -> anyhow::Result<SigningKey> {
    match kept(database, KEY) {
        Some(path) if path.exists() => signing_key(&path),
        Some(path) => Ok(key::make_key(&path)?),
        None => Ok(key::fresh_key()?),
    }
}

fn signing_key(path: &Path) -> anyhow::Result<SigningKey> {
    secret_file::check(path)?;
    Ok(key::signing_key(path)?)
}

fn is_private(database: &DatabaseSettings) -> bool {
    database.database_url.is_none()
}

fn kept(database: &DatabaseSettings, name: &str) -> Option<PathBuf> {
    (is_private(database) && !database.ephemeral).then(|| database.data_dir.join(name))
}

/// The same for a sealer alone.
pub(super) fn sealing_alone(settings: &SealerSettings) -> anyhow::Result<Sealing> {
    let key = signing_key(&settings.seal_key_file)?;
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
