//! Which errors pass by themselves.

use sqlx::Error;

/// SQLSTATE classes that are transient: insufficient resources, operator intervention (a statement's time-out is one).
const TRANSIENT_CLASSES: [&str; 2] = ["53", "57"];

/// Whether the database is busy or away, so that the same call may succeed later. Anything else is a bug or a refusal.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::PoolTimedOut | Error::PoolClosed | Error::Io(_) => true,
        Error::Database(refused) => {
            refused.code().is_some_and(|code| TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class)))
        }
        _ => false,
    }
}
