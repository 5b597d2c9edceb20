//! The consumer of `open_invest`, the work list of invests whose money is still to be moved: a reservation adds a row, its fate deletes
//! it; a withdrawal adds one, the refund deletes it. It also keeps which products have a target to be checked, and which are given back.

use super::{FastPathSender, GivenBack, OpenInvestTask, mass_refund, target, work_list};
use chrono::TimeDelta;
use connection_pool::Connection;
use domain::ProductEvent;
use event_log::RecordedEvent;
use event_log::consume::{ApplyError, Projection};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// How long events gather under load when nobody waits for the rows: most reservations have their fate by then.
const LINGER_DELAY: Duration = Duration::from_secs(1);

/// Keeps the work list of one partition, and sends new reservations over the fast path to settlement.
#[derive(Debug)]
pub struct OpenInvest {
    settlement: FastPathSender,
    /// What the current step adds, the oldest first; sent when it has committed.
    added: Mutex<Vec<OpenInvestTask>>,
}

impl OpenInvest {
    /// For one partition's consumer: the steps of two must not mix.
    pub fn new(settlement: FastPathSender) -> Self {
        Self {
            settlement,
            added: Mutex::default(),
        }
    }

    /// How long its consumer lets events gather under load. With `approve` most reservations have their fate by then, and never become
    /// a row; a payment over HTTP waits for its row.
    pub fn linger(&self) -> Duration {
        if self.settlement.sender.is_none() {
            LINGER_DELAY
        } else {
            Duration::ZERO
        }
    }

    fn added(&self) -> std::sync::MutexGuard<'_, Vec<OpenInvestTask>> {
        // A panic while it was locked left a complete list.
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct Rows<'a> {
    added: HashMap<Uuid, &'a RecordedEvent>,
    removed: Vec<Uuid>,
    /// Their products may have ended before.
    settled: Vec<&'a RecordedEvent>,
    /// What began or ended a product.
    of_products: Vec<&'a RecordedEvent>,
}

impl<'a> Rows<'a> {
    fn fold(events: &'a [RecordedEvent]) -> Self {
        let mut rows = Self::default();
        for recorded in events {
            match &recorded.event {
                ProductEvent::InvestReserved { invest_id, .. } => {
                    rows.added.insert(invest_id.0, recorded);
                }
                ProductEvent::InvestSettled { invest_id, .. } => {
                    rows.remove(invest_id.0);
                    rows.settled.push(recorded);
                }
                ProductEvent::InvestFailed { invest_id, .. }
                | ProductEvent::InvestRefunded { invest_id, .. } => rows.remove(invest_id.0),
                // The row of the reservation, if there is one, makes way for that of the withdrawal.
                ProductEvent::InvestWithdrawn { invest_id, .. } => {
                    rows.remove(invest_id.0);
                    rows.added.insert(invest_id.0, recorded);
                }
                ProductEvent::ProductClosed {} => {}
                ProductEvent::ProductOpened { .. }
                | ProductEvent::ProductCancelled { .. }
                | ProductEvent::ProductFailed { .. } => rows.of_products.push(recorded),
            }
        }
        rows
    }

    /// One that is added and removed within the batch never becomes a row.
    fn remove(&mut self, invest_id: Uuid) {
        if self.added.remove(&invest_id).is_none() {
            self.removed.push(invest_id);
        }
    }
}

impl Projection for OpenInvest {
    const NAME: &'static str = "open_invest";

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        let rows = Rows::fold(events);
        for recorded in &rows.of_products {
            target::apply(transaction, recorded).await?;
            mass_refund::apply(transaction, recorded).await?;
        }
        if delete(transaction, &rows).await? {
            let late = mass_refund::settled_late(transaction, &rows.settled).await?;
            work_list::insert(transaction, late.into_iter()).await?;
        }
        if !rows.added.is_empty() {
            let added = rows.added.values().copied();
            work_list::insert(
                transaction,
                added.filter_map(|recorded| due(recorded, self.settlement.visibility_timeout)),
            )
            .await?;
        }
        if self.settlement.sender.is_none() {
            return Ok(());
        }
        let visibility_timeout = self.settlement.visibility_timeout;
        let mut added: Vec<_> = rows.added.into_values().collect();
        added.sort_unstable_by_key(|recorded| recorded.position);
        let due = added
            .into_iter()
            .filter_map(|recorded| due(recorded, visibility_timeout));
        // A refund is not urgent: the sweep claims it, among the payments that are not new.
        *self.added() = due.filter(|due| due.given_back.is_none()).collect();
        Ok(())
    }

    fn applied(&self) {
        let Some(settlement) = &self.settlement.sender else {
            return;
        };
        for due in self.added().drain(..) {
            // When the channel is full or closed, a sweep claims the row when it is due.
            settlement.try_send(due).ok();
        }
    }
}

/// Deletes what has its fate. Returns whether products are being given back, of which some may be settled.
async fn delete(transaction: &mut Connection, rows: &Rows<'_>) -> sqlx::Result<bool> {
    if rows.removed.is_empty() && rows.settled.is_empty() {
        return Ok(false);
    }
    sqlx::query_scalar(
        "with gone as (delete from open_invest where invest_id = any($1)) select exists (select from mass_refunds)",
    )
    .bind(&rows.removed)
    .fetch_one(transaction)
    .await
}

/// The task of a reservation or a withdrawal; `None` of another event. A withdrawal's is due at once.
pub(super) fn due(
    recorded: &RecordedEvent,
    visibility_timeout: TimeDelta,
) -> Option<OpenInvestTask> {
    let at = recorded.recorded_at;
    let (invest_id, user_id, amount, expires_at, claimed_until, given_back) = match &recorded.event
    {
        ProductEvent::InvestReserved {
            invest_id,
            user_id,
            amount,
            expires_at,
        } => {
            // Claimed by the settlement that it is sent to.
            (
                invest_id,
                user_id,
                amount,
                *expires_at,
                at + visibility_timeout,
                None,
            )
        }
        ProductEvent::InvestWithdrawn {
            invest_id,
            user_id,
            amount,
            settled,
        } => {
            let given_back = if *settled {
                GivenBack::Settled
            } else {
                GivenBack::Reserved
            };
            (invest_id, user_id, amount, at, at, Some(given_back))
        }
        ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestRefunded { .. }
        | ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => return None,
    };
    Some(OpenInvestTask {
        invest_id: *invest_id,
        product_id: recorded.product_id,
        user_id: user_id.clone(),
        amount: *amount,
        expires_at,
        event_id: recorded.event_id,
        correlation_id: recorded.metadata.correlation_id.clone(),
        traceparent: recorded.metadata.traceparent.clone(),
        claimed_until,
        attempts: 0,
        cancelling: false,
        given_back,
    })
}
