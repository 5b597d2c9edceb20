//! The views over HTTP, on rows of read models in a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batches;
mod bulkheads;
mod cache;
mod caching;
mod consistency;
mod cursors;
mod held;
mod invests;
mod mine;
mod products;
mod read_side;
mod refusals;
mod streams;
mod summary;
mod times;
