//! Settlement is the policy (process manager) that gives every reservation its fate: for each open invest it asks for the payment, then
//! settles or fails the invest through the partition processor, where the aggregate refuses a second fate.
//!
//! The work list is `open_invest`, kept apply-once from the log: no invest can be forgotten, and several instances share it. A new
//! reservation takes a fast path to its own process's settlement: with `approve` as soon as it is appended, with a provider over HTTP
//! once its row is written. A row that gets no fate that way, for whatever reason, is due when its claim ends, and a sweep of any
//! instance claims it.
//!
//! A [`Provider`] over HTTP may be slow, silent or wrong. `docs/payment-provider.md` says what holds then: once a payment was requested,
//! only the provider's own word is the invest's fate.

mod approve;
mod call_span;
mod calls;
mod circuit_breaker;
mod fate;
mod first_calls;
mod gauges;
mod http;
mod mass_refund;
mod open_invest;
mod payment;
mod payments;
mod protocol;
mod provider;
mod redact;
mod target;
mod timeouts;
mod work_list;

pub use http::{Http, InvalidPaymentUrlError};
pub use open_invest::OpenInvest;
pub use provider::Provider;

use crate::processor::{CommandEnvelope, PartitionProcessors, UntimedCommand};
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductCommand, ProductId, UserId};
use event_log::Metadata;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Open invests of each kind that `approve` claims together, and settles at once.
const CLAIM_BATCH: usize = 500;
/// Reservations that wait in the fast path; others are left to the sweep.
const FAST_PATH_CAPACITY: usize = 8_192;
/// How often the list is swept for what is due.
const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// An open invest to be settled.
#[derive(Debug)]
pub(crate) struct OpenInvestTask {
    invest_id: InvestId,
    product_id: ProductId,
    user_id: UserId,
    amount: Amount,
    expires_at: DateTime<Utc>,
    event_id: Uuid,
    correlation_id: String,
    traceparent: Option<String>,
    /// Until then no other process claims it.
    claimed_until: DateTime<Utc>,
    /// How often it was claimed from the list; 0 when it came over the fast path.
    attempts: i32,
    /// Whether its payment was requested without an answer, so that it is only to be cancelled.
    cancelling: bool,
    /// What it was when it was withdrawn or its product ended, if so: then its money is to be given back.
    given_back: Option<GivenBack>,
}

/// What an invest was that is given back, which tells how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GivenBack {
    /// A reservation: its payment is cancelled, and refunded if it was made.
    Reserved,
    /// A holding: its payment is refunded.
    Settled,
}

impl GivenBack {
    /// Its stored name.
    fn name(self) -> &'static str {
        match self {
            Self::Reserved => "RESERVED",
            Self::Settled => "SETTLED",
        }
    }

    fn from_stored(name: &str) -> Option<Self> {
        [Self::Reserved, Self::Settled]
            .into_iter()
            .find(|given_back| given_back.name() == name)
    }
}

impl OpenInvestTask {
    /// The command that says that the provider has none of its money any more.
    fn refunded(&self) -> ProductCommand {
        let (invest_id, user_id, amount) = (self.invest_id, self.user_id.clone(), self.amount);
        ProductCommand::RefundInvest {
            invest_id,
            user_id,
            amount,
        }
    }

    fn envelope(self, command: UntimedCommand) -> CommandEnvelope {
        let metadata = Metadata {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id.to_string()),
            traceparent: self.traceparent,
            ..Metadata::default()
        };
        CommandEnvelope::new(self.product_id, command, metadata)
    }
}

/// Both ends of the fast path: for the consumers of `open_invest`, and for [`settle`] with this provider.
pub fn fast_path(provider: &Provider) -> (FastPathSender, FastPathReceiver) {
    let (sender, receiver) = mpsc::channel(FAST_PATH_CAPACITY);
    // `approve` does not wait for the rows.
    let sender = matches!(provider, Provider::Http(_)).then_some(sender);
    (
        FastPathSender {
            sender,
            visibility_timeout: provider.visibility_timeout(),
        },
        FastPathReceiver(receiver),
    )
}

/// Where the consumers of `open_invest` send new reservations.
#[derive(Clone, Debug)]
pub struct FastPathSender {
    sender: Option<mpsc::Sender<OpenInvestTask>>,
    visibility_timeout: TimeDelta,
}

/// Where [`settle`] receives them.
#[derive(Debug)]
pub struct FastPathReceiver(mpsc::Receiver<OpenInvestTask>);

impl FastPathReceiver {
    /// Whether all senders are gone and nothing is left: receiving would complete at once, for ever.
    fn is_over(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// Gives open invests their fate, as `provider` says, until `shutdown`; payments in flight are then finished, within 4 s. Dropping the
/// future loses nothing: the rows are due again when their claims end.
pub async fn settle(
    processors: PartitionProcessors,
    pool: Pool,
    provider: Provider,
    fast_path: FastPathReceiver,
    shutdown: CancellationToken,
) {
    let settling = async {
        match provider {
            Provider::Approve => approve::settle(&processors, &pool, &shutdown).await,
            Provider::Http(http) => {
                payments::settle(processors.clone(), &pool, http, fast_path, &shutdown).await
            }
        }
    };
    tokio::join!(
        settling,
        target::check(&processors, &pool, &shutdown),
        mass_refund::advance(processors.log(), &pool, &shutdown),
        gauges::keep(&pool, &shutdown)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open invest with this id, taken until then.
    pub(super) fn due(id: u128, claimed_until: DateTime<Utc>) -> OpenInvestTask {
        OpenInvestTask {
            invest_id: InvestId(Uuid::from_u128(id)),
            product_id: ProductId::try_from(1).unwrap(),
            user_id: UserId::try_from("user1".to_owned()).unwrap(),
            amount: Amount::try_from(1).unwrap(),
            expires_at: claimed_until,
            event_id: Uuid::nil(),
            correlation_id: String::new(),
            traceparent: None,
            claimed_until,
            attempts: 0,
            cancelling: false,
            given_back: None,
        }
    }
}
