//! What comes of a command: a decision, or why there is none.

use domain::{InvestId, ProductId, Refusal};
use edge::OverRate;
use event_log::{Partition, Position};

/// A decision, once it is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    /// Accepted and in the log, or refused.
    pub decision: Result<(), Refusal>,
    /// The product it is about.
    pub product_id: ProductId,
    /// The invest it made, if it is about one.
    pub invest_id: Option<InvestId>,
    /// Where the decision can be seen: the product's partition, at this position or later.
    pub position: (Partition, Position),
    /// Whether this was decided for an earlier request with the same key.
    pub replayed: bool,
}

/// Why there is no decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Definitely not carried out; try again later.
    #[error("overloaded: not carried out")]
    Overloaded,
    /// Refused, and not stored with its key, as too many of its owner's are: definitely not carried out; try again later.
    #[error("not carried out: too many refusals are stored with keys")]
    TooManyRefusals(OverRate),
    /// The key stands for another request; take a fresh one.
    #[error("the idempotency key stands for another request")]
    KeyReused,
    /// It may have been carried out or not; the log will tell.
    #[error("it is not known whether it was carried out")]
    OutcomeUnknown,
    /// The product's history cannot be read; an operator must look.
    #[error("the product cannot be read")]
    Broken,
}
