//! The seals outside the database, which whoever changes the database does not change with it.

use proof::key::VerifyingKey;
use std::path::PathBuf;

/// The seals outside the database.
#[derive(Clone, Debug)]
pub struct ExternalSeals {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// The keys that seals are made with.
    pub keys: Vec<VerifyingKey>,
}
