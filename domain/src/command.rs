//! The commands of a product.

use crate::{Amount, CancelReason, FailReason, InvestId, ProductId, Terms, Title, UserId, Window};
use chrono::{DateTime, Utc};

/// A command to one product. It carries the time of its decision, so that a decision never reads a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProductCommand {
    /// Put a product up for invests.
    OpenProduct {
        /// The id it gets; must be the one its stream is named after.
        product_id: ProductId,
        /// Its name.
        title: Title,
        /// How much it takes altogether.
        total: Amount,
        /// When it takes it.
        window: Window,
        /// What it demands of each invest.
        terms: Terms,
    },
    /// Reserve an amount for a user: a command, although its given name is in the past tense.
    InvestRequested {
        /// Fresh for every request.
        invest_id: InvestId,
        /// Whose money.
        user_id: UserId,
        /// How much.
        amount: Amount,
        /// When this is decided.
        at: DateTime<Utc>,
        /// When the reservation may be given up if nothing became of it.
        expires_at: DateTime<Utc>,
    },
    /// The money came.
    SettleInvest {
        /// Which reservation.
        invest_id: InvestId,
    },
    /// The money will not come.
    FailInvest {
        /// Which reservation.
        invest_id: InvestId,
        /// Why not.
        reason: FailReason,
    },
    /// Give a reservation up because its time is over.
    ExpireInvest {
        /// Which reservation.
        invest_id: InvestId,
        /// When this is decided.
        at: DateTime<Utc>,
    },
    /// Take an invest back for its user.
    WithdrawInvest {
        /// Which invest.
        invest_id: InvestId,
        /// Whose.
        user_id: UserId,
        /// Its amount if the log says that it was settled. The state does not remember every settled invest.
        settled: Option<Amount>,
        /// When this is decided.
        at: DateTime<Utc>,
    },
    /// The provider has none of the invest's money.
    RefundInvest {
        /// Which invest, withdrawn, or settled in a product that was cancelled or failed, as the log says.
        invest_id: InvestId,
        /// Whose.
        user_id: UserId,
        /// How much.
        amount: Amount,
    },
    /// Take no more invests; open reservations still get their fate.
    CloseProduct,
    /// Take no more invests, and give every one back.
    CancelProduct {
        /// Why, for people.
        reason: CancelReason,
    },
    /// The same if the target is missed.
    FailProduct {
        /// When this is decided.
        at: DateTime<Utc>,
    },
}
