//! The ledger against the log: one debit standing per settled invest, none for one that failed or was withdrawn, and none of any other.

use std::collections::{BTreeMap, HashMap};

use sqlx::{FromRow, PgExecutor};
use uuid::Uuid;

use super::Payment;

/// What became of an invest, as an outsider reads it in the log.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct Fate {
    /// Which invest; the payment has the same id.
    pub invest_id: Uuid,
    /// Of which product.
    pub product_id: i64,
    /// Whose money.
    pub user_id: String,
    /// Whole won.
    pub amount: i64,
    /// Whether it is a holding; else it failed, or was withdrawn.
    pub settled: bool,
}

/// All fates in the log of `database`.
pub(super) async fn fates(database: impl PgExecutor<'_>) -> Vec<Fate> {
    sqlx::query_as(
        // A withdrawal follows at most one settlement and takes its place, and so does a refund; any other second fate is one too many.
        "with fates as (
            select (payload->event_type->>'investId')::uuid invest_id, aggregate_id::bigint product_id,
                   payload->event_type->>'userId' user_id, (payload->event_type->>'amount')::bigint amount,
                   event_type, partition, position
              from events
             where event_type in ('InvestSettled', 'InvestFailed', 'InvestWithdrawn', 'InvestRefunded'))
         select invest_id, product_id, user_id, amount, event_type = 'InvestSettled' settled
           from fates
          where not exists (select from fates later
                             where later.invest_id = fates.invest_id and later.position > fates.position
                               and (fates.event_type, later.event_type) in
                                   (('InvestSettled', 'InvestWithdrawn'), ('InvestSettled', 'InvestRefunded'),
                                    ('InvestWithdrawn', 'InvestRefunded')))
          order by partition, position",
    )
    .fetch_all(database)
    .await
    .expect("the log can be read")
}

/// Where a ledger and the fates in a log contradict each other, a sentence each.
pub fn contradictions(ledger: &BTreeMap<Uuid, Payment>, fates: &[Fate]) -> Vec<String> {
    let mut known: HashMap<Uuid, &Fate> = HashMap::new();
    let mut found = Vec::new();
    for fate in fates {
        if known.insert(fate.invest_id, fate).is_some() {
            found.push(format!("{} has two fates", fate.invest_id));
        }
        found.extend(against(ledger.get(&fate.invest_id), fate));
    }
    let debited = ledger
        .iter()
        .filter(|(_, payment)| payment.debits > payment.refunds);
    found.extend(
        debited
            .filter(|(id, _)| !known.contains_key(id))
            .map(|(id, _)| format!("{id} is paid and has no fate")),
    );
    found
}

/// What is wrong with the payment of an invest with this fate.
fn against(payment: Option<&Payment>, fate: &Fate) -> Option<String> {
    let (id, debits) = (fate.invest_id, payment.map_or(0, |payment| payment.debits));
    if payment.is_some_and(|payment| payment.refunds > payment.debits) {
        return Some(format!("{id} was refunded more often than debited"));
    }
    let debits = debits - payment.map_or(0, |payment| payment.refunds);
    if debits != u32::from(fate.settled) {
        let fate = if fate.settled { "settled" } else { "failed" };
        return Some(format!("{id} is {fate} and {debits} debits stand"));
    }
    let terms = payment.filter(|_| fate.settled)?.terms.as_ref()?;
    let as_asked = (terms.product_id, terms.user_id.as_str(), terms.amount);
    let as_settled = (fate.product_id, fate.user_id.as_str(), fate.amount);
    (as_asked != as_settled)
        .then(|| format!("{id} is settled as {as_settled:?} and was debited as {as_asked:?}"))
}
