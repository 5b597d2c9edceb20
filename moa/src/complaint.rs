//! An error as one sentence for who called the program: each cause is said once, and a setting by the name that it was given by.

use crate::settings;
use sqlx::Error::{Database, PoolTimedOut};
use std::error::Error;

/// What the client library says before the server's own words, also where another error has repeated them.
const FROM_DATABASE: &str = "error returned from database: ";

/// The sentence, with the causes after a colon each.
pub fn of(error: &anyhow::Error) -> String {
    settings::as_given(&causes(error))
}

/// The same with the settings' names as the code has them, for the log.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error
        .chain()
        .map(|cause| text(cause).replace(FROM_DATABASE, ""))
    {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// What `cause` itself says. Libraries begin with what is known here, or repeat their own cause.
pub(crate) fn text(cause: &(dyn Error + 'static)) -> String {
    match cause.downcast_ref::<sqlx::Error>() {
        Some(PoolTimedOut) => "nothing answered in time".into(),
        Some(Database(refused)) => refused.message().into(),
        Some(sqlx::Error::Io(error)) => error.to_string(),
        _ => cause.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_cause_is_said_once() {
        let gone = || io::Error::from(io::ErrorKind::NotFound);
        let repeated = anyhow::Error::from(gone())
            .context(format!("cannot read x: {}", gone()))
            .context("MOA_X_FILE");
        let nested = anyhow::anyhow!("the log cannot be read: {FROM_DATABASE}no such table");
        assert_eq!(causes(&nested), "the log cannot be read: no such table");
        assert_eq!(
            causes(&repeated),
            "MOA_X_FILE: cannot read x: entity not found"
        );
        let of_library = anyhow::Error::from(PoolTimedOut)
            .context("cannot reach PostgreSQL (nothing answered in time)");
        assert_eq!(
            causes(&of_library),
            "cannot reach PostgreSQL (nothing answered in time)"
        );
    }
}
