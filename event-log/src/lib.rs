//! The log: all events, the one way to add to them and the one way to follow them. The only crate that knows the
//! `events` table.
//!
//! - [`Log`] is a handle on one log: its identity, its reads, its signals.
//! - [`BulkReader`] reads large parts of it fast; [`StoredReader`] does so as they are stored, for who checks them.
//! - [`Writer`] appends to one partition behind the fence, and takes the turn when it lost.
//! - [`Lease`] makes somebody the only one at something, for a while.
//! - [`search`] asks it: events by any filter.
//! - [`consume`] follows the log: apply-once, in one place for every consumer.
//! - [`Readiness`] says whether those who work on it can; [`RepeatedFault`] logs what fails again and again;
//!   [`restarted`] starts a task anew that broke down.
//!
//! The row format, the hash chain and how to check both with plain SQL are in `docs/log-format.md`.
//!
//! Words are in `docs/glossary.md`.

mod at;
mod bulk;
mod chain;
mod clock;
/// Following the log: apply-once and the loop around it.
pub mod consume;
mod error;
mod event;
mod keys;
mod lease;
mod log;
mod product;
mod read;
mod readiness;
mod repeated_fault;
mod restarted;
mod row;
pub mod search;
mod server;
mod vouch;
mod write_stop;
mod writer;

pub use bulk::{BulkReader, StoredReader, StoredRows, Unreadable};
pub use chain::{Hash, Verified};
pub use clock::{DatabaseClock, MAX_CLOCK_STEP, SteadyInstant};
pub use error::LogError;
pub use event::{Metadata, RecordedEvent, StoredEvent};
pub use keys::{Claim, StoredAnswer};
pub use lease::Lease;
pub use log::{Identity, Listener, Log, Partition, Position};
pub use product::LoadedProduct;
pub use readiness::{Clause, Readiness};
pub use repeated_fault::RepeatedFault;
pub use restarted::restarted;
pub use row::StoredRow;
pub use server::{ServerWatch, durability_problem};
pub use vouch::NotOurs;
pub use write_stop::{Acceptance, WriteStop};
pub use writer::{Appended, Batch, NewEvent, Writer};

/// The schema, applied in order; an applied file is never edited. A database that a later release has migrated further
/// is taken as it is: during a rolling start both releases run, and migrations only add.
pub static MIGRATIONS: sqlx::migrate::Migrator =
    sqlx::migrate::Migrator { ignore_missing: true, ..sqlx::migrate!("../migrations") };
