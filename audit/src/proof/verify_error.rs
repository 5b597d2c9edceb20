//! Why a verification could not be done.

use event_log::LogError;
use std::path::PathBuf;

/// A verification could not be done. That says nothing about the log.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The database cannot be read.
    #[error("the database cannot be read")]
    Database(#[from] sqlx::Error),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// There is no log.
    #[error("the database has no log")]
    NoLog,
    /// There is no record of acts.
    #[error(
        "the database has no record of acts: it was taken away, or made by a release that had none"
    )]
    NoActs,
    /// The file of seals cannot be read.
    #[error("the file of seals {0} cannot be read: {1}")]
    File(PathBuf, std::io::Error),
    /// A part of it was cancelled.
    #[error("the verification did not come to its end")]
    Cancelled(#[from] tokio::task::JoinError),
}
