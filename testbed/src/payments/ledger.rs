//! The provider's books: one payment per id, decided once, debited once.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use uuid::Uuid;

use super::Call;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// `productId`.
    pub product_id: i64,
    /// `userId`.
    pub user_id: String,
    /// Whole won.
    pub amount: i64,
}

/// How a payment stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Calls about it came, and none was done.
    NeverHeard,
    /// Not decided before it was looked at so often.
    Pending {
        /// Looks that are left.
        looks: u32,
    },
    /// Debited, for good.
    Paid,
    /// Never to be debited, and why.
    Refused(String),
    /// Never to be debited, because the caller said so.
    Cancelled,
    /// Debited, and given back.
    Refunded,
}

/// One payment in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// What was asked for, be it too late; `None` when that never came.
    pub terms: Option<Terms>,
    /// How often the user's money was taken.
    pub debits: u32,
    /// How often it was given back.
    pub refunds: u32,
    /// How it stands.
    pub state: State,
    /// Every call about it that came, in order, whatever became of it.
    pub calls: Vec<Call>,
    /// `X-Correlation-Id` of the last call.
    pub correlation_id: Option<String>,
    /// `traceparent` of the last call.
    pub traceparent: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub payments: BTreeMap<Uuid, Payment>,
    /// Whose payments those are that were ever asked for, whatever became of that.
    pub users: HashMap<Uuid, String>,
    /// Users without money, and what they are told.
    pub refused: HashMap<String, String>,
    /// Users whose payments are pending for so many looks.
    pub pending: HashMap<String, u32>,
}

/// Status and body.
pub(super) type Reply = (u16, Value);

impl Ledger {
    /// The payment's entry, a blank one when there is none.
    pub(super) fn entry(&mut self, id: Uuid) -> &mut Payment {
        self.payments.entry(id).or_insert_with(|| Payment {
            terms: None,
            debits: 0,
            refunds: 0,
            state: State::NeverHeard,
            calls: Vec::new(),
            correlation_id: None,
            traceparent: None,
        })
    }

    pub(super) fn pay(&mut self, id: Uuid, terms: Terms) -> Reply {
        let decided = self.decided(&terms.user_id);
        let pending = self
            .pending
            .get(&terms.user_id)
            .map(|looks| State::Pending { looks: *looks });
        let payment = self.entry(id);
        if payment.terms.as_ref().is_some_and(|known| known != &terms) {
            return (
                409,
                json!({ "message": "this payment was asked for with other terms" }),
            );
        }
        payment.terms = Some(terms);
        if payment.state == State::NeverHeard {
            payment.becomes(pending.unwrap_or(decided));
        }
        payment.told(id, Call::Pay)
    }

    pub(super) fn look(&mut self, id: Uuid) -> Reply {
        let user = self
            .entry(id)
            .terms
            .as_ref()
            .map(|terms| terms.user_id.clone());
        let decided = self.decided(&user.unwrap_or_default());
        let payment = self.entry(id);
        match &mut payment.state {
            State::Pending { looks } if *looks > 1 => *looks -= 1,
            State::Pending { .. } => payment.becomes(decided),
            State::NeverHeard
            | State::Paid
            | State::Refused(_)
            | State::Cancelled
            | State::Refunded => {}
        }
        payment.told(id, Call::Look)
    }

    pub(super) fn cancel(&mut self, id: Uuid) -> Reply {
        let payment = self.entry(id);
        if matches!(payment.state, State::NeverHeard | State::Pending { .. }) {
            payment.becomes(State::Cancelled);
        }
        payment.told(id, Call::Cancel)
    }

    /// Gives the money back; a payment that was not made never will be.
    pub(super) fn refund(&mut self, id: Uuid) -> Reply {
        let payment = self.entry(id);
        match payment.state {
            State::Paid => payment.becomes(State::Refunded),
            State::NeverHeard | State::Pending { .. } => payment.becomes(State::Cancelled),
            State::Refused(_) | State::Cancelled | State::Refunded => {}
        }
        payment.told(id, Call::Refund)
    }

    fn decided(&self, user: &str) -> State {
        self.refused
            .get(user)
            .map_or(State::Paid, |reason| State::Refused(reason.clone()))
    }
}

impl Payment {
    fn becomes(&mut self, state: State) {
        self.debits += u32::from(state == State::Paid);
        self.refunds += u32::from(state == State::Refunded);
        self.state = state;
    }

    fn told(&self, id: Uuid, call: Call) -> Reply {
        let told = |status, state: &str| (status, json!({ "paymentId": id, "state": state }));
        let refused = |reason: &str| {
            (
                200,
                json!({ "paymentId": id, "state": "REFUSED", "reason": reason }),
            )
        };
        match &self.state {
            State::NeverHeard => (404, json!({ "message": "no such payment" })),
            State::Pending { .. } => told(202, "PENDING"),
            State::Paid => told(200, "PAID"),
            State::Refused(reason) => refused(reason),
            State::Refunded => told(200, "REFUNDED"),
            State::Cancelled if matches!(call, Call::Cancel | Call::Refund) => {
                told(200, "CANCELLED")
            }
            State::Cancelled => refused("cancelled"),
        }
    }
}
