//! The consumer of `open_invest`, the work list of reservations without a fate: a reservation adds a row, its fate deletes it.

use super::{FastPathSender, OpenInvestTask};
use chrono::TimeDelta;
use connection_pool::Connection;
use domain::{InvestId, ProductEvent};
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
        Self { settlement, added: Mutex::default() }
    }

    /// How long its consumer lets events gather under load. With `approve` most reservations have their fate by then, and never become
    /// a row; a payment over HTTP waits for its row.
    pub fn linger(&self) -> Duration {
        if self.settlement.sender.is_none() { LINGER_DELAY } else { Duration::ZERO }
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
}

impl<'a> Rows<'a> {
    fn fold(events: &'a [RecordedEvent]) -> Self {
        let mut rows = Self::default();
        for recorded in events {
            match &recorded.event {
                ProductEvent::InvestReserved { invest_id, .. } => {
                    rows.added.insert(invest_id.0, recorded);
                }
                ProductEvent::InvestSettled { invest_id, .. } | ProductEvent::InvestFailed { invest_id, .. } => {
                    // One that got its fate within the batch never becomes a row.
                    if rows.added.remove(&invest_id.0).is_none() {
                        rows.removed.push(invest_id.0);
                    }
                }
                ProductEvent::ProductOpened { .. } | ProductEvent::ProductClosed {} => {}
            }
        }
        rows
    }
}

impl Projection for OpenInvest {
    const NAME: &'static str = "open_invest";

    async fn apply(&self, transaction: &mut Connection, events: &[RecordedEvent]) -> Result<(), ApplyError> {
        let rows = Rows::fold(events);
        if !rows.removed.is_empty() {
            sqlx::query("delete from open_invest where invest_id = any($1)")
                .bind(&rows.removed)
                .execute(&mut *transaction)
                .await?;
        }
        if !rows.added.is_empty() {
            insert(transaction, rows.added.values().copied(), self.settlement.visibility_timeout).await?;
        }
        if self.settlement.sender.is_none() {
            return Ok(());
        }
        let visibility_timeout = self.settlement.visibility_timeout;
        let mut added: Vec<_> = rows.added.into_values().collect();
        added.sort_unstable_by_key(|recorded| recorded.position);
        *self.added() = added.into_iter().filter_map(|recorded| due(recorded, visibility_timeout)).collect();
        Ok(())
    }

    fn applied(&self) {
        let Some(settlement) = &self.settlement.sender else { return };
        for due in self.added().drain(..) {
            // When the channel is full or closed, a sweep claims the row when it is due.
            settlement.try_send(due).ok();
        }
    }
}

/// The task of a reservation; `None` of another event.
pub(super) fn due(recorded: &RecordedEvent, visibility_timeout: TimeDelta) -> Option<OpenInvestTask> {
    let ProductEvent::InvestReserved { invest_id, user_id, amount, expires_at } = &recorded.event else { return None };
    Some(OpenInvestTask {
        invest_id: InvestId(invest_id.0),
        product_id: recorded.product_id,
        user_id: user_id.clone(),
        amount: *amount,
        expires_at: *expires_at,
        event_id: recorded.event_id,
        correlation_id: recorded.metadata.correlation_id.clone(),
        traceparent: recorded.metadata.traceparent.clone(),
        claimed_until: recorded.recorded_at + visibility_timeout,
        attempts: 0,
        cancelling: false,
    })
}

async fn insert<'a>(
    transaction: &mut Connection,
    added: impl Iterator<Item = &'a RecordedEvent>,
    visibility_timeout: TimeDelta,
) -> sqlx::Result<()> {
    let (mut invests, mut products, mut users) = (Vec::new(), Vec::new(), Vec::new());
    let (mut amounts, mut expiries, mut causes) = (Vec::new(), Vec::new(), Vec::new());
    let (mut correlations, mut traces, mut due) = (Vec::new(), Vec::new(), Vec::new());
    for recorded in added {
        let ProductEvent::InvestReserved { invest_id, user_id, amount, expires_at } = &recorded.event else { continue };
        invests.push(invest_id.0);
        products.push(recorded.product_id.get());
        users.push(user_id.as_str());
        amounts.push(amount.won());
        expiries.push(*expires_at);
        causes.push(recorded.event_id);
        correlations.push(recorded.metadata.correlation_id.as_str());
        traces.push(recorded.metadata.traceparent.as_deref());
        // Claimed by the settlement that it is sent to.
        due.push(recorded.recorded_at + visibility_timeout);
    }
    sqlx::query(
        "insert into open_invest
             (invest_id, product_id, user_id, amount, expires_at, event_id, correlation_id, traceparent, due_at)
         select * from unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[], $5::timestamptz[], $6::uuid[],
                              $7::text[], $8::text[], $9::timestamptz[])",
    )
    .bind(invests)
    .bind(products)
    .bind(users)
    .bind(amounts)
    .bind(expiries)
    .bind(causes)
    .bind(correlations)
    .bind(traces)
    .bind(due)
    .execute(transaction)
    .await?;
    Ok(())
}
