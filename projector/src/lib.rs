//! The read models, each derived from the log alone, one file each.
//!
//! - `product_list`: every product with the amount taken of it ([`ProductListProjection`]).
//! - `holdings`: what each user holds, settled only ([`HoldingsProjection`]).
//! - `invest_log`: every accepted invest and its fate ([`InvestLogProjection`]).
//! - `investor_summary`: the sums of what each user has invested ([`InvestorSummaryProjection`]).
//! - `event_index`: where audits find events ([`EventIndexProjection`]).
//! - `counters`, in Redis: the amount taken of each product, as `product_list` has it ([`run_counters`]).
//!
//! A batch of events is folded in memory over the rows that it touches, and the rows that changed are written in a constant
//! number of statements. Apply-once and the loop around it are in [`event_log::consume`]; [`run`] starts all consumers. A row is
//! written only by the consumer of its product's partition, so consumers never wait for each other.
//!
//! A read model has generations: one is live, others are standbys (blue/green). [`Jobs`] are what operators may ask for, and
//! [`run_jobs`] does it: rebuild a generation, compare it with the live one, switch to it.
//!
//! The words are in `docs/glossary.md`.

/// `with_model!(name, Model => expression, _ => other)` is the expression, with `Model` as the type of the read model of that
/// name, or the other one when there is no such read model.
#[macro_export]
macro_rules! with_model {
    // The one list of the read models: consumers, queues, status, jobs and tests take theirs from it.
    (@list $($rest:tt)*) => {
        $crate::with_model!(
            $($rest)*
            [ProductListProjection, HoldingsProjection, InvestLogProjection, InvestorSummaryProjection, EventIndexProjection]
        )
    };
    (@describe [$($each:ident),*]) => {
        &[$($crate::Description::of::<$crate::$each>()),*]
    };
    (@match ($name:expr) $model:ident ($known:expr) ($unknown:expr) [$($each:ident),*]) => {
        match $name {
            $(<$crate::$each as ::event_log::consume::Projection>::NAME => {
                type $model = $crate::$each;
                $known
            })*
            _ => $unknown,
        }
    };
    ($name:expr, $model:ident => $known:expr, _ => $unknown:expr $(,)?) => {
        $crate::with_model!(@list @match ($name) $model ($known) ($unknown))
    };
}

#[macro_use]
mod stored_word;

mod as_of;
mod change_set;
mod copy_writer;
mod counters;
mod event_index;
mod fold;
mod generation;
mod give_back;
mod holdings;
mod invest_log;
mod investor_summary;
mod job;
mod jobs;
mod positions;
mod product_list;
mod rebuild;
mod restart;
mod standby;
mod supervise;

pub use as_of::{AsOfError, Streams, as_of};
pub use counters::{COUNTERS, counter_positions, counters_key, run_counters};
pub use event_index::EventIndexProjection;
pub use generation::GenerationState;
pub use holdings::HoldingsProjection;
pub use invest_log::InvestLogProjection;
pub use investor_summary::InvestorSummaryProjection;
pub use job::{Job, JobKind, JobStage, JobState};
pub use jobs::{Generation, JobRejected, Jobs, RebuildOptions};
pub use product_list::ProductListProjection;
pub use rebuild::run_jobs;
pub use supervise::{Deferrals, Lingers, run};

use event_log::consume::Projection;

/// A projection as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name: that of its consumer in the table of checkpoints, and the beginning of its tables' names.
    pub name: &'static str,
    /// The version of its code. It leaves rows of another version alone.
    pub version: i32,
}

impl Description {
    const fn of<P: Projection>() -> Self {
        Self {
            name: P::NAME,
            version: P::VERSION,
        }
    }
}

/// Every read model that [`run`] keeps up to date.
pub const PROJECTIONS: &[Description] = with_model!(@list @describe);
