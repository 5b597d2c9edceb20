//! Which errors pass by themselves.

use sqlx::Error;

/// How the SQLSTATEs begin that are transient: insufficient resources, operator intervention (a statement's time-out is one), and a
/// lock that could not be had in time.
const TRANSIENT_STATES: [&str; 3] = ["53", "57", "55P03"];

/// Whether no connection could be had, or the one that was had broke.
pub fn is_unreachable(error: &Error) -> bool {
    matches!(error, Error::Io(_) | Error::PoolTimedOut)
}

/// Whether the database is busy or away, so that the same call may succeed later. Anything else is a bug or a refusal.
pub fn is_transient(error: &Error) -> bool {
    match error {
        Error::PoolClosed => true,
        Error::Database(refused) => refused
            .code()
            .is_some_and(|code| TRANSIENT_STATES.iter().any(|state| code.starts_with(state))),
        _ => is_unreachable(error),
    }
}
