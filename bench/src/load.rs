//! Load on loopback: closed loops, in which each connection asks again once it is answered, and open loops, in which requests
//! are due at a fixed rate and latency is measured from the moment a request was due, so that a slow answer hides no other.

mod closed;
mod listeners;
mod open;
mod outcome;
mod requests;
mod users;

pub(crate) use closed::closed_loop;
pub(crate) use listeners::Listeners;
pub(crate) use open::open_loop;
pub(crate) use outcome::Answers;
pub(crate) use requests::{Requests, get, invest, invest_request};
pub(crate) use users::Users;
