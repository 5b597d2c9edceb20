//! `GET /admin/audit/product/{id}?at=|sequence=`: one product as its stream had it then.

use super::{at, reject_future};
use crate::Audit;
use crate::problem::problem;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use domain::{Amount, GiveBackReason, ProductEvent, ProductId, UserId};
use edge::{FieldProblem, Params, Problem, ProductIdPath, ServiceTime};
use event_log::{Log, LogError, RecordedEvent, VersionedProduct};
use query_api::{ProductState, Terms, TermsItem, product_status};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Events that one read of a stream takes.
const EVENTS_PER_READ: i64 = 5_000;

/// Up to where a stream is folded.
#[derive(Clone, Copy)]
enum FoldBound {
    Time(DateTime<Utc>),
    Sequence(i64),
}

pub(super) async fn one(
    State(audit): State<Arc<Audit>>,
    ProductIdPath(id): ProductIdPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let (at, sequence) = (
        at(&mut params, audit.time),
        params.int("sequence", from_one),
    );
    let upto = match (at, sequence) {
        (Some(Some(_)), Some(Some(_))) => {
            params.wrong("sequence", "and at exclude each other: give one of them");
            return Err(params.refuse());
        }
        (Some(at), Some(None)) => FoldBound::Time(time_of(&audit, at).await?),
        (Some(None), Some(Some(sequence))) => FoldBound::Sequence(sequence),
        (None, _) | (_, None) => return Err(params.refuse()),
    };
    let folded = Folded::of(&audit.log, id, upto).await.map_err(problem)?;
    folded.view(upto, audit.time).map(edge::ok)
}

/// The time that was given, else now.
async fn time_of(audit: &Audit, at: Option<DateTime<Utc>>) -> Result<DateTime<Utc>, Problem> {
    match at {
        Some(at) => reject_future(&audit.log, at, audit.time).await.map(|()| at),
        None => Ok(audit.log.heads_now().await.map_err(problem)?.1),
    }
}

fn from_one(sequence: i64) -> Result<i64, &'static str> {
    if sequence >= 1 {
        Ok(sequence)
    } else {
        Err("must be a whole number from 1")
    }
}

/// What `ProductOpened` fixes.
struct Opening {
    title: String,
    total: i64,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    terms: Terms,
}

/// A stream, folded up to somewhere.
#[derive(Default)]
struct Folded {
    /// The domain's own aggregate.
    state: VersionedProduct,
    /// What it has no use for.
    opening: Option<Opening>,
    closed: bool,
    cancel_reason: Option<String>,
    target_missed: bool,
    /// Won that each user has reserved or settled; never 0.
    users: HashMap<UserId, i64>,
    /// Invests that are settled now, as the following.
    settled: i64,
    failed: i64,
    withdrawn: i64,
    refunded: i64,
    last: Option<RecordedEvent>,
    /// The first event that lies beyond.
    next: Option<RecordedEvent>,
}

impl Folded {
    async fn of(log: &Log, id: ProductId, upto: FoldBound) -> Result<Self, LogError> {
        let mut folded = Self::default();
        loop {
            let events = log
                .read_stream(id, folded.state.sequence, EVENTS_PER_READ)
                .await?;
            let is_last_page = (events.len() as i64) < EVENTS_PER_READ;
            for event in events {
                if upto.is_before(&event) {
                    folded.next = Some(event);
                    return Ok(folded);
                }
                folded.apply(event)?;
            }
            if is_last_page {
                return Ok(folded);
            }
        }
    }

    fn apply(&mut self, event: RecordedEvent) -> Result<(), LogError> {
        if event.sequence != self.state.sequence + 1 {
            let reason = format!(
                "the stream of product {} has a hole before sequence {}",
                event.product_id, event.sequence
            );
            return Err(LogError::Broken {
                partition: event.partition,
                position: event.position,
                reason,
            });
        }
        self.state.apply(&event);
        match &event.event {
            ProductEvent::ProductOpened {
                title,
                total_investing_amount,
                started_at,
                finished_at,
                terms,
                ..
            } => {
                let (title, total) = (title.as_str().into(), total_investing_amount.won());
                let (started_at, finished_at, terms) = (*started_at, *finished_at, shown(terms));
                self.opening = Some(Opening {
                    title,
                    total,
                    started_at,
                    finished_at,
                    terms,
                });
            }
            ProductEvent::InvestReserved {
                user_id, amount, ..
            } => {
                *self.users.entry(user_id.clone()).or_default() += amount.won();
            }
            ProductEvent::InvestSettled { .. } => self.settled += 1,
            ProductEvent::InvestFailed {
                user_id, amount, ..
            } => {
                self.failed += 1;
                self.release(user_id, *amount);
            }
            ProductEvent::InvestWithdrawn {
                user_id,
                amount,
                settled,
                ..
            } => {
                self.settled -= i64::from(*settled);
                self.withdrawn += 1;
                self.release(user_id, *amount);
            }
            ProductEvent::InvestRefunded { code, .. }
                if code == GiveBackReason::Withdrawn.code() =>
            {
                self.withdrawn -= 1;
                self.refunded += 1;
            }
            ProductEvent::InvestRefunded {
                user_id, amount, ..
            } => {
                self.settled -= 1;
                self.refunded += 1;
                self.release(user_id, *amount);
            }
            ProductEvent::ProductClosed {} => self.closed = true,
            ProductEvent::ProductCancelled { reason } => {
                self.cancel_reason = Some(reason.as_str().into())
            }
            ProductEvent::ProductFailed { .. } => self.target_missed = true,
        }
        self.last = Some(event);
        Ok(())
    }

