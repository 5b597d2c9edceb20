//! The settings of `moa backup`.

use super::operator::ListOutput;
use crate::secret::Secret;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What is done with backups.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Check that a backup is whole and unchanged up to where it ends, and what a restore of it would lose
    Verify(BackupVerifySettings),
}

/// The settings of `moa backup verify`.
#[derive(Clone, Debug, Args)]
pub struct BackupVerifySettings {
    /// A dump of the database by pg_dump, in the custom, directory or tar format: it is restored into a PostgreSQL of its own for a while
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "database_url",
        conflicts_with = "database_url"
    )]
    pub dump: Option<PathBuf>,
    /// A database that was restored from the backup; it is only read
    #[arg(long, value_name = "URL")]
    pub database_url: Option<Secret>,
    /// The file of seals to compare it with: your own copy
    #[arg(long, value_name = "FILE")]
    pub seals: PathBuf,
    /// The file of seals of acts: your own copy [default: the one beside --seals, with .acts at its end, if there is one]
    #[arg(long, value_name = "FILE")]
    pub act_seals: Option<PathBuf>,
    /// The public key that the seals are made with, a file in PEM; several separated by commas
    #[arg(long, required = true, value_name = "PEM", value_delimiter = ',')]
    pub public_key: Vec<PathBuf>,
    /// How it is shown.
    #[command(flatten)]
    pub output: ListOutput,
}
