//! The way out through RabbitMQ: faster than asking the log, and never a second truth. The only crate that speaks AMQP.
//!
//! - [`Broker`] is a handle on the broker, with supervised connections.
//! - [`relay()`] publishes the log, partition by partition, to a topic exchange.
//! - [`Deliveries`] hands a consumer what is published, and lets it go on from the log where that is missing.
//! - [`replay`] sends history again, to one queue of a consumer outside Moa.
//! - [`parked`] keeps what was delivered and cannot be what the log says.
//!
//! What outsiders may rely on, exchange, routing, headers and payload, is in `docs/amqp.md`.
//!
//! Words are in `docs/glossary.md`.

mod backoff;
/// Events as CloudEvents 1.0 in the JSON batch format.
pub mod cloud_events;
mod connection;
mod deliveries;
mod kept_up;
mod link;
mod message;
/// Deliveries that were put aside.
pub mod parked;
mod relay;
/// History again, for one consumer outside Moa.
pub mod replay;
/// Names of exchange and queues, and how they are declared.
pub mod topology;

pub use connection::{Address, BadAddress, Broker};
pub use deliveries::Deliveries;
pub use relay::{RELAY, relay};
