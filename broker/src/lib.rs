//! RabbitMQ, the fast way from the log to its consumers, and never a second source of truth. The only crate that speaks AMQP.
//!
//! - [`Broker`] is a handle on the broker, with supervised connections.
//! - [`relay()`] publishes the log, partition by partition, to a topic exchange. It is the relay of a transactional outbox: the
//!   log itself is the outbox.
//! - [`Deliveries`] brings a consumer its queue's messages, verified against the log, and sends it to the log for what is
//!   missing (gap fill).
//! - [`stop_writes_behind_published`] compares the log with what was published of it, before a start takes writes.
//! - [`replay`] sends history again, to one queue of a consumer outside Moa.
//! - [`parked`] stores deliveries that do not match the log: the dead letters.
//!
//! `docs/amqp.md` says what outsiders may rely on: exchange, routing, headers and payload. `docs/glossary.md` has the words.

mod address;
/// Events as CloudEvents 1.0 in the JSON batch format.
pub mod cloud_events;
mod connection;
mod deliveries;
/// What a broker is, and how its queues are declared.
pub mod inspect;
mod message;
/// Dead letters: deliveries that do not match the log.
pub mod parked;
mod published_mark;
mod relay;
/// Sending history again, to one consumer outside Moa.
pub mod replay;
mod supervise;
mod supervised_connection;
mod tls_runtime;
/// Names of exchange and queues, and how they are declared.
pub mod topology;
mod validated_messages;

pub use address::{Address, AddressError};
pub use connection::Broker;
pub use deliveries::Deliveries;
pub use published_mark::stop_writes_behind_published;
pub use relay::{RELAY, relay};
