//! Refusals: why a command changed nothing.

/// Nothing happened, and this is why. Each one is final for the state it was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such product: check the id.
    #[error("there is no such product")]
    NotExist,
    /// The product's id is taken: open it under another.
    #[error("the product is already opened")]
    AlreadyOpened,
    /// The window is still to come: try again at its start.
    #[error("the product has not started")]
    NotStarted,
    /// The window is over.
    #[error("the product has finished")]
    Finished,
    /// The product was closed by its operator.
    #[error("the product is closed")]
    Closed,
    /// The product was cancelled by its operator.
    #[error("the product is cancelled")]
    Cancelled,
    /// The product missed its target.
    #[error("the product has failed")]
    Failed,
    /// The product's minimum is higher: ask for at least `smallest`.
    #[error("the amount is below the product's minimum: the smallest invest is {smallest} won")]
    BelowMinimum {
        /// The smallest amount that the product's terms allow, in won.
        smallest: i64,
    },
    /// The product takes multiples only: ask for one.
    #[error("the amount is no multiple of {unit} won")]
    NotAMultiple {
        /// What the amount must be a multiple of, in won.
        unit: i64,
    },
    /// The user would have more of this product than its terms allow: a smaller amount may still be allowed.
    #[error("the user's limit would be exceeded: {remaining} won remain")]
    LimitExceeded {
        /// What this user may still have, in won; 0 when the limit is reached.
        remaining: i64,
    },
    /// The total would be exceeded: a smaller amount may still fit.
    #[error("the product is sold out: {remaining} won remain")]
    SoldOut {
        /// What is left, in won; 0 when all is taken.
        remaining: i64,
    },
    /// The invest id is in use: take a fresh one.
    #[error("the invest is already reserved")]
    AlreadyReserved,
    /// The product's terms give no such right, it is over, or all is given back anyway.
    #[error("the invest cannot be withdrawn")]
    NotWithdrawable,
    /// Nothing is owed for the invest, at least not yet: it stands, or is still open.
    #[error("the invest is not to be refunded")]
    NotRefundable,
    /// Nothing is owed for the invest any more.
    #[error("the invest is already refunded")]
    AlreadyRefunded,
    /// The product has no target, or has reached it for good.
    #[error("the product's target is not missed")]
    TargetNotMissed,
    /// The window is not over, or open reservations will tell: try again.
    #[error("whether the product's target is missed is not decided")]
    TargetUndecided,
    /// No open reservation has this id: it was never made here, or already has its fate. The log tells which.
    #[error("the invest is not open")]
    NotOpen,
    /// The reservation still has time.
    #[error("the invest has not expired")]
    NotExpired,
}
