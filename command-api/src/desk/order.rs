//! What is handed to a desk, and what comes back.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{Amount, FailReason, InvestId, ProductCommand, ProductId, Refusal, Title, UserId, Window};
use event_log::{Metadata, Partition, Position};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::Instant;

/// How long an order may wait before it is decided; after that it is dropped, undecided.
const PATIENCE: Duration = Duration::from_secs(2);

/// A command on its way: to which product, what, under which key.
#[derive(Clone, Debug)]
pub struct Order {
    pub(crate) product_id: ProductId,
    pub(crate) request: Request,
    pub(super) key: Option<Key>,
    pub(crate) metadata: Metadata,
    pub(super) deadline: Instant,
}

impl Order {
    /// An order that is dropped undecided when it waits longer than 2 s.
    pub fn new(product_id: ProductId, request: Request, metadata: Metadata) -> Self {
        Self { product_id, request, key: None, metadata, deadline: Instant::now() + PATIENCE }
    }

    pub(crate) fn invest_id(&self) -> Option<InvestId> {
        self.request.invest_id()
    }

    /// The same under its owner's own name for it.
    pub fn with_key(mut self, key: Option<Key>) -> Self {
        self.key = key;
        self
    }
}

/// An owner's own name for a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose; owners do not see each other's keys.
    pub owner: String,
    /// The name.
    pub key: String,
    /// What is asked, to tell a repeat from a reuse.
    pub fingerprint: String,
}

/// A command without its time: that is the desk's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// See [`ProductCommand::OpenProduct`].
    Open {
        /// Its name.
        title: Title,
        /// How much it takes altogether.
        total: Amount,
        /// When it takes it.
        window: Window,
    },
    /// See [`ProductCommand::InvestRequested`].
    Invest {
        /// Fresh for every request.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
    },
    /// See [`ProductCommand::SettleInvest`].
    Settle(InvestId),
    /// See [`ProductCommand::FailInvest`].
    Fail(InvestId, FailReason),
    /// See [`ProductCommand::ExpireInvest`].
    Expire(InvestId),
    /// See [`ProductCommand::CloseProduct`].
    Close,
}

impl Request {
    pub(super) fn command(&self, product_id: ProductId, at: DateTime<Utc>, reservation: TimeDelta) -> ProductCommand {
        match self.clone() {
            Self::Open { title, total, window } => ProductCommand::OpenProduct { product_id, title, total, window },
            Self::Invest { invest_id, user_id, amount } => {
                ProductCommand::InvestRequested { invest_id, user_id, amount, at, expires_at: at + reservation }
            }
            Self::Settle(invest_id) => ProductCommand::SettleInvest { invest_id },
            Self::Fail(invest_id, reason) => ProductCommand::FailInvest { invest_id, reason },
            Self::Expire(invest_id) => ProductCommand::ExpireInvest { invest_id, at },
            Self::Close => ProductCommand::CloseProduct,
        }
    }

    pub(super) fn invest_id(&self) -> Option<InvestId> {
        match self {
            Self::Invest { invest_id, .. } => Some(*invest_id),
            Self::Open { .. } | Self::Settle(_) | Self::Fail(..) | Self::Expire(_) | Self::Close => None,
        }
    }
}

/// What was decided, once it is certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The decision.
    pub answer: Answer,
    /// The product it is about.
    pub product_id: ProductId,
    /// The invest it made, if it is about one.
    pub invest_id: Option<InvestId>,
    /// Where the decision can be seen: the product's partition, at this position or later.
    pub position: (Partition, Position),
    /// Whether this was decided for an earlier request with the same key.
    pub replayed: bool,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    /// Done: it is in the log.
    Accepted,
    /// The product is sold out.
    SoldOut {
        /// What is left, in won.
        remaining: i64,
    },
    /// The window is over.
    Finished,
    /// Withdrawn by its operator.
    Closed,
    /// Any refusal that time may change, or that is the caller's mistake. Never stored with a key.
    #[serde(skip)]
    Refused(Refusal),
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SoldOut { remaining } => Self::SoldOut { remaining },
            Refusal::Finished => Self::Finished,
            Refusal::Closed => Self::Closed,
            Refusal::NotExist
            | Refusal::AlreadyOpened
            | Refusal::NotStarted
            | Refusal::AlreadyReserved
            | Refusal::NotOpen
            | Refusal::NotExpired => Self::Refused(refusal),
        }
    }
}

impl Answer {
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoVerdict {
    /// Definitely not carried out; try again later.
    #[error("overloaded: not carried out")]
    Overloaded,
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
