//! Connections to PostgreSQL: a [`Pool`] of sqlx's connections on which every call has a client-side time-out.
//!
//! PostgreSQL's own time-outs only help while it can be reached. When a connection falls silent (a NAT that forgot it, a frozen pooler,
//! packet loss), a call on it would wait for ever, and so would the ping with which sqlx takes a connection back: its permit would be
//! lost, and with enough of them the pool. Here each call has a time-out, after which its connection is closed, together with the idle
//! ones of the pool, which probably took the same route.
//!
//! [`outage`] says whether a server is away, once for a whole process.
//!
//! [`pg_copy`] is PostgreSQL's binary COPY format.
//!
//! Nothing outside this crate calls sqlx's own pool or connections; `docs/decisions/0023` says why, and what it costs.
//!
//! Words are in `docs/glossary.md`.

mod answer;
mod connection;
mod copy;
mod listener;
pub mod outage;
pub mod pg_copy;
mod pool;
mod transaction;
mod transient;

pub use connection::Connection;
pub use copy::CopyIn;
pub use listener::Listener;
pub use pool::Pool;
pub use transaction::Transaction;
pub use transient::{is_transient, is_unreachable};
