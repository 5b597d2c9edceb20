//! Files with secrets, and files that say who may do what, and the permissions that they must have.

use anyhow::{Context, bail, ensure};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What its group and all others may do with a file that is ours: nothing.
const OWN_FILE_FORBIDDEN_MODE: u32 = 0o077;
/// What they may not with a file of another account's: that we may read it, its group or all others must. A container's secrets
/// are mounted so.
const FOREIGN_FILE_FORBIDDEN_MODE: u32 = 0o027;

/// The permission of a file's group and of all others to write to it.
const OTHERS_WRITE_MODE: u32 = 0o022;

/// Refuses a file of this account's that others may read or change, as `chmod 600` mends it. One of another account's, as
/// secrets are that are mounted into a container, is warned about: this account cannot mend it, and in a container nobody else
/// may be there.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    let there =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (path, mode) = (path.display(), there.mode() & 0o777);
    match judge(&there, crate::postgres::own_uid()) {
        Verdict::Private => Ok(()),
        Verdict::Open => {
            bail!(
                "others than its owner may use the secret in {path}, mode {mode:04o}: run `chmod 600 {path}`"
            )
        }
        Verdict::OpenElsewhere => {
            tracing::warn!(
                "others on this machine may use the secret in {path}, mode {mode:04o}, which is another account's: let Moa's \
                 account own it with mode 0400, or its group read it with mode 0440"
            );
            Ok(())
        }
    }
}

/// Refuses what is no file, which could not be read again, and a file that others than its owner may write to.
pub(crate) fn check_unwritable(path: &Path) -> anyhow::Result<()> {
    let there =
        std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (path, mode) = (path.display(), there.mode() & 0o777);
    ensure!(
        there.is_file(),
        "{path} must be a file, which can be read again when it changes"
    );
    ensure!(
        mode & OTHERS_WRITE_MODE == 0,
        "others than its owner may write to {path}, mode {mode:04o}, and let themselves in: run `chmod go-w {path}`"
    );
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Private,
    Open,
    OpenElsewhere,
}

fn judge(there: &Metadata, own: Option<u32>) -> Verdict {
    // A pipe, as of `<(command)` in a shell, is nobody else's.
    match there.is_file() {
        true => judge_file(there.mode(), own == Some(there.uid())),
        false => Verdict::Private,
    }
}

fn judge_file(mode: u32, ours: bool) -> Verdict {
    match ours {
        true if mode & OWN_FILE_FORBIDDEN_MODE != 0 => Verdict::Open,
        false if mode & FOREIGN_FILE_FORBIDDEN_MODE != 0 => Verdict::OpenElsewhere,
        _ => Verdict::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Open, OpenElsewhere, Private};
    use super::*;

    #[test]
    fn a_file_of_ours_is_for_us_alone_and_a_mounted_one_for_its_group() {
        for (mode, ours, anothers) in [
            (0o600, Private, Private),
            (0o400, Private, Private),
            (0o440, Open, Private),
            (0o640, Open, Private),
            (0o660, Open, OpenElsewhere),
            (0o604, Open, OpenElsewhere),
            (0o444, Open, OpenElsewhere),
            (0o644, Open, OpenElsewhere),
            (0o602, Open, OpenElsewhere),
        ] {
            assert_eq!(
                (judge_file(mode, true), judge_file(mode, false)),
                (ours, anothers),
                "{mode:o}"
            );
        }
    }
}
