//! A pool on a way that falls silent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bounds;
mod listening;
mod proxied_pool;
mod transactions;
