//! The edge as a client meets it: whole answers, bodies as strict as the contract, and serving that slow clients cannot
//! hold.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod answers;
mod bodies;
mod bounded;
mod client;
mod encrypted;
mod limits;
mod serving;
mod users;
