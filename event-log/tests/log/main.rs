//! What the log promises, proven on a real PostgreSQL: a fresh database for each test.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod at;
mod bulk;
mod by_hand;
mod clock;
mod consume;
mod fence;
mod forbidden;
mod format;
mod holes;
mod house;
mod keys;
mod lease;
mod lost_answers;
mod lost_tail;
mod opening;
mod postgres_es_reads;
mod proxy;
mod reading;
mod rights;
mod stored;
mod streams;
mod tampering;
mod time;
mod turn;
mod upcasting;
mod vouch;
