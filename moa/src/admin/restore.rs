//! `POST /admin/restore`: an operator accepts that the database lost events or that its clock jumped, and writes continue.

use super::acting::Acting;
use axum::extract::State;
use axum::response::Response;
use connection_pool::is_unreachable;
use edge::{JsonObject, Problem};
use event_log::{Acceptance, Log, LogError, Position};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// From where writes continue.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AcceptedHeads)]
pub(super) struct Accepted {
    /// The last position of each partition.
    #[schema(value_type = Vec<i64>)]
    heads: Vec<Position>,
}

/// `POST /admin/restore {"accept": "LOSS"|"CLOCK"}`: every process hears of it within moments.
pub(super) async fn accept(
    State(log): State<Log>,
    acting: Acting,
    body: JsonObject,
) -> Result<Response, Problem> {
    let mut fields = body.fields();
    let Some(what) = fields.text("accept", parse) else {
        return Err(fields.refuse());
    };
    let accepting = async move {
        Ok(Accepted {
            heads: log.accept(what).await.map_err(unavailable)?,
        })
    };
    Ok(edge::ok(
        acting
            .perform(act(what), "the log", json!({}), accepting)
            .await?,
    ))
}

fn act(what: Acceptance) -> &'static str {
    match what {
        Acceptance::Loss => "ACCEPT_LOSS",
        Acceptance::Clock => "ACCEPT_CLOCK",
    }
}

fn parse(text: String) -> Result<Acceptance, &'static str> {
    match text.as_str() {
        "LOSS" => Ok(Acceptance::Loss),
        "CLOCK" => Ok(Acceptance::Clock),
        _ => Err("must be LOSS or CLOCK"),
    }
}

fn unavailable(error: LogError) -> Problem {
    match error {
        LogError::Unavailable(error) if is_unreachable(&error) => Problem::Overloaded,
        error => Problem::internal(error),
    }
}
