//! Moa's data folder: its place, its permissions, and the lock that admits one Moa at a time.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use uuid::Uuid;

use super::Options;
use super::account::Account;

/// The file that is locked while a Moa uses the folder.
const LOCK_FILE: &str = "moa.lock";

/// The permission bits of everybody but the owner.
const OTHERS_MODE_BITS: u32 = 0o077;

/// A data folder in use by this process.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
    /// Closing it gives the lock back; the kernel does when the process dies.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, sees that PostgreSQL's account reaches it, and locks it.
    pub(super) async fn open(
        root: PathBuf,
        ephemeral: bool,
        account: Account,
    ) -> anyhow::Result<Folder> {
        make(&root, account)?;
        let opened = async {
            if ephemeral {
                // The watchdog removes it as that account.
                account.give(&root)?;
            }
            account.check_reach(&root).await?;
            lock(&root)
        };
        match opened.await {
            Ok(lock) => Ok(Folder { root, _lock: lock }),
            Err(error) => {
                if ephemeral {
                    std::fs::remove_dir_all(&root).ok();
                }
                Err(error)
            }
        }
    }
}

/// The data folder's absolute path; a new one under the temporary folder for ephemeral data.
pub(super) fn root_of(options: &Options) -> anyhow::Result<PathBuf> {
    if options.ephemeral {
        return Ok(std::path::absolute(std::env::temp_dir())?
            .join(format!("moa-{}", Uuid::now_v7().simple())));
    }
    let path = &options.data_dir;
    let root = std::path::absolute(path)
        .with_context(|| format!("{} is no path for --data-dir", path.display()))?;
    // PostgreSQL writes it into files line by line.
    let lasts = root
        .to_str()
        .is_some_and(|path| !path.contains(char::is_control));
    ensure!(
        lasts,
        "{root:?} cannot be a data folder: choose another --data-dir, in UTF-8 and without line breaks"
    );
    Ok(root)
}

/// `moa` in the folder that a variable names, else in that part of the home folder, else `.moa` here.
pub(super) fn of_user(variable: &str, below_home: &str) -> PathBuf {
    let named = std::env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let parent = named.or_else(|| std::env::home_dir().map(|home| home.join(below_home)));
    parent.map_or_else(|| PathBuf::from(".moa"), |parent| parent.join("moa"))
}

/// Others may pass through only where PostgreSQL's account is one of them.
fn make(root: &Path, account: Account) -> anyhow::Result<()> {
    if root.is_dir() {
        return Ok(());
    }
    let mode = if account == Account::Own {
        0o700
    } else {
        0o711
    };
    let made = DirBuilder::new().recursive(true).create(root);
    let made = made.and_then(|()| std::fs::set_permissions(root, Permissions::from_mode(mode)));
    made.with_context(|| {
        format!(
            "cannot make the data folder {}, choose another --data-dir",
            root.display()
        )
    })
}

/// Makes a folder that only `account` can enter, or checks that the one there is such: under `/tmp` anybody may have
/// made it.
pub(super) fn make_private(folder: &Path, account: Account) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => account.give(folder),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let there = std::fs::symlink_metadata(folder)?;
            let private = there.is_dir()
                && there.mode() & OTHERS_MODE_BITS == 0
                && Some(there.uid()) == account.uid();
            ensure!(
                private,
                "{} is not private to PostgreSQL's account: remove it",
                folder.display()
            );
            Ok(())
        }
        Err(error) => Err(error).with_context(|| format!("cannot make {}", folder.display())),
    }
}

fn lock(root: &Path) -> anyhow::Result<File> {
    let path = root.join(LOCK_FILE);
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut file = file
        .with_context(|| format!("cannot write {}, choose another --data-dir", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => bail!(in_use(root, &mut file)),
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| {
                format!("cannot lock {}, choose another --data-dir", path.display())
            });
        }
    }
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())?;
    Ok(file)
}

fn in_use(root: &Path, lock: &mut File) -> String {
    let mut holder = String::new();
    // Only for the sentence, which is right without it.
    lock.read_to_string(&mut holder).ok();
    let pid = holder.trim();
    format!(
        "Moa already runs on {} as process {pid}: stop it, or choose another --data-dir",
        root.display()
    )
}
