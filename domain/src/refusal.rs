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
    /// The product was withdrawn by its operator.
    #[error("the product is closed")]
    Closed,
    /// The total would be exceeded: a smaller amount may still fit.
    #[error("the product is sold out: {remaining} won remain")]
    SoldOut {
        /// What is left, in won; 0 when all is taken.
        remaining: i64,
    },
    /// The invest id is in use: take a fresh one.
    #[error("the invest is already reserved")]
    AlreadyReserved,
    /// No open reservation has this id: it was never made here, or already has its fate.
    #[error("the invest is not open")]
    NotOpen,
    /// The reservation still has time.
    #[error("the invest has not expired")]
    NotExpired,
}
