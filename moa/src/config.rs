//! `moa config check`: whether a start would take these settings. It opens nothing and connects to nothing.

use crate::output::print_line;
use crate::settings::{self, Serve, TlsSettings};
use crate::{serve, trust};

/// Prints each setting that was given, with where it was given, and whether all are good.
///
/// # Errors
/// The first one that a start would be refused for.
pub fn check(settings: &Serve, tls: &TlsSettings) -> anyhow::Result<()> {
    settings::sources()
        .iter()
        .for_each(|source| print_line!("{source}"));
    trust::set(tls)?;
    serve::check(settings)?;
    print_line!("The settings are good.");
    Ok(())
}
