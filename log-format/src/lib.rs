//! The format of the log: what is stored, byte for byte, and what a hash covers. `docs/log-format.md` describes it; it is final.
//!
//! Pure code, without a database: `event-log` stores and reads in this format, and `proof` checks what was stored.
//!
//! - [`Identity`] says which log it is; a [`Partition`], a [`Position`] and a [`Hash`](type@Hash) say where in it, and what came before.
//! - [`RawEvent`] and [`RawEventRef`] are an event as it is stored, with the hash that its row must have.
//! - [`StoredAct`] is a row of the record of operators' acts.
//!
//! Words are in `docs/glossary.md`.

mod ids;
mod raw_event;
mod stored_act;

pub use ids::{Hash, Identity, Partition, Position};
pub use raw_event::{RawEvent, RawEventRef};
pub use stored_act::StoredAct;
