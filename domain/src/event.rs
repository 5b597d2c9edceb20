//! The events of a product, kept for ever: a released shape is upcast, never edited.

use crate::{Amount, CancelReason, InvestId, ProductId, Terms, Title, UserId};
use chrono::{DateTime, Utc};
use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};

/// One fact of one product's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase")]
pub enum ProductEvent {
    /// The product takes invests in its window.
    ProductOpened {
        /// Its id.
        product_id: ProductId,
        /// Its name.
        title: Title,
        /// How much it takes altogether.
        total_investing_amount: Amount,
        /// First instant of its window.
        started_at: DateTime<Utc>,
        /// First instant after its window.
        finished_at: DateTime<Utc>,
        /// What it demands of each invest; written only where it has any.
        #[serde(default, skip_serializing_if = "Terms::is_none")]
        terms: Terms,
    },
    /// The amount is set aside for the user. The request was accepted.
    InvestReserved {
        /// Which invest.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
        /// When it may be given up if nothing became of it.
        expires_at: DateTime<Utc>,
    },
    /// The reservation became a holding.
    InvestSettled {
        /// Which invest.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
    },
    /// The reservation came to nothing; its amount is free again.
    InvestFailed {
        /// Which invest.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
        /// Why, for machines.
        code: String,
        /// Why, for people.
        detail: String,
    },
    /// The user took the invest back: its amount is free again, and its money, if any came, is owed to the user.
    InvestWithdrawn {
        /// Which invest.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
        /// Whether it was a holding, else a reservation.
        settled: bool,
    },
    /// No money of the invest is with the payment provider any more. A withdrawn invest is free since before; one of a product that was
    /// cancelled or failed was a holding until now.
    InvestRefunded {
        /// Which invest.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
        /// Why it was given back, for machines: `WITHDRAWN`, `CANCELLED` or `TARGET_MISSED`.
        code: String,
    },
    /// Closed by its operator.
    ProductClosed {},
    /// Cancelled by its operator: every invest is given back.
    ProductCancelled {
        /// Why, for people.
        reason: CancelReason,
    },
    /// Less than its target was taken when its window ended: every invest is given back.
    ProductFailed {
        /// What it had to reach.
        target_amount: Amount,
        /// What was reserved and settled, in won.
        reached_amount: i64,
    },
}

impl ProductEvent {
    /// The event's name in the log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ProductOpened { .. } => "ProductOpened",
            Self::InvestReserved { .. } => "InvestReserved",
            Self::InvestSettled { .. } => "InvestSettled",
            Self::InvestFailed { .. } => "InvestFailed",
            Self::InvestWithdrawn { .. } => "InvestWithdrawn",
            Self::InvestRefunded { .. } => "InvestRefunded",
            Self::ProductClosed {} => "ProductClosed",
            Self::ProductCancelled { .. } => "ProductCancelled",
            Self::ProductFailed { .. } => "ProductFailed",
        }
    }

    /// The version of the shape that is written today; see [`crate::upcasters`] for the older ones. A product without terms is
    /// written as ever, so that a release that knows none reads it, and one with the older terms as the release that knew only those.
    pub fn version(&self) -> &'static str {
        match self {
            Self::InvestFailed { .. } => "2.0.0",
            Self::ProductOpened { terms, .. } if terms.give_back() => "3.0.0",
            Self::ProductOpened { terms, .. } if !terms.is_none() => "2.0.0",
            Self::ProductOpened { .. }
            | Self::InvestReserved { .. }
            | Self::InvestSettled { .. }
            | Self::InvestWithdrawn { .. }
            | Self::InvestRefunded { .. }
            | Self::ProductClosed {}
            | Self::ProductCancelled { .. }
            | Self::ProductFailed { .. } => "1.0.0",
        }
    }
}

/// The newest major version of an event's shape that this release reads. A later one may demand what this release would not heed.
pub fn newest_major_version(event_type: &str) -> u32 {
    match event_type {
        "ProductOpened" => 3,
        "InvestFailed" => 2,
        _ => 1,
    }
}

impl DomainEvent for ProductEvent {
    fn event_type(&self) -> String {
        self.name().into()
    }

    fn event_version(&self) -> String {
        self.version().into()
    }
}
