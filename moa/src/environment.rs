//! Variables of the environment that are no settings of Moa's, and that a library would listen to all the same.

use anyhow::Context;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Names a file of passwords, and nothing else.
const PASSWORD_FILE: &str = "PGPASSFILE";

/// Goes on without the `PG*` variables that PostgreSQL's tools read (`PGOPTIONS`, `PGHOST`, `PGPASSWORD`), because the client
/// library would take from them what `DATABASE_URL` does not say. A process cannot safely take a variable out of its own
/// environment, so it replaces itself by itself; its id stays. Returns where there are none.
///
/// # Errors
/// This program cannot be started again.
pub fn leave_out_postgres_variables() -> anyhow::Result<()> {
    let names: Vec<_> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .collect();
    let names: Vec<_> = names
        .into_iter()
        .filter(|name| is_of_postgres(name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let listed = names.join(", ");
    tracing::warn!(
        "{listed}: variables of PostgreSQL's tools have no effect here; say in DATABASE_URL what they say"
    );
    crate::logging::flush();
    let mut arguments = std::env::args_os();
    let mut again = Command::new(std::env::current_exe()?);
    arguments.next().into_iter().for_each(|name| {
        again.arg0(name);
    });
    names.iter().for_each(|name| {
        again.env_remove(name);
    });
    Err(again.args(arguments).exec())
        .with_context(|| format!("cannot start without {listed}: unset it"))
}

/// PG and capital letters, as the client library's variables are.
fn is_of_postgres(name: &str) -> bool {
    let rest = name.strip_prefix("PG").unwrap_or_default();
    !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_uppercase()) && name != PASSWORD_FILE
}
