//! The state of the audit's routes.

use crate::proof::ExternalSeals;
use connection_pool::Pool;
use edge::ServiceTime;
use event_log::Log;

/// What the audit works with.
pub struct Audit {
    /// The log.
    pub log: Log,
    /// Can change nothing; statements of 2 s at most.
    pub read: Pool,
    /// Statements may take minutes, and temporary tables may be made.
    pub bulk: Pool,
    /// Writes down who read what.
    pub write: Pool,
    /// The zone of the times that go out.
    pub time: ServiceTime,
    /// What this process has of the seals outside the database; `None` when it has no key to check them with.
    pub seals: Option<ExternalSeals>,
}
