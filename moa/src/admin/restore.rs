//! `POST /admin/restore`: an operator accepts that the database lost events or that its clock jumped, and writes continue.

use axum::extract::State;
use axum::response::Response;
use connection_pool::is_unreachable;
use edge::{JsonObject, Problem};
use event_log::{Acceptance, Log, LogError};
use serde_json::json;

/// `POST /admin/restore {"accept": "LOSS"|"CLOCK"}`: every process hears of it within moments.
pub(super) async fn accept(State(log): State<Log>, body: JsonObject) -> Result<Response, Problem> {
    let mut fields = body.fields();
    let Some(what) = fields.text("accept", parse) else { return Err(fields.refuse()) };
    let heads = log.accept(what).await.map_err(unavailable)?;
    tracing::warn!(?what, ?heads, "the operator agreed");
    Ok(edge::ok(json!({"heads": heads})))
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
