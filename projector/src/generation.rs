//! Generations of a read model: complete sets of its tables, each filled by one version of its code.
//!
//! The live generation's tables are in the schema [`LIVE_SCHEMA`], and its checkpoints have the read model's name. A standby's
//! tables have the same names in a schema of its own, and its checkpoints have that schema's name: [`standby_schema`]. A read
//! model owns every table that has its name or begins with it (`holdings` and `holdings_*`), so nothing here names a particular
//! table.
//!
//! - [`tables`] creates a generation's tables, indexes them, and removes them.
//! - [`compare`] compares the live generation with a standby, in one snapshot.
//! - [`switch`] makes a standby the live generation, in one transaction: the blue/green switch.

pub(crate) mod compare;
pub(crate) mod switch;
pub(crate) mod tables;
#[cfg(test)]
mod tests;

use connection_pool::Connection;
use sqlx::Executor as _;

/// The schema of the live generations.
pub(crate) const LIVE_SCHEMA: &str = "public";

stored_words! {
    /// The state of a generation.
    GenerationState {
        /// The one that is read.
        Live = "LIVE",
        /// Being built by a job.
        Building = "BUILDING",
        /// A standby that equals the live one.
        Ready = "READY",
        /// A standby that differs from the live one.
        Different = "DIFFERENT",
        /// A standby that was live before.
        Previous = "PREVIOUS",
    }
}

impl GenerationState {
    /// The states of a standby: complete, not live, and kept up to date.
    pub const STANDBY: [Self; 3] = [Self::Ready, Self::Different, Self::Previous];
}

/// The schema of a standby's tables, and the consumer of its checkpoints: `holdings_2`.
pub(crate) fn standby_schema(projection: &str, generation: i32) -> String {
    format!("{projection}_{generation}")
}

/// Runs statements that take no values.
async fn execute(connection: &mut Connection, statements: &str) -> sqlx::Result<()> {
    connection.execute(statements).await?;
    Ok(())
}

/// A name as SQL quotes it.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A name with its schema, as SQL quotes it.
fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}
