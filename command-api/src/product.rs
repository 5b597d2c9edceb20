//! What operators do with products: open one, close one. Served by the admin listener, behind its tokens.

use crate::desk::{Key, Order, Request, Verdict};
use crate::door::{Door, metadata};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use domain::{Amount, Title, Window, personal_data};
use edge::{Correlation, IdempotencyKey, JsonObject, Problem, ProductIdPath, ServiceTime};
use serde_json::{Value, json};

/// Whose idempotency keys an operator's are. No user id can be this.
const OPERATOR: &str = "@operator";

/// `POST /admin/product` and `POST /admin/product/{productId}/close`. The caller guards them.
pub fn routes(door: Door) -> Router {
    Router::new()
        .route("/admin/product", post(open))
        .route("/admin/product/{productId}/close", post(close))
        .with_state(door)
}

async fn open(
    State(door): State<Door>,
    correlation: Correlation,
    key: Option<IdempotencyKey>,
    body: JsonObject,
) -> Result<Response, Problem> {
    let (title, total, window) = parse(&body, door.time())?;
    let key = key.map(|key| Key {
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
    let product_id = door.desks().log().next_product_id().await.map_err(unavailable)?;
    let order = Order::new(product_id, Request::Open { title, total, window }, metadata(&correlation)).with_key(key);
    Ok(door.decide(order, opened).await)
}

fn opened(verdict: &Verdict) -> Value {
    json!({ "productId": verdict.product_id })
}

async fn close(
    State(door): State<Door>,
    correlation: Correlation,
    ProductIdPath(product_id): ProductIdPath,
) -> Result<Response, Problem> {
    let order = Order::new(product_id, Request::Close, metadata(&correlation));
    Ok(door.decide(order, |_| "OK").await)
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
    tracing::warn!(%error, "no product id could be had");
    Problem::Overloaded
}
