//! The way out, proven on a real RabbitMQ and a real PostgreSQL: a fresh database and a log of its own for each test.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod batches;
mod connection;
mod delivering;
mod house;
mod notes;
mod parking;
mod relaying;
mod replaying;
mod tap;
mod wire;
