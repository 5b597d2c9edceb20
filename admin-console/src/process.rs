//! What the console asks its process for, beside the calls of the admin listener.

use edge::{Actor, Problem};
use futures::future::BoxFuture;
use serde_json::Value;
use std::net::IpAddr;

/// What only the process knows.
pub trait Process: Send + Sync {
    /// Who shows this token, from this address.
    ///
    /// # Errors
    /// Nobody does, or the address has shown too many wrong ones.
    fn actor(&self, token: &str, address: Option<IpAddr>) -> Result<Actor, Problem>;

    /// The names of the readiness clauses of this process that fail; none when it is ready.
    fn unready(&self) -> BoxFuture<'_, Vec<String>>;

    /// What an operator is needed for, with what to do, by the answer of `GET /admin/projection` and the number of parked deliveries.
    fn needs(&self, projections: &Value, parked: i64) -> Vec<String>;

    /// How far the log has come since it was at `from`; `None` when it cannot be read now.
    fn advance(&self, from: Option<Vec<i64>>) -> BoxFuture<'_, Option<Advance>>;
}

/// What has happened since another look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advance {
    /// The last position of each partition.
    pub heads: Vec<i64>,
    /// Invests that were accepted since; 0 at the first look.
    pub accepted: i64,
    /// Reservations that have no fate yet, as far as they are counted.
    pub unresolved: i64,
}
