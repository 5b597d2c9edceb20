//! Gives an invest its fate, through the partition processor.

use super::{OpenInvestTask, work_list};
use crate::processor::{CommandError, PartitionProcessors, UntimedCommand};
use connection_pool::Pool;
use connection_pool::outage::POSTGRESQL;
use domain::{ProductCommand, Refusal};

/// What became of an invest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Settled,
    Failed,
    Expired,
    Refunded,
}

impl Fate {
    const ALL: [Self; 4] = [Self::Settled, Self::Failed, Self::Expired, Self::Refunded];

    fn name(self) -> &'static str {
        match self {
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Refunded => "refunded",
        }
    }

    /// What `command` gives when it is accepted.
    fn of(command: &UntimedCommand) -> Option<Self> {
        match command {
            UntimedCommand::Timeless(ProductCommand::SettleInvest { .. }) => Some(Self::Settled),
            UntimedCommand::Timeless(ProductCommand::FailInvest { .. }) => Some(Self::Failed),
            UntimedCommand::Timeless(ProductCommand::RefundInvest { .. }) => Some(Self::Refunded),
            UntimedCommand::Expire(_) => Some(Self::Expired),
            UntimedCommand::Timeless(_)
            | UntimedCommand::Invest { .. }
            | UntimedCommand::Withdraw { .. }
            | UntimedCommand::FailProduct => None,
        }
    }
}

/// Submits `command`; `None` when that gave the invest no fate, or another command did.
pub(super) async fn decide(
    processors: &PartitionProcessors,
    pool: &Pool,
    task: OpenInvestTask,
    command: UntimedCommand,
) -> Option<Fate> {
    let (invest_id, fate) = (task.invest_id, Fate::of(&command));
    match processors
        .submit(task.envelope(command))
        .await
        .map(|outcome| outcome.decision)
    {
        // The consumer of `open_invest` deletes the row when it applies the event.
        Ok(Ok(())) => fate,
        // An invest that is not open has its fate, and its row is about to be deleted. An invest may not be expired yet for a processor
        // whose idea of the database's time is a little behind: a sweep claims it when it is due again.
        Ok(Err(Refusal::NotOpen | Refusal::NotExpired)) => None,
        Ok(Err(Refusal::AlreadyRefunded)) => {
            if let Err(error) = work_list::forget_refunded(pool, invest_id).await
                && !POSTGRESQL.explains_failures()
            {
                tracing::warn!(%invest_id, %error, "the row of a refunded invest was not deleted; it is retried");
            }
            None
        }
        Err(CommandError::Overloaded | CommandError::OutcomeUnknown) => None,
        other => {
            tracing::error!(%invest_id, outcome = ?other, "an open invest got no fate");
            None
        }
    }
}

/// Counts fates; once for many, because `approve` gives many.
pub(super) fn count(given: &[Option<Fate>]) {
    for fate in Fate::ALL {
        let number = given.iter().filter(|given| **given == Some(fate)).count();
        if number > 0 {
            metrics::counter!("moa_settlement_fates_total", "fate" => fate.name())
                .increment(number as u64);
        }
    }
}