    fn release(&mut self, user_id: &UserId, amount: Amount) {
        let left = self.users.entry(user_id.clone()).or_default();
        *left -= amount.won();
        if *left == 0 {
            self.users.remove(user_id);
        }
    }

    /// What an auditor is shown; a refusal when there was no product then.
    fn view(&self, upto: FoldBound, time: ServiceTime) -> Result<Item, Problem> {
        let (Some(opening), Some(last)) = (&self.opening, &self.last) else {
            return Err(self.not_there(upto, time));
        };
        match upto {
            FoldBound::Sequence(sequence) if sequence > self.state.sequence => {
                let words = format!(
                    "is beyond the end of the stream, which has {} events so far",
                    self.state.sequence
                );
                return Err(Problem::invalid(
                    FieldProblem::new("sequence", words).given(&sequence.to_string()),
                ));
            }
            FoldBound::Sequence(_) | FoldBound::Time(_) => {}
        }
        let at = match upto {
            FoldBound::Time(at) => Some(at),
            FoldBound::Sequence(_) => None,
        };
        Ok(self.item(opening, last, at, time))
    }

    fn not_there(&self, upto: FoldBound, time: ServiceTime) -> Problem {
        match (upto, &self.next) {
            (FoldBound::Time(_), Some(first)) => {
                let words = format!(
                    "is before the product was opened, at {}",
                    time.format(first.recorded_at)
                );
                Problem::invalid(FieldProblem::new("at", words))
            }
            _ => Problem::NotFound,
        }
    }

    fn item(
        &self,
        opening: &Opening,
        last: &RecordedEvent,
        at: Option<DateTime<Utc>>,
        time: ServiceTime,
    ) -> Item {
        let product = &self.state.product;
        let taken = product.reserved() + product.settled();
        Item {
            product_id: last.product_id.get(),
            title: opening.title.clone(),
            total_investing_amount: opening.total,
            current_investing_amount: taken,
            reserved_amount: product.reserved(),
            settled_amount: product.settled(),
            investing_cnt: self.users.len(),
            open_count: product.open_invests().count(),
            settled_count: self.settled,
            failed_count: self.failed,
            withdrawn_count: self.withdrawn,
            refunded_count: self.refunded,
            started_at: time.format(opening.started_at),
            finished_at: time.format(opening.finished_at),
            closed: self.closed,
            cancel_reason: self.cancel_reason.clone(),
            target_missed: self.target_missed,
            terms: opening.terms.item(time),
            state: at.map(|at| self.word(opening, taken, at)),
            at: at.map(|at| time.format(at)),
            sequence: last.sequence,
            partition: last.partition,
            position: last.position,
            event_id: last.event_id.to_string(),
            recorded_at: time.format(last.recorded_at),
        }
    }

    /// As operators see it in their list.
    fn word(&self, opening: &Opening, taken: i64, at: DateTime<Utc>) -> &'static str {
        let product = ProductState {
            cancelled: self.cancel_reason.is_some(),
            failed: self.target_missed,
            closed: self.closed,
            started_at: opening.started_at,
            finished_at: opening.finished_at,
            total_amount: opening.total,
            current_amount: taken,
        };
        product_status(product, at)
    }
}

/// The terms as the public view has them.
fn shown(terms: &domain::Terms) -> Terms {
    let domain::Terms {
        min_invest_amount,
        invest_amount_unit,
        max_amount_per_user,
        target_amount,
        withdrawable_until,
    } = *terms;
    Terms {
        min_invest_amount: min_invest_amount.map(Amount::won),
        invest_amount_unit: invest_amount_unit.map(Amount::won),
        max_amount_per_user: max_amount_per_user.map(Amount::won),
        target_amount: target_amount.map(Amount::won),
        withdrawable_until,
    }
}

impl FoldBound {
    fn is_before(self, event: &RecordedEvent) -> bool {
        match self {
            Self::Time(at) => event.recorded_at > at,
            Self::Sequence(sequence) => event.sequence > sequence,
        }
    }
}

/// A product as it stood.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProductAsOf)]
pub(crate) struct Item {
    product_id: i64,
    title: String,
    total_investing_amount: i64,
    /// Reserved and settled.
    current_investing_amount: i64,
    reserved_amount: i64,
    settled_amount: i64,
    /// Distinct users with either.
    investing_cnt: usize,
    open_count: usize,
    settled_count: i64,
    failed_count: i64,
    /// Whose refund is owed.
    withdrawn_count: i64,
    refunded_count: i64,
    started_at: String,
    finished_at: String,
    closed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<String>,
    /// It has failed: too little was taken when its window ended.
    target_missed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    terms: Option<TermsItem>,
    /// At `at`; null when a sequence was asked for.
    state: Option<&'static str>,
    at: Option<String>,
    /// Of the last event that is in it, as what follows.
    sequence: i64,
    partition: i32,
    position: i64,
    event_id: String,
    recorded_at: String,
}
