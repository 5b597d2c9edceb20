//! Operators open, close and cancel products. The admin listener serves these routes, behind its tokens.

use crate::command_api::{CommandApi, act_outcome, metadata_of};
use crate::idempotency::IdempotencyKey;
use crate::processor::{CommandEnvelope, CommandOutcome};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use connection_pool::outage::POSTGRESQL;
use domain::{
    Amount, CancelReason, ProductCommand, ProductId, Terms, Title, Window, personal_data,
};
use edge::{Actor, Correlation, Fields, JsonObject, Problem, ProductIdPath, ServiceTime};
use event_log::acts::{ActBy, ActError, Acts, NewAct};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// The owner of an operator's idempotency keys. No user has this id.
const OPERATOR: &str = "@operator";

/// `POST /admin/product`, and `close` and `cancel` of `/admin/product/{productId}`. The caller checks the tokens, and says as an
/// [`Actor`] who it is. What is done is recorded in `acts`.
pub fn routes(api: CommandApi, acts: Acts) -> Router {
    Router::new()
        .route("/admin/product", post(open))
        .route("/admin/product/{productId}/close", post(close))
        .route("/admin/product/{productId}/cancel", post(cancel))
        .with_state(Operations { api, acts })
}

/// The state of these routes.
#[derive(Clone)]
struct Operations {
    api: CommandApi,
    acts: Acts,
}

impl Operations {
    /// Has a command decided and recorded, and responds with its outcome.
    async fn perform<T: Serialize>(
        self,
        act: NewAct,
        envelope: CommandEnvelope,
        data: impl FnOnce(&CommandOutcome) -> T,
    ) -> Result<Response, Problem> {
        let processors = self.api.processors().clone();
        let deciding = async move { processors.submit(envelope).await };
        let outcome = self
            .acts
            .perform(act, deciding, act_outcome)
            .await
            .map_err(not_recorded)?;
        Ok(self.api.answer(outcome, None, data))
    }
}

/// The act of `actor` on a product.
fn act(
    actor: &Actor,
    correlation: &Correlation,
    act: &'static str,
    product_id: ProductId,
    parameters: serde_json::Value,
) -> NewAct {
    let by = ActBy::Operator(actor.name().to_owned());
    let (subject, correlation_id) = (
        format!("product {product_id}"),
        Some(correlation.id().to_owned()),
    );
    NewAct {
        by,
        act,
        subject,
        parameters,
        correlation_id,
    }
}

fn not_recorded(error: ActError) -> Problem {
    if let ActError::Broken(_) = error {
        return Problem::internal(error);
    }
    if !POSTGRESQL.explains_failures() {
        tracing::error!(%error, "an operator's act is not begun");
    }
    Problem::Overloaded
}

async fn open(
    State(operations): State<Operations>,
    actor: Actor,
    correlation: Correlation,
    key: Option<edge::IdempotencyKey>,
    body: JsonObject,
) -> Result<Response, Problem> {
    let api = &operations.api;
    let offer = parse(&body, api.time())?;
    let key = key.map(|key| IdempotencyKey {
        owner: OPERATOR.to_owned(),
        key: key.as_str().to_owned(),
        fingerprint: offer.fingerprint(),
    });
    let product_id = api
        .processors()
        .log()
        .next_product_id()
        .await
        .map_err(unavailable)?;
    let act = act(
        &actor,
        &correlation,
        "OPEN_PRODUCT",
        product_id,
        offer.parameters(),
    );
    let Offer {
        title,
        total,
        window,
        terms,
    } = offer;
    let command = ProductCommand::OpenProduct {
        product_id,
        title,
        total,
        window,
        terms,
    };
    let metadata = metadata_of(&correlation, &actor);
    let envelope = CommandEnvelope::new(product_id, command, metadata).with_idempotency_key(key);
    operations.perform(act, envelope, opened).await
}

/// What an operator offers.
struct Offer {
    title: Title,
    total: Amount,
    window: Window,
    terms: Terms,
}

impl Offer {
    /// As it is recorded with the act.
    fn parameters(&self) -> serde_json::Value {
        let Self {
            title,
            total,
            window,
            terms,
        } = self;
        json!({
            "title": title.as_str(), "totalInvestingAmount": total.won(), "startedAt": window.started_at(),
            "finishedAt": window.finished_at(), "terms": terms,
        })
    }

    /// What the request's idempotency key stands for.
    fn fingerprint(&self) -> String {
        let Self {
            title,
            total,
            window,
            terms,
        } = self;
        let (started_at, finished_at) = (window.started_at(), window.finished_at());
        let seed = format!(
            "open {} {started_at} {finished_at} {}",
            total.won(),
            title.as_str()
        );
        // Numbers under fixed names: serialising them cannot fail.
        if terms.is_none() {
            seed
        } else {
            format!(
                "{seed} {}",
                serde_json::to_string(terms).unwrap_or_default()
            )
        }
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
    OpenedProduct {
        product_id: outcome.product_id.get(),
    }
}

async fn close(
    State(operations): State<Operations>,
    actor: Actor,
    correlation: Correlation,
    ProductIdPath(product_id): ProductIdPath,
) -> Result<Response, Problem> {
    let act = act(&actor, &correlation, "CLOSE_PRODUCT", product_id, json!({}));
    let metadata = metadata_of(&correlation, &actor);
    let envelope = CommandEnvelope::new(product_id, ProductCommand::CloseProduct, metadata);
    operations.perform(act, envelope, |_| "OK").await
}

async fn cancel(
    State(operations): State<Operations>,
    actor: Actor,
    correlation: Correlation,
    ProductIdPath(product_id): ProductIdPath,
    body: JsonObject,
) -> Result<Response, Problem> {
    let mut fields = body.fields();
    let reason = fields.text("reason", CancelReason::try_from);
    let reason = without_personal_data(&mut fields, "reason", reason, CancelReason::as_str);
    let reason = reason.ok_or_else(|| fields.refuse())?;
    let act = act(
        &actor,
        &correlation,
        "CANCEL_PRODUCT",
        product_id,
        json!({"reason": reason.as_str()}),
    );
    let command = ProductCommand::CancelProduct { reason };
    let envelope = CommandEnvelope::new(product_id, command, metadata_of(&correlation, &actor));
    operations.perform(act, envelope, |_| "OK").await
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
            fields.wrong(
                name,
                format!("must hold no personal data: it seems to hold {seen}"),
            );
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
    let window = started_at
        .zip(finished_at)
        .map(|(started_at, finished_at)| Window::new(started_at, finished_at));
    let window = window.and_then(|window| {
        window
            .map_err(|wrong| fields.wrong("finishedAt", wrong))
            .ok()
    });
    let terms = parse_terms(&mut fields, time, total, window);
    match (title, total, window, terms) {
        (Some(title), Some(total), Some(window), Some(terms)) => Ok(Offer {
            title,
            total,
            window,
            terms,
        }),
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
    contradictions
        .into_iter()
        .for_each(|(name, wrong)| fields.wrong(name, wrong));
    is_sound.then_some(terms)
}

fn unavailable(error: event_log::LogError) -> Problem {
    if !POSTGRESQL.explains_failures() {
        tracing::warn!(%error, "no product id could be generated");
    }
    Problem::Overloaded
}
