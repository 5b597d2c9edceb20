//! Generations of a read model: whole sets of its tables, filled by one version of its code each.
//!
//! The live one's tables are in the schema [`LIVE`] and its checkpoints bear the read model's name; any other's tables are
//! in a schema of their own, under the very same names, and its checkpoints' consumer is called after it: [`slot`]. A read
//! model owns every table that bears its name, so nothing here knows a particular one: `holdings` and `holdings_*`.
//!
//! - [`tables`]: a generation's tables are made, get their indexes, and go.
//! - [`compare`]: whether the live generation and another say the same, on one snapshot.
//! - [`switch`]: another generation becomes the live one between two reads.

pub(crate) mod compare;
pub(crate) mod switch;
pub(crate) mod tables;
#[cfg(test)]
mod tests;

use connection_pool::Connection;
use sqlx::Executor as _;

/// The schema of the live generations.
pub(crate) const LIVE: &str = "public";

/// A generation that is not live: its schema, and its checkpoints' consumer. `holdings_2`.
pub(crate) fn slot(projection: &str, generation: i32) -> String {
    format!("{projection}_{generation}")
}

/// Runs statements that take no values.
async fn execute(connection: &mut Connection, statements: &str) -> sqlx::Result<()> {
    connection.execute(statements).await?;
    Ok(())
}

/// As SQL takes a name, whatever is in it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name with its schema, as SQL takes it.
fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}
