//! Chooses a PostgreSQL: the newest installed one that fits the cluster, else the downloaded one.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use super::account::{self, Account};
use super::{data_folder, fetch};

/// The oldest major version that is tried; older ones are passed over.
const OLDEST_MAJOR: u32 = 15;

/// Printing a version takes milliseconds; a first run from a cold disk a little longer.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// What a folder of server binaries must hold to be one.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Folders that hold one folder per version, and the part of the path below that.
const VERSIONED_FOLDERS: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
];

/// The places where PostgreSQL is searched.
#[derive(Clone, Debug)]
pub struct Search {
    /// Folders that may hold an installed PostgreSQL's programs.
    pub folders: Vec<PathBuf>,
    /// The folder that a fetched PostgreSQL is kept in, for every data folder.
    pub cache: PathBuf,
}

impl Search {
    /// The absolute folders in `PATH`, the versioned folders of Debian, Red Hat and Homebrew; the cache is `/var/cache/moa` as root, else `moa`
    /// in `XDG_CACHE_HOME` or `~/.cache`.
    ///
    /// # Errors
    /// The current folder is gone and no home folder is known.
    pub fn of_this_machine() -> anyhow::Result<Search> {
        let mut folders = account::program_folders();
        folders.extend(
            VERSIONED_FOLDERS
                .iter()
                .flat_map(|(parent, prefix, below)| versions_in(parent, prefix, below)),
        );
        let cache = if account::is_root() {
            PathBuf::from("/var/cache/moa")
        } else {
            data_folder::of_user("XDG_CACHE_HOME", ".cache")
        };
        let cache =
            std::path::absolute(cache).context("the current folder is gone, change to another")?;
        Ok(Search { folders, cache })
    }
}

fn versions_in(parent: &str, prefix: &str, below: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let fitting = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    fitting.map(|entry| entry.path().join(below)).collect()
}

/// A PostgreSQL whose programs run on this machine, as this account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    /// As in 15.20; the second part is 0 for a version not yet released.
    pub(super) version: (u32, u32),
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Asks the server program itself, which also proves that it runs.
    async fn probe(folder: &Path, account: Account) -> Option<Binaries> {
        // Only the real path has its neighbours: a package may link some of its programs into PATH.
        let folder = folder
            .join("pg_ctl")
            .canonicalize()
            .ok()?
            .parent()?
            .to_owned();
        if !PROGRAMS.iter().all(|name| folder.join(name).is_file())
            || has_meaning_to_a_shell(&folder)
        {
            return None;
        }
        let mut ask = account.command(folder.join("postgres"));
        let said = account::run(ask.arg("--version"), VERSION_TIMEOUT)
            .await
            .ok()?;
        let version = parse_version(&said)?;
        Some(Binaries { folder, version })
    }
}

/// `initdb` and `pg_ctl` put the path of their programs between double quotes and hand it to a shell.
fn has_meaning_to_a_shell(folder: &Path) -> bool {
    folder
        .to_str()
        .is_none_or(|path| path.contains(['"', '\\', '$', '`', '\n']))
}

/// The binaries for a new cluster, or for one whose `PG_VERSION` is given.
pub(super) async fn choose(
    search: &Search,
    account: Account,
    recorded: Option<&str>,
) -> anyhow::Result<Binaries> {
    let installed = installed(search, account).await;
    let fits =
        |binaries: &&Binaries| recorded.is_none_or(|major| major == binaries.version.0.to_string());
    if let Some(newest) = installed
        .iter()
        .filter(fits)
        .max_by_key(|binaries| binaries.version)
    {
        return Ok(newest.clone());
    }
    match recorded {
        Some(major) if major != fetch::MAJOR.to_string() => bail!(mismatch(major, &installed)),
        _ => fetched(search, account).await,
    }
}

async fn installed(search: &Search, account: Account) -> Vec<Binaries> {
    let mut found: Vec<Binaries> = Vec::new();
    for folder in &search.folders {
        match Binaries::probe(folder, account).await {
            Some(one) if one.version.0 >= OLDEST_MAJOR && !found.contains(&one) => found.push(one),
            _ => {}
        }
    }
    found
}

async fn fetched(search: &Search, account: Account) -> anyhow::Result<Binaries> {
    let folder = fetch::find_or_fetch(&search.cache, account).await?;
    account.check_reach(&folder).await?;
    let binaries = Binaries::probe(&folder, account).await;
    binaries.with_context(|| {
        format!(
            "the PostgreSQL fetched into {} does not run on this machine: set DATABASE_URL or install PostgreSQL \
             {OLDEST_MAJOR} or newer",
            folder.display()
        )
    })
}

fn mismatch(recorded: &str, installed: &[Binaries]) -> String {
    let found = match installed.iter().max_by_key(|binaries| binaries.version) {
        Some(newest) => format!("the newest one found is {}", newest.version.0),
        None => "none is installed".to_owned(),
    };
    format!(
        "the data folder belongs to PostgreSQL {recorded} and {found}: install PostgreSQL {recorded}, choose another \
         --data-dir or set DATABASE_URL"
    )
}

/// Reads `postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn parse_version(said: &str) -> Option<(u32, u32)> {
    let version = said
        .split_once("(PostgreSQL)")?
        .1
        .split_whitespace()
        .next()?;
    let digits = |part: &str| {
        part.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((
        digits(major).parse().ok()?,
        digits(minor).parse().unwrap_or(0),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_released_and_as_beta() {
        for (said, version) in [
            (
                "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n",
                Some((15, 20)),
            ),
            ("postgres (PostgreSQL) 18.6\n", Some((18, 6))),
            ("postgres (PostgreSQL) 19beta1\n", Some((19, 0))),
            ("something else 4.2\n", None),
        ] {
            assert_eq!(parse_version(said), version, "{said}");
        }
    }

    #[test]
    fn a_mismatch_names_both_versions_and_the_ways_out() {
        let other = Binaries {
            folder: PathBuf::new(),
            version: (16, 4),
        };
        assert_eq!(
            mismatch("12", &[other]),
            "the data folder belongs to PostgreSQL 12 and the newest one found is 16: install PostgreSQL 12, choose \
             another --data-dir or set DATABASE_URL"
        );
    }
}
