//! A pool on a way that falls silent.

mod bounds;
mod house;
mod transactions;
