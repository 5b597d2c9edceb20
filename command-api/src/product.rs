//! Operators open, close and cancel products. The admin listener serves these routes, behind its tokens.

use crate::command_api::{CommandApi, metadata};
use crate::idempotency::IdempotencyKey;
use crate::processor::{CommandEnvelope, CommandOutcome};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use domain::{Amount, CancelReason, ProductCommand, Terms, Title, Window, personal_data};
use edge::{Correlation, Fields, JsonObject, Problem, ProductIdPath, ServiceTime};
use serde::Serialize;
use utoipa::ToSchema;

/// The owner of an operator's idempotency keys. No user has this id.
const OPERATOR: &str = "@operator";

/// `POST /admin/product`, and `close` and `cancel` of `/admin/product/{productId}`. The caller checks the tokens.
pub fn routes(api: CommandApi) -> Router {
    Router::new()
        .route("/admin/product", post(open))
        .route("/admin/product/{productId}/close", post(close))
        .route("/admin/product/{productId}/cancel", post(cancel))
        .with_state(api)
}

async fn open(
    State(api): State<CommandApi>,
    correlation: Correlation,
    key: Option<edge::IdempotencyKey>,
    body: JsonObject,
) -> Result<Response, Problem> {
    let offer = parse(&body, api.time())?;
    let key = key.map(|key| IdempotencyKey {
        owner: OPERATOR.to_owned(),
        key: key.as_str().to_owned(),
        fingerprint: offer.fingerprint(),
    });
    let product_id = api.processors().log().next_product_id().await.map_err(unavailable)?;
    let Offer { title, total, window, terms } = offer;
    let command = ProductCommand::OpenProduct { product_id, title, total, window, terms };
    let envelope = CommandEnvelope::new(product_id, command, metadata(&correlation)).with_idempotency_key(key);
    Ok(api.decide(envelope, opened).await)
}

/// What an operator offers.
struct Offer {
    title: Title,
    total: Amount,
    window: Window,
    terms: Terms,
}

impl Offer {
    /// What the request's idempotency key stands for.
    fn fingerprint(&self) -> String {
        let Self { title, total, window, terms } = self;
        let (started_at, finished_at) = (window.started_at(), window.finished_at());
        let seed = format!("open {} {started_at} {finished_at} {}", total.won(), title.as_str());
        // Numbers under fixed names: serialising them cannot fail.
        if terms.is_none() { seed } else { format!("{seed} {}", serde_json::to_string(terms).unwrap_or_default()) }
    }
}

/// A product that was opened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OpenedProduct {
    /// The id that it has been given.
    product_id: i64,
}

fn opened(outcome: &CommandOutcome) -> OpenedProduct {
    OpenedProduct { product_id: outcome.product_id.get() }
}

async fn close(
    State(api): State<CommandApi>,
    correlation: Correlation,
    ProductIdPath(product_id): ProductIdPath,
) -> Result<Response, Problem> {
    let envelope = CommandEnvelope::new(product_id, ProductCommand::CloseProduct, metadata(&correlation));
    Ok(api.decide(envelope, |_| "OK").await)
}

async fn cancel(
    State(api): State<CommandApi>,
    correlation: Correlation,
    ProductIdPath(product_id): ProductIdPath,
    body: JsonObject,
) -> Result<Response, Problem> {
    let mut fields = body.fields();
    let reason = fields.text("reason", CancelReason::try_from);
    let reason = without_personal_data(&mut fields, "reason", reason, CancelReason::as_str);
    let command = ProductCommand::CancelProduct { reason: reason.ok_or_else(|| fields.refuse())? };
    let envelope = CommandEnvelope::new(product_id, command, metadata(&correlation));
    Ok(api.decide(envelope, |_| "OK").await)
}

/// The text, unless it seems to hold personal data: events are never rewritten.
fn without_personal_data<T>(
    fields: &mut Fields<'_>,
    name: &'static str,
    value: Option<T>,
    text: impl Fn(&T) -> &str,
) -> Option<T> {
    value.filter(|value| match personal_data(text(value)) {
        Some(seen) => {
            fields.wrong(name, format!("must hold no personal data: it seems to hold {seen}"));
            false
        }
        None => true,
    })
}

fn parse(body: &JsonObject, time: ServiceTime) -> Result<Offer, Problem> {
    let mut fields = body.fields();
    let title = fields.text("title", Title::try_from);
    let title = without_personal_data(&mut fields, "title", title, Title::as_str);
    let total = fields.int("totalInvestingAmount", Amount::try_from);
    let started_at = fields.text("startedAt", |text| time.parse(&text));
    let finished_at = fields.text("finishedAt", |text| time.parse(&text));
    let window = started_at.zip(finished_at).map(|(started_at, finished_at)| Window::new(started_at, finished_at));
    let window = window.and_then(|window| window.map_err(|wrong| fields.wrong("finishedAt", wrong)).ok());
    let terms = parse_terms(&mut fields, time, total, window);
    match (title, total, window, terms) {
        (Some(title), Some(total), Some(window), Some(terms)) => Ok(Offer { title, total, window, terms }),
        _ => Err(fields.refuse()),
    }
}

/// The optional terms. What contradicts the total is named, where there is one.
fn parse_terms(
    fields: &mut Fields<'_>,
    time: ServiceTime,
    total: Option<Amount>,
    window: Option<Window>,
) -> Option<Terms> {
    let min_invest_amount = fields.optional_int("minInvestAmount", Amount::try_from);
    let invest_amount_unit = fields.optional_int("investAmountUnit", Amount::try_from);
    let max_amount_per_user = fields.optional_int("maxAmountPerUser", Amount::try_from);
    let target_amount = fields.optional_int("targetAmount", Amount::try_from);
    let withdrawable_until = match fields.has("withdrawableUntil") {
        true => Some(fields.text("withdrawableUntil", |text| time.parse(&text))?),
        false => None,
    };
    let terms = Terms {
        target_amount: target_amount?,
        withdrawable_until,
        min_invest_amount: min_invest_amount?,
        invest_amount_unit: invest_amount_unit?,
        max_amount_per_user: max_amount_per_user?,
    };
    let contradictions = terms.contradictions(total?, window?);
    let is_sound = contradictions.is_empty();
    contradictions.into_iter().for_each(|(name, wrong)| fields.wrong(name, wrong));
    is_sound.then_some(terms)
}

fn unavailable(error: event_log::LogError) -> Problem {
    tracing::warn!(%error, "no product id could be generated");
    Problem::Overloaded
}
