//! State at a time in the past: a product, folded by the domain's own aggregate; a read model, folded by its own projection and
//! shown by its own view. Both from the log alone.

mod models;
mod product;

use crate::Audit;
use crate::problem::problem;
pub(crate) use models::{Listed, Summary};
pub(crate) use product::Item as ProductAsOf;

use axum::Router;
use axum::routing::get;
use chrono::{DateTime, Utc};
use edge::{FieldProblem, Params, Problem, ServiceTime};
use event_log::Log;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new()
        .route("/admin/audit/product/{id}", get(product::one))
        .route("/admin/audit/product", get(models::products))
        .route("/admin/audit/holdings", get(models::holdings))
        .route("/admin/audit/invest-log", get(models::invest_log))
        .route("/admin/audit/summary", get(models::summary))
}

/// `at`; `Some(None)` when absent.
fn at(params: &mut Params, time: ServiceTime) -> Option<Option<DateTime<Utc>>> {
    params.text("at", |text| time.parse(text))
}

/// `at`, which must be there.
fn required_at(params: &mut Params, time: ServiceTime) -> Option<DateTime<Utc>> {
    let at = at(params, time)?;
    if at.is_none() {
        params.wrong("at", "is missing: give the time to look at");
    }
    at
}

/// Nobody knows what is to come: `at` is refused when it is later than the database's clock.
async fn reject_future(log: &Log, at: DateTime<Utc>, time: ServiceTime) -> Result<(), Problem> {
    let (_, now) = log.heads_now().await.map_err(problem)?;
    if at <= now {
        return Ok(());
    }
    let words = format!("must not be in the future; it is {} now", time.format(now));
    Err(Problem::invalid(FieldProblem::new("at", words)))
}
