//! Why a command was not accepted, as a row of the contract's table.

use crate::command_outcome::CommandError;
use domain::{InvestId, Refusal};
use edge::Problem;

/// The one place where a refusal gets its row of the contract's table.
pub(crate) fn of_refusal(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NotExist => Problem::NotExistProduct,
        Refusal::NotStarted => Problem::NotStarted,
        Refusal::SoldOut { remaining } => Problem::SoldOut { remaining },
        Refusal::BelowMinimum { smallest } => Problem::BelowMinimum { smallest },
        Refusal::NotAMultiple { unit } => Problem::NotAMultiple { unit },
        Refusal::LimitExceeded { remaining } => Problem::LimitExceeded { remaining },
        Refusal::Finished => Problem::Finished,
        Refusal::Closed => Problem::Closed,
        Refusal::Cancelled => Problem::Cancelled,
        Refusal::Failed => Problem::Failed,
        Refusal::NotWithdrawable => Problem::NotWithdrawable,
        // None of these can follow from a request over HTTP: its ids are fresh, a withdrawal looks its invest up again, and only
        // settlement decides fates and refunds.
        Refusal::AlreadyOpened
        | Refusal::AlreadyReserved
        | Refusal::NotOpen
        | Refusal::NotExpired
        | Refusal::NotRefundable
        | Refusal::AlreadyRefunded
        | Refusal::TargetNotMissed
        | Refusal::TargetUndecided => Problem::internal(refusal),
    }
}

/// The same of a command without an outcome; `invest_id` is what to ask the log for when that is unknown.
pub(crate) fn of_error(error: CommandError, invest_id: Option<InvestId>) -> Problem {
    match error {
        CommandError::Overloaded => Problem::Overloaded,
        CommandError::TooManyRefusals(over) => Problem::OverRate(over),
        CommandError::KeyReused => Problem::IdempotencyKeyReused,
        CommandError::OutcomeUnknown => Problem::OutcomeUnknown { invest_id },
        CommandError::Broken => Problem::internal(error),
    }
}
