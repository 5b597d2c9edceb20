//! The keys and files that a process seals with, and the seals outside the database that it compares the log with.

use crate::database::Database;
use crate::secret_file;
use crate::settings::{DatabaseSettings, ExternalSealsSettings, SealSettings, SealerSettings};
use anyhow::Context as _;
use audit::proof::sealer::Sealing;
use audit::proof::{ExternalSeals, stop_writes_behind_seals};
use event_log::Log;
use proof::key::{self, SigningKey, VerifyingKey};
use std::path::{Path, PathBuf};

/// The key in the data folder.
const KEY_FILE: &str = "seal-key.pem";
/// The file of seals in the data folder.
const SEALS_FILE: &str = "seals.ndjson";

/// The keys that are named, read.
pub(super) struct Keys {
    named: Option<SigningKey>,
    earlier: Vec<VerifyingKey>,
}

/// Reads the keys that are named, and sees that a file for the seals is named or made.
pub(super) fn keys(settings: &SealSettings, database: &DatabaseSettings) -> anyhow::Result<Keys> {
    let named = settings
        .seal_key_file
        .as_deref()
        .map(signing_key)
        .transpose()
        .context("MOA_SEAL_KEY_FILE")?;
    let has_file = settings.outside.seals_file.is_some() || kept(database, SEALS_FILE).is_some();
    anyhow::ensure!(
        named.is_none() || has_file,
        "set MOA_SEALS_FILE too: the file outside the database that seals are added to"
    );
    Ok(Keys {
        named,
        earlier: public_keys(&settings.outside)?,
    })
}

/// The key and the file to seal with; `None` when neither is set and the database is not a private one, whose data folder has a
/// key and a file, created when they are missing.
pub(super) fn sealing(
    Keys { named, earlier }: Keys,
    outside: &ExternalSealsSettings,
    database: &DatabaseSettings,
) -> anyhow::Result<Option<Sealing>> {
    let key = match named {
        Some(key) => key,
        None if !is_private(database) => return Ok(None),
        None => load_or_create_key(database)?,
    };
    Ok(Some(Sealing {
        key,
        earlier,
        file: outside
            .seals_file
            .clone()
            .or_else(|| kept(database, SEALS_FILE)),
    }))
}

/// The data folder's key, created the first time; an ephemeral database gets an ephemeral key.
fn load_or_create_key(database: &DatabaseSettings) -> anyhow::Result<SigningKey> {
    match kept(database, KEY_FILE) {
        Some(path) if path.exists() => signing_key(&path),
        Some(path) => Ok(key::create_key(&path)?),
        None => Ok(key::generate_key()?),
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
pub(super) fn sealing_of_service(settings: &SealerSettings) -> anyhow::Result<Sealing> {
    let key = signing_key(&settings.seal_key_file).context("MOA_SEAL_KEY_FILE")?;
    let earlier = read_all(&settings.seal_public_key_files)?;
    Ok(Sealing {
        key,
        earlier,
        file: Some(settings.seals_file.clone()),
    })
}

/// The external seals of a process that seals nothing; `None` without a public key.
pub(super) fn outside(settings: &ExternalSealsSettings) -> anyhow::Result<Option<ExternalSeals>> {
    let keys = public_keys(settings)?;
    Ok((!keys.is_empty()).then(|| ExternalSeals {
        file: settings.seals_file.clone(),
        keys,
    }))
}

/// The external seals of a process that seals.
pub(super) fn external_seals_of(sealing: &Sealing) -> ExternalSeals {
    let keys = std::iter::once(sealing.key.verifying_key()).chain(sealing.earlier.iter().copied());
    ExternalSeals {
        file: sealing.file.clone(),
        keys: keys.collect(),
    }
}

/// Stops writes where the log is behind the seals outside the database. Call it before anything is decided.
pub(super) async fn compare(log: &Log, outside: Option<&ExternalSeals>) -> anyhow::Result<()> {
    match outside {
        Some(outside) => Ok(stop_writes_behind_seals(log, outside).await?),
        None => Ok(()),
    }
}

/// Logged once, where nothing is sealed.
pub(super) fn log_unsealed(database: &Database) {
    tracing::info!(
        "the log is not sealed: moa audit key makes a key; set MOA_SEAL_KEY_FILE and MOA_SEALS_FILE, or run moa serve sealer \
         on {}",
        database.describe()
    );
}

fn public_keys(settings: &ExternalSealsSettings) -> anyhow::Result<Vec<VerifyingKey>> {
    read_all(&settings.seal_public_key_files)
}

fn read_all(paths: &[PathBuf]) -> anyhow::Result<Vec<VerifyingKey>> {
    let read = |path: &PathBuf| key::public_key(Path::new(path)).map_err(anyhow::Error::from);
    paths
        .iter()
        .map(read)
        .collect::<anyhow::Result<_>>()
        .context("MOA_SEAL_PUBLIC_KEY_FILES")
}
