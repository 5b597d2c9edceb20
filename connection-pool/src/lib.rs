//! The way to PostgreSQL: a [`Pool`] of sqlx's connections on which every call is bounded on the client's side.
//!
//! PostgreSQL's own time-outs help while it can be heard. When a connection falls silent (a forgetful NAT, a frozen
//! pooler, packet loss), a call on it would wait for ever, and so would the ping with which sqlx takes a connection back:
//! its permit would be lost, and with enough of them the pool. Here each wait for an answer has a bound, after which the
//! connection is closed and not given back, and with it those that stand idle beside it, which came by the same way.
//!
//! Nothing outside this crate calls sqlx's own pool or connections; `docs/decisions/0023` says why, and what it costs.
//!
//! Words are in `docs/glossary.md`.

mod answer;
mod connection;
mod copy;
pub mod pg_copy;
mod pool;
mod transaction;

pub use connection::Connection;
pub use copy::CopyIn;
pub use pool::Pool;
pub use transaction::Transaction;
