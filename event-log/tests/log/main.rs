//! What the log promises, proven on a real PostgreSQL: a fresh database for each test.
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod acts;
mod append_hints;
mod append_lock;
mod backlog;
mod bulk;
mod by_hand;
mod clock;
mod consume;
mod delivery;
mod distribution;
mod forbidden;
mod format;
mod holes;
mod idempotency;
mod lease;
mod lost_answers;
mod lost_tail;
mod opening;
mod optimistic_append;
mod position_at;
mod postgres_es_reads;
mod raw_reader;
mod reading;
mod rights;
mod streams;
mod support;
mod tampering;
mod time;
mod upcasting;
