//! An operator's act: recorded before it takes effect, done to its end, and recorded again with what came of it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use connection_pool::outage::POSTGRESQL;
use edge::{Actor, Correlation, Problem};
use event_log::acts::{ActBy, ActError, ActOutcome, Acts, NewAct};
use serde::Serialize;
use serde_json::Value;

/// Who acts in this request, and the record of it.
pub(super) struct Acting {
    acts: Acts,
    actor: Actor,
    correlation: Correlation,
}

impl<S: Send + Sync> FromRequestParts<S> for Acting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let acts = parts.extensions.get::<Acts>().cloned();
        let acts = acts.ok_or_else(|| Problem::internal("this route has no record of acts"))?;
        let Ok(correlation) = Correlation::from_request_parts(parts, state).await;
        Ok(Self {
            acts,
            actor: Actor::from_request_parts(parts, state).await?,
            correlation,
        })
    }
}

impl Acting {
    /// Does `work`, also when the caller goes away. 503 `OVERLOADED`, and nothing is done, when the act cannot be recorded.
    pub(super) async fn perform<T: Serialize + Send + 'static>(
        self,
        act: &'static str,
        subject: impl Into<String>,
        parameters: Value,
        work: impl Future<Output = Result<T, Problem>> + Send + 'static,
    ) -> Result<T, Problem> {
        let by = ActBy::Operator(self.actor.name().to_owned());
        let correlation_id = Some(self.correlation.id().to_owned());
        let act = NewAct {
            by,
            act,
            subject: subject.into(),
            parameters,
            correlation_id,
        };
        self.acts
            .perform(act, work, outcome)
            .await
            .map_err(not_recorded)?
    }
}

fn outcome<T: Serialize>(done: &Result<T, Problem>) -> ActOutcome {
    match done {
        Ok(data) => ActOutcome::Done(serde_json::to_value(data).unwrap_or_default()),
        Err(problem) if problem.is_refusal() => ActOutcome::Refused(problem.code().to_owned()),
        Err(problem) => ActOutcome::Failed(problem.code().to_owned()),
    }
}

fn not_recorded(error: ActError) -> Problem {
    match error {
        ActError::Broken(_) => Problem::internal(error),
        ActError::Database(_) | ActError::TimedOut => {
            if !POSTGRESQL.explains_failures() {
                tracing::error!(%error, "an operator's act is not begun");
            }
            Problem::Overloaded
        }
    }
}
