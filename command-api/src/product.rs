//! Operators open and close products. The admin listener serves these routes, behind its tokens.

use crate::command_api::{CommandApi, metadata};
use crate::idempotency::IdempotencyKey;
use crate::processor::{CommandEnvelope, CommandOutcome};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use domain::{Amount, ProductCommand, Title, Window, personal_data};
use edge::{Correlation, JsonObject, Problem, ProductIdPath, ServiceTime};
use serde_json::{Value, json};

/// The owner of an operator's idempotency keys. No user has this id.
const OPERATOR: &str = "@operator";

/// `POST /admin/product` and `POST /admin/product/{productId}/close`. The caller checks the tokens.
pub fn routes(api: CommandApi) -> Router {
    Router::new()
        .route("/admin/product", post(open))
        .route("/admin/product/{productId}/close", post(close))
        .with_state(api)
}

async fn open(
    State(api): State<CommandApi>,
    correlation: Correlation,
    key: Option<edge::IdempotencyKey>,
    body: JsonObject,
) -> Result<Response, Problem> {
    let (title, total, window) = parse(&body, api.time())?;
    let key = key.map(|key| IdempotencyKey {
        owner: OPERATOR.to_owned(),
        key: key.as_str().to_owned(),
        fingerprint: format!(
            "open {} {} {} {}",
            total.won(),
            window.started_at(),
            window.finished_at(),
            title.as_str()
        ),
    });
    let product_id = api.processors().log().next_product_id().await.map_err(unavailable)?;
    let command = ProductCommand::OpenProduct { product_id, title, total, window };
    let envelope = CommandEnvelope::new(product_id, command, metadata(&correlation)).with_idempotency_key(key);
    Ok(api.decide(envelope, opened).await)
}

fn opened(outcome: &CommandOutcome) -> Value {
    json!({ "productId": outcome.product_id })
}

async fn close(
    State(api): State<CommandApi>,
    correlation: Correlation,
    ProductIdPath(product_id): ProductIdPath,
) -> Result<Response, Problem> {
    let envelope = CommandEnvelope::new(product_id, ProductCommand::CloseProduct, metadata(&correlation));
    Ok(api.decide(envelope, |_| "OK").await)
}

fn parse(body: &JsonObject, time: ServiceTime) -> Result<(Title, Amount, Window), Problem> {
    let mut fields = body.fields();
    let title = fields.text("title", Title::try_from);
    let title = title.filter(|title| match personal_data(title.as_str()) {
        Some(seen) => {
            fields.wrong("title", format!("must hold no personal data: it seems to hold {seen}"));
            false
        }
        None => true,
    });
    let total = fields.int("totalInvestingAmount", Amount::try_from);
    let started_at = fields.text("startedAt", |text| time.parse(&text));
    let finished_at = fields.text("finishedAt", |text| time.parse(&text));
    let window = started_at.zip(finished_at).map(|(started_at, finished_at)| Window::new(started_at, finished_at));
    let window = window.and_then(|window| window.map_err(|wrong| fields.wrong("finishedAt", wrong)).ok());
    let (Some(title), Some(total), Some(window)) = (title, total, window) else { return Err(fields.refuse()) };
    Ok((title, total, window))
}

fn unavailable(error: event_log::LogError) -> Problem {
    tracing::warn!(%error, "no product id could be generated");
    Problem::Overloaded
}
