//! A command on its way to the partition processor that decides it.

use crate::idempotency::IdempotencyKey;
use chrono::{DateTime, TimeDelta, Utc};
use domain::{Amount, InvestId, ProductCommand, ProductId, UserId};
use event_log::Metadata;
use std::time::Duration;
use tokio::time::Instant;

/// A command that waits longer than this is rejected, undecided.
const COMMAND_QUEUE_TIMEOUT: Duration = Duration::from_secs(2);

/// A command on its way: for which product, what, under which idempotency key.
#[derive(Clone, Debug)]
pub struct CommandEnvelope {
    pub(crate) product_id: ProductId,
    pub(crate) command: UntimedCommand,
    pub(crate) key: Option<IdempotencyKey>,
    pub(crate) metadata: Metadata,
    pub(crate) deadline: Instant,
}

impl CommandEnvelope {
    /// An envelope whose command is rejected, undecided, when it waits longer than 2 s.
    pub fn new(
        product_id: ProductId,
        command: impl Into<UntimedCommand>,
        metadata: Metadata,
    ) -> Self {
        let deadline = Instant::now() + COMMAND_QUEUE_TIMEOUT;
        Self {
            product_id,
            command: command.into(),
            key: None,
            metadata,
            deadline,
        }
    }

    /// The same under its client's idempotency key.
    pub fn with_idempotency_key(mut self, key: Option<IdempotencyKey>) -> Self {
        self.key = key;
        self
    }

    pub(crate) fn invest_id(&self) -> Option<InvestId> {
        self.command.invest_id()
    }

    /// How long it has waited at `now`.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        COMMAND_QUEUE_TIMEOUT.saturating_sub(self.deadline.saturating_duration_since(now))
    }
}

/// A command without its time: the processor sets it when it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UntimedCommand {
    /// See [`ProductCommand::InvestRequested`].
    Invest {
        /// Fresh for every request.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
    },
    /// See [`ProductCommand::ExpireInvest`].
    Expire(InvestId),
    /// See [`ProductCommand::WithdrawInvest`].
    Withdraw {
        /// Which invest.
        invest_id: InvestId,
        /// Whose.
        user_id: UserId,
        /// Its amount if the log says that it was settled.
        settled: Option<Amount>,
    },
    /// See [`ProductCommand::FailProduct`].
    FailProduct,
    /// A command that has no time.
    Timeless(ProductCommand),
}

impl From<ProductCommand> for UntimedCommand {
    fn from(command: ProductCommand) -> Self {
        Self::Timeless(command)
    }
}

impl UntimedCommand {
    /// The command, decided at `at`; a reservation is open for `reservation`.
    pub(crate) fn at(&self, at: DateTime<Utc>, reservation: TimeDelta) -> ProductCommand {
        match self.clone() {
            Self::Invest {
                invest_id,
                user_id,
                amount,
            } => ProductCommand::InvestRequested {
                invest_id,
                user_id,
                amount,
                at,
                expires_at: at + reservation,
            },
            Self::Expire(invest_id) => ProductCommand::ExpireInvest { invest_id, at },
            Self::Withdraw {
                invest_id,
                user_id,
                settled,
            } => ProductCommand::WithdrawInvest {
                invest_id,
                user_id,
                settled,
                at,
            },
            Self::FailProduct => ProductCommand::FailProduct { at },
            Self::Timeless(command) => command,
        }
    }

    /// The invest that the command makes.
    pub(crate) fn invest_id(&self) -> Option<InvestId> {
        match self {
            Self::Invest { invest_id, .. } => Some(*invest_id),
            Self::Expire(_) | Self::Withdraw { .. } | Self::FailProduct | Self::Timeless(_) => None,
        }
    }

    pub(crate) fn opens_product(&self) -> bool {
        matches!(self, Self::Timeless(ProductCommand::OpenProduct { .. }))
    }
}
