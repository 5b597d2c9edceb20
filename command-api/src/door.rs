//! What every request to the way in needs: the desks, and how a verdict is told over HTTP.

use crate::desk::{Answer, Desks, NoVerdict, Order, Verdict};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use domain::{InvestId, Refusal};
use edge::{ConsistencyToken, Correlation, Problem, ServiceTime, header};
use event_log::Metadata;
use serde::Serialize;

/// Everything the way in's handlers share; clones are cheap.
#[derive(Clone)]
pub struct Door {
    desks: Desks,
    time: ServiceTime,
}

impl Door {
    /// A door to `desks` that reads local times in `time`'s zone.
    pub fn new(desks: Desks, time: ServiceTime) -> Self {
        Self { desks, time }
    }

    pub(crate) fn desks(&self) -> &Desks {
        &self.desks
    }

    pub(crate) fn time(&self) -> ServiceTime {
        self.time
    }

    /// Has `order` decided and tells the verdict; `data` is what an accepted one answers.
    pub(crate) async fn decide<T: Serialize>(&self, order: Order, data: impl FnOnce(&Verdict) -> T) -> Response {
        let invest_id = order.invest_id();
        let verdict = self.desks.submit(order).await;
        metrics::counter!("moa_orders_total", "answer" => name(&verdict)).increment(1);
        match verdict {
            Ok(verdict) => self.tell(&verdict, data),
            Err(no) => with_invest_id(no_verdict(no, invest_id).into_response(), None),
        }
    }

    fn tell<T: Serialize>(&self, verdict: &Verdict, data: impl FnOnce(&Verdict) -> T) -> Response {
        let mut response = match problem(verdict.answer) {
            None => edge::ok(data(verdict)),
            Some(problem) => problem.into_response(),
        };
        let made = verdict.invest_id.filter(|_| verdict.answer == Answer::Accepted);
        response.headers_mut().insert(header::CONSISTENCY_TOKEN, self.token(verdict).header_value());
        if verdict.replayed {
            response.headers_mut().insert(header::IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
        }
        with_invest_id(response, made)
    }

    fn token(&self, verdict: &Verdict) -> ConsistencyToken {
        let (partition, position) = verdict.position;
        let log = self.desks.log();
        let positions = log.partitions().map(|p| if p == partition { position } else { 0 }).collect();
        ConsistencyToken::new(log.identity().log_id, positions)
    }
}

/// The metadata of an event that a request leads to.
pub(crate) fn metadata(correlation: &Correlation) -> Metadata {
    Metadata {
        correlation_id: correlation.id().to_owned(),
        causation_id: None,
        traceparent: correlation.traceparent().map(str::to_owned),
    }
}

fn with_invest_id(mut response: Response, invest_id: Option<InvestId>) -> Response {
    if let Some(value) = invest_id.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
        response.headers_mut().insert(header::INVEST_ID, value);
    }
    response
}

/// The one place where a decision becomes an answer of the contract.
fn problem(answer: Answer) -> Option<Problem> {
    match answer {
        Answer::Accepted => None,
        Answer::SoldOut { remaining } => Some(Problem::SoldOut { remaining }),
        Answer::Finished => Some(Problem::Finished),
        Answer::Closed => Some(Problem::Closed),
        Answer::Refused(Refusal::NotExist) => Some(Problem::NotExistProduct),
        Answer::Refused(Refusal::NotStarted) => Some(Problem::NotStarted),
        Answer::Refused(Refusal::SoldOut { remaining }) => Some(Problem::SoldOut { remaining }),
        Answer::Refused(Refusal::Finished) => Some(Problem::Finished),
        Answer::Refused(Refusal::Closed) => Some(Problem::Closed),
        // None of these can follow from a request over HTTP: its ids are fresh, and fates are settlement's.
        Answer::Refused(
            refusal @ (Refusal::AlreadyOpened | Refusal::AlreadyReserved | Refusal::NotOpen | Refusal::NotExpired),
        ) => Some(Problem::internal(refusal)),
    }
}

/// An answer's name among the metrics.
fn name(verdict: &Result<Verdict, NoVerdict>) -> &'static str {
    match verdict {
        Ok(Verdict { replayed: true, .. }) => "replayed",
        Ok(Verdict { answer: Answer::Accepted, .. }) => "accepted",
        Ok(Verdict { answer: Answer::SoldOut { .. }, .. }) => "sold_out",
        Ok(Verdict { answer: Answer::Finished | Answer::Closed | Answer::Refused(_), .. }) => "refused",
        Err(NoVerdict::Overloaded) => "overloaded",
        Err(NoVerdict::KeyReused) => "key_reused",
        Err(NoVerdict::OutcomeUnknown) => "outcome_unknown",
        Err(NoVerdict::Broken) => "broken",
    }
}

fn no_verdict(no: NoVerdict, invest_id: Option<InvestId>) -> Problem {
    match no {
        NoVerdict::Overloaded => Problem::Overloaded,
        NoVerdict::KeyReused => Problem::IdempotencyKeyReused,
        NoVerdict::OutcomeUnknown => Problem::OutcomeUnknown { invest_id },
        NoVerdict::Broken => Problem::internal(no),
    }
}
