//! The way out: the read models, each made from the log alone and one file each.
//!
//! - `product_list`: every product with what is taken of it ([`ProductListProjection`]).
//! - `holdings`: what each user holds, settled only ([`HoldingsProjection`]).
//! - `invest_log`: every accepted invest and what became of it ([`InvestLogProjection`]).
//! - `investor_summary`: what each user has invested, in sums ([`InvestorSummaryProjection`]).
//! - `event_index`: where audits find events ([`EventIndexProjection`]).
//! - `counters`, in Redis: what is taken of each product, as `product_list` has it ([`run_counters`]).
//!
//! A batch of events is folded in memory over the rows it touches, and what is different then is written in a constant
//! number of statements. Apply-once and the loop are [`event_log::consume`]'s; [`run`] starts them all. Every row is
//! written by the consumer of its product's partition and nobody else, so consumers never wait for each other.
//!
//! Words are in `docs/glossary.md`.

mod as_of;
mod beside;
mod copy;
mod counters;
mod event_index;
mod fold;
#[allow(dead_code)]
mod generation;
mod holdings;
mod invest_log;
mod investor_summary;
mod jobs;
mod product_list;
mod rebuild;
mod rows;
mod supervise;

pub use as_of::{AsOfError, Streams, as_of};
pub use counters::{COUNTERS, counter_positions, counters_key, run_counters};
pub use event_index::EventIndexProjection;
pub use holdings::HoldingsProjection;
pub use invest_log::InvestLogProjection;
pub use investor_summary::InvestorSummaryProjection;
pub use jobs::{Generation, Job, Jobs, Refused, Wanted};
pub use product_list::ProductListProjection;
pub use rebuild::run_jobs;
pub use supervise::run;

use event_log::consume::Projection;

/// A projection as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name: its checkpoints' consumer, and what its tables' names begin with.
    pub name: &'static str,
    /// The version of its code; rows that another version made are not this one's.
    pub version: i32,
}

/// Calls a macro with every read model: the one list of them.
macro_rules! read_models {
    ($what:ident) => {
        $what! {
            ProductListProjection, HoldingsProjection, InvestLogProjection, InvestorSummaryProjection, EventIndexProjection
        }
    };
}
pub(crate) use read_models;

macro_rules! describe {
    ($($model:ident),*) => {
        /// Every read model that [`run`] keeps.
        pub const PROJECTIONS: &[Description] = &[$(Description { name: $model::NAME, version: $model::VERSION }),*];
    };
}
read_models!(describe);
