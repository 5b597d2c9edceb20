//! Relay, deliveries and replay on a real RabbitMQ and a real PostgreSQL. Each test has a fresh database and a log of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batches;
mod connection;
mod delivering;
mod marks;
mod notes;
mod parking;
mod relaying;
mod replaying;
mod tap;
mod test_broker;
