//! The log (event store): all writes go through one append, all reads through one consumer loop. The only crate that knows the
//! table `events`.
//!
//! - [`Log`] is the handle on one log: its identity, its reads, its signals.
//! - [`Writer`] appends to one partition: optimistic concurrency, under an append lock; after a conflict it is acquired before
//!   the batch is decided again.
//! - [`consume`] is the catch-up subscription of every consumer: apply-once, and its loop.
//! - [`BulkReader`] reads large parts of the log fast; [`RawReader`] reads them exactly as they are stored.
//! - [`search`] finds events by any filter.
//! - [`acts`] is the record of what operators do, beside the log.
//! - [`Lease`] gives exclusive work to one process at a time; its epoch is a fencing token.
//! - [`Readiness`] tells whether a process can do its work; [`RepeatedFault`] logs a fault that repeats once, not at every try;
//!   [`Backoff`] waits between the tries; [`restart_on_panic`] restarts a task that panicked.
//!
//! The row format, the hash chain and how to verify both with plain SQL are in `docs/log-format.md`.
//!
//! Words are in `docs/glossary.md`.

pub mod acts;
mod append_hint;
mod backlog;
mod backoff;
mod bulk;
mod chain;
mod clock;
pub mod consume;
mod deferral;
mod delivery;
mod error;
mod event;
mod feed;
mod forks;
mod idempotency;
mod incarnation;
mod lag;
mod lease;
mod log;
mod position_at;
mod product;
mod read;
mod readiness;
mod repeated_fault;
mod restart_on_panic;
pub mod search;
mod server;
mod write_stop;
mod writer;

pub use backoff::Backoff;
pub use bulk::{BulkReader, MalformedRowError, RawReader, RawRows};
pub use chain::VerifiedPrefix;
pub use clock::{DatabaseClock, MAX_CLOCK_STEP, SteadyInstant};
pub use consume::LocalSubscription;
pub use delivery::DeliveryMismatch;
pub use error::LogError;
pub use event::{Metadata, RecordedEvent};
pub use idempotency::IdempotencyRecord;
pub use incarnation::{FIRST_INCARNATION, Fork, Forks, Incarnation};
pub use lease::Lease;
pub use log::Log;
pub use log_format::{Hash, Identity, Partition, Position, RawEvent, RawEventRef};
pub use product::VersionedProduct;
pub use read::ChangedProduct;
pub use readiness::{Clause, Readiness};
pub use repeated_fault::RepeatedFault;
pub use restart_on_panic::restart_on_panic;
pub use server::{ServerWatch, durability_problem};
pub use write_stop::{Acceptance, WriteStop};
pub use writer::{Appended, Batch, NewEvent, Writer};

/// The schema's migrations, in order; an applied file is never edited. A database that a later release has migrated further is
/// no fault here: whoever starts a process decides whether it works with that schema. Migrations only add.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate::Migrator {
    ignore_missing: true,
    ..sqlx::migrate!("../migrations")
};
