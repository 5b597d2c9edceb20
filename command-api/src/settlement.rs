//! The policy that gives every reservation its fate: for each open invest, ask for the payment, then settle or fail it
//! through the desk, which refuses a second fate.
//!
//! The work list is `open_invest`, apply-once from the log: nothing can be forgotten, and several instances share it.
//! Who writes a row hands it to its own process's settlement right away; a row that got no fate that way, for whatever
//! reason, is due a little later and taken by a sweep, of any instance.
//!
//! Who is asked is a [`Provider`]. One over HTTP may be slow, silent or wrong; what holds then is told in
//! `docs/payment-provider.md`: once payment was asked for, nothing but the provider's own word is the invest's fate.

mod answer;
mod approve;
mod calls;
mod circuit;
mod fate;
mod gauges;
mod http;
mod open_invest;
mod payment;
mod payments;
mod provider;
mod reason;
mod waiting;
mod waits;
mod work_list;

pub use http::{Http, InvalidPaymentUrl};
pub use open_invest::OpenInvest;
pub use provider::Provider;

use crate::desk::{Desks, Order, Request};
use chrono::{DateTime, TimeDelta, Utc};
use connection_pool::Pool;
use domain::{Amount, InvestId, ProductId, UserId};
use event_log::Metadata;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many open invests of each kind `approve` takes from the list together, and how many it sees to at once.
const TOGETHER: usize = 500;
/// How many may be handed over and wait; rows past that are left to the sweep.
const HANDED: usize = 8_192;
/// How often the list is swept for what is due.
const SWEEP: Duration = Duration::from_millis(500);

/// An open invest to be seen to.
#[derive(Debug)]
pub(crate) struct Due {
    invest_id: InvestId,
    product_id: ProductId,
    user_id: UserId,
    amount: Amount,
    expires_at: DateTime<Utc>,
    event_id: Uuid,
    correlation_id: String,
    traceparent: Option<String>,
    /// Until then nobody else takes it.
    taken_until: DateTime<Utc>,
    /// How often it was taken from the list; 0 when it was handed over.
    attempts: i32,
    /// Whether payment was asked for without an answer, so that it is only to be cancelled.
    cancelling: bool,
}

impl Due {
    fn order(self, request: Request) -> Order {
        let metadata = Metadata {
            correlation_id: self.correlation_id,
            causation_id: Some(self.event_id.to_string()),
            traceparent: self.traceparent,
        };
        Order::new(self.product_id, request, metadata)
    }
}

/// Both ends of what is handed over: for the consumers of `open_invest`, and for [`settle`] with this provider.
pub fn hand_over(provider: &Provider) -> (HandOver, Handed) {
    let (sender, receiver) = mpsc::channel(HANDED);
    (HandOver { sender, taken_for: provider.taken_for() }, Handed(receiver))
}

/// Where the consumers of `open_invest` hand new rows over.
#[derive(Clone, Debug)]
pub struct HandOver {
    sender: mpsc::Sender<Due>,
    taken_for: TimeDelta,
}

/// Where [`settle`] gets them.
#[derive(Debug)]
pub struct Handed(mpsc::Receiver<Due>);

impl Handed {
    /// Whether nothing can come any more; asking for it would be answered at once, for ever.
    fn is_over(&self) -> bool {
        self.0.is_closed() && self.0.is_empty()
    }
}

/// Gives open invests their fate, as `provider` says, until `shutdown`; what is under way then is finished, within 4 s.
/// Dropping it half way loses nothing: the rows are due again a little later.
pub async fn settle(desks: Desks, pool: Pool, provider: Provider, handed: Handed, shutdown: CancellationToken) {
    let settling = async {
        match provider {
            Provider::Approve => approve::settle(&desks, &pool, handed, &shutdown).await,
            Provider::Http(http) => payments::settle(desks.clone(), &pool, http, handed, &shutdown).await,
        }
    };
    tokio::join!(settling, gauges::keep(&pool, &shutdown));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An open invest with this id, taken until then.
    pub(super) fn due(id: u128, taken_until: DateTime<Utc>) -> Due {
        Due {
            invest_id: InvestId(Uuid::from_u128(id)),
            product_id: ProductId::try_from(1).unwrap(),
            user_id: UserId::try_from("user1".to_owned()).unwrap(),
            amount: Amount::try_from(1).unwrap(),
            expires_at: taken_until,
            event_id: Uuid::nil(),
            correlation_id: String::new(),
            traceparent: None,
            taken_until,
            attempts: 0,
            cancelling: false,
        }
    }
}
