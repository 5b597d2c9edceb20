//! The state of the write side's routes, and how a command's outcome becomes a response of the contract.

use crate::problem;
use crate::processor::{CommandEnvelope, CommandError, CommandOutcome, PartitionProcessors};
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use domain::{InvestId, Refusal};
use edge::{Actor, ConsistencyToken, Correlation, LogIncarnation, ServiceTime, header};
use event_log::Metadata;
use event_log::acts::ActOutcome;
use serde::Serialize;
use serde_json::json;

/// What the write side's handlers share; clones are cheap.
#[derive(Clone)]
pub struct CommandApi {
    processors: PartitionProcessors,
    time: ServiceTime,
}

impl CommandApi {
    /// Handlers that submit to `processors` and read local times in `time`'s zone.
    pub fn new(processors: PartitionProcessors, time: ServiceTime) -> Self {
        Self { processors, time }
    }

    pub(crate) fn processors(&self) -> &PartitionProcessors {
        &self.processors
    }

    pub(crate) fn time(&self) -> ServiceTime {
        self.time
    }

    /// Has a command decided and responds with the outcome; `data` is the body of an accepted one.
    pub(crate) async fn decide<T: Serialize>(
        &self,
        envelope: CommandEnvelope,
        data: impl FnOnce(&CommandOutcome) -> T,
    ) -> Response {
        let invest_id = envelope.invest_id();
        let outcome = self.processors.submit(envelope).await;
        self.answer(outcome, invest_id, data)
    }

    /// The response to a command with this outcome; `invest_id` is what to ask the log for when it is unknown.
    pub(crate) fn answer<T: Serialize>(
        &self,
        outcome: Result<CommandOutcome, CommandError>,
        invest_id: Option<InvestId>,
        data: impl FnOnce(&CommandOutcome) -> T,
    ) -> Response {
        metrics::counter!("moa_commands_total", "answer" => metric_label(&outcome)).increment(1);
        match outcome {
            Ok(outcome) => self.respond(&outcome, data),
            Err(error) => problem::of_error(error, invest_id).into_response(),
        }
    }

    fn respond<T: Serialize>(
        &self,
        outcome: &CommandOutcome,
        data: impl FnOnce(&CommandOutcome) -> T,
    ) -> Response {
        let mut response = match outcome.decision {
            Ok(()) => edge::ok(data(outcome)),
            Err(refusal) => problem::of_refusal(refusal).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(
            header::CONSISTENCY_TOKEN,
            self.token(outcome).header_value(),
        );
        if outcome.replayed {
            headers.insert(
                header::IDEMPOTENCY_REPLAYED,
                HeaderValue::from_static("true"),
            );
        }
        let invest_id = outcome.invest_id.filter(|_| outcome.decision.is_ok());
        if let Some(value) = invest_id.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
            headers.insert(header::INVEST_ID, value);
        }
        response
    }

    fn token(&self, outcome: &CommandOutcome) -> ConsistencyToken {
        let (partition, position) = outcome.position;
        let log = self.processors.log();
        let positions = log
            .partitions()
            .map(|p| if p == partition { position } else { 0 })
            .collect();
        let incarnation = *log.incarnation().borrow();
        ConsistencyToken::new(
            LogIncarnation {
                log_id: log.identity().log_id,
                incarnation,
            },
            positions,
        )
    }
}

/// The metadata of an event that a request leads to.
pub(crate) fn metadata(correlation: &Correlation) -> Metadata {
    Metadata {
        correlation_id: correlation.id().to_owned(),
        causation_id: None,
        traceparent: correlation.traceparent().map(str::to_owned),
        ..Metadata::default()
    }
}

/// The same of what an operator has done.
pub(crate) fn metadata_of(correlation: &Correlation, actor: &Actor) -> Metadata {
    let (name, role) = (actor.name().to_owned(), actor.role().as_str().to_owned());
    Metadata {
        actor: Some(name),
        actor_role: Some(role),
        ..metadata(correlation)
    }
}

/// What is recorded of an operator's command.
pub(crate) fn act_outcome(outcome: &Result<CommandOutcome, CommandError>) -> ActOutcome {
    let problem = match outcome {
        Ok(CommandOutcome {
            decision: Ok(()),
            product_id,
            replayed,
            ..
        }) => {
            return ActOutcome::Done(json!({"productId": product_id.get(), "replayed": replayed}));
        }
        Ok(CommandOutcome {
            decision: Err(refusal),
            ..
        }) => problem::of_refusal(*refusal),
        Err(error) => problem::of_error(*error, None),
    };
    let code = problem.code().to_owned();
    if problem.is_refusal() {
        ActOutcome::Refused(code)
    } else {
        ActOutcome::Failed(code)
    }
}

fn metric_label(outcome: &Result<CommandOutcome, CommandError>) -> &'static str {
    match outcome {
        Ok(CommandOutcome { replayed: true, .. }) => "replayed",
        Ok(CommandOutcome {
            decision: Ok(()), ..
        }) => "accepted",
        Ok(CommandOutcome {
            decision: Err(Refusal::SoldOut { .. }),
            ..
        }) => "sold_out",
        Ok(CommandOutcome {
            decision: Err(_), ..
        }) => "refused",
        Err(CommandError::Overloaded) => "overloaded",
        Err(CommandError::TooManyRefusals(_)) => "limited",
        Err(CommandError::KeyReused) => "key_reused",
        Err(CommandError::OutcomeUnknown) => "outcome_unknown",
        Err(CommandError::Broken) => "broken",
    }
}
