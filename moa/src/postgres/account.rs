//! The account and the environment that PostgreSQL runs in. It refuses root, so root hands it to an unprivileged account.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::process::Command;

/// The accounts root may hand PostgreSQL to, best first: the one its packages make, and the one every system has.
const UNPRIVILEGED_ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// Entering a folder takes no time, unless a network drive hangs.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

/// Where programs are when `PATH` does not say it.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The account that PostgreSQL's programs run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Moa's own.
    Own,
    /// Another one, which only root can choose.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// The account for a cluster: as root the owner of the one that is there, else an unprivileged one.
    pub(super) fn owning(cluster: &Path) -> anyhow::Result<Account> {
        if !is_root() {
            return Ok(Account::Own);
        }
        // The owner and not a name, because `postgres` appears when somebody installs a package later.
        match std::fs::metadata(cluster) {
            Ok(there) => Ok(Account::Other {
                uid: there.uid(),
                gid: there.gid(),
            }),
            Err(_) => unprivileged(),
        }
    }

    pub(super) fn uid(self) -> Option<u32> {
        match self {
            Account::Own => own_uid(),
            Account::Other { uid, .. } => Some(uid),
        }
    }

    /// A command of this account, with nothing of Moa's environment but `PATH`: its tokens and passwords are not for others,
    /// and no variable redirects or translates PostgreSQL's tools.
    pub(super) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::from(clean(program));
        command.kill_on_drop(true);
        if let Account::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Makes this account the owner of a path.
    pub(super) fn give(self, path: &Path) -> anyhow::Result<()> {
        match self {
            Account::Own => Ok(()),
            Account::Other { uid, gid } => chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot give {} to PostgreSQL's account", path.display())),
        }
    }

    /// Refuses a folder that this account cannot enter, and names the parent that keeps it out.
    pub(super) async fn check_reach(self, folder: &Path) -> anyhow::Result<()> {
        let Account::Other { uid, .. } = self else {
            return Ok(());
        };
        if self.can_enter(folder).await? {
            return Ok(());
        }
        let mut barrier: PathBuf = folder.to_owned();
        for parent in folder.ancestors().skip(1) {
            if self.can_enter(parent).await? {
                break;
            }
            parent.clone_into(&mut barrier);
        }
        bail!(
            "PostgreSQL does not run as root, and user {uid}, whom it runs as, cannot enter {}: run \
             `chmod o+x {}` or choose another --data-dir",
            barrier.display(),
            barrier.display(),
        )
    }

    async fn can_enter(self, folder: &Path) -> anyhow::Result<bool> {
        let mut enter = self.command("/bin/sh");
        enter
            .args(["-c", r#"cd "$1""#, "sh"])
            .arg(folder)
            .stderr(Stdio::null());
        let status = tokio::time::timeout(REACH_TIMEOUT, enter.status()).await;
        let status = status.with_context(|| format!("{} does not answer", folder.display()))?;
        Ok(status.context("cannot run /bin/sh")?.success())
    }
}

/// Runs a command to its end and returns what it printed.
///
/// The error is the last line it printed to stderr, which with PostgreSQL's tools and pip says what is wrong.
pub(super) async fn run(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let program = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let output = tokio::time::timeout(limit, command.output()).await;
    let output =
        output.with_context(|| format!("{program} took longer than {} s", limit.as_secs()))?;
    let output = output.with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("no reason given");
    ensure!(output.status.success(), "{program} failed: {}", last.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether this process is root.
pub(super) fn is_root() -> bool {
    own_uid() == Some(0)
}

fn unprivileged() -> anyhow::Result<Account> {
    let found = UNPRIVILEGED_ACCOUNTS.iter().find_map(|name| {
        let (uid, gid) = (id(&["-u", name])?, id(&["-g", name])?);
        Some(Account::Other { uid, gid })
    });
    found.context(
        "PostgreSQL does not run as root, and there is no account `postgres` or `nobody` to run it as: run Moa as an \
         ordinary user or set DATABASE_URL",
    )
}

/// What `id` prints; asked of a program, because the system call is not in the standard library.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = clean("id")
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

/// Every program that Moa starts begins here: from `/`, without input, and in an environment that has `PATH` and no more.
fn clean(program: impl AsRef<OsStr>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command
        .stdin(Stdio::null())
        .current_dir("/")
        .env_clear()
        .env("PATH", search_path())
        .env("LC_ALL", "C");
    command
}

fn search_path() -> OsString {
    let joined = std::env::join_paths(program_folders()).unwrap_or_default();
    if joined.is_empty() {
        DEFAULT_PATH.into()
    } else {
        joined
    }
}

/// The folders of `PATH`, without those that depend on the current folder: whoever may write there chooses what is in it.
pub(super) fn program_folders() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .collect()
}

/// The user that this process is; none where that cannot be found out.
pub(crate) fn own_uid() -> Option<u32> {
    id(&["-u"])
}
