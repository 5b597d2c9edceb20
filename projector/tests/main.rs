//! Each read model's spec on a real PostgreSQL: given these events, however they are delivered, then these rows. And what holds
//! for all of them: a plain fold of random histories, two instances at once, an event that cannot be applied, the whole running.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod counters;
mod event_index;
mod holdings;
mod invest_log;
mod investor_summary;
mod product_list;
mod racing;
mod random;
mod rebuilt;
mod running;
mod stuck;
mod support;
