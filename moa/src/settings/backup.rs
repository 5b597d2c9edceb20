//! The settings of `moa backup`.

use crate::backup::BackupVerifySettings;
use clap::Subcommand;

/// What is done with backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Check that a backup is whole and unchanged up to where it ends, and what a restore of it would lose
    Verify(BackupVerifySettings),
}
