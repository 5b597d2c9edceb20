//! The calls: verify, prove, list the seals.

use super::inclusion::{self, NotProved};
use super::live::{self, Impossible};
use super::seal::Seal;
use super::store::{self, PAGE};
use crate::Audit;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use edge::{InvestIdPath, Params, Problem};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Verifications at once: one keeps a small machine busy.
const AT_ONCE: usize = 1;
static VERIFYING: Semaphore = Semaphore::const_new(AT_ONCE);

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new()
        .route("/admin/audit/verify", get(verify))
        .route("/admin/audit/prove/{investId}", get(prove))
        .route("/admin/audit/seal", get(seals))
}

async fn verify(State(audit): State<Arc<Audit>>) -> Result<Response, Problem> {
    let busy = |_| Problem::Conflict("The log is being verified already, try again later".into());
    let _turn = VERIFYING.try_acquire().map_err(busy)?;
    let report = live::verify_live(&audit.bulk, audit.seals.as_ref()).await;
    Ok(edge::ok(report.map_err(impossible)?))
}

fn impossible(why: Impossible) -> Problem {
    match why {
        Impossible::File(..) => Problem::Conflict(why.to_string()),
        Impossible::Database(_) | Impossible::Log(_) | Impossible::NoLog | Impossible::Cut(_) => Problem::internal(why),
    }
}

async fn prove(State(audit): State<Arc<Audit>>, InvestIdPath(invest): InvestIdPath) -> Result<Response, Problem> {
    let proof = inclusion::prove(&audit.log, &audit.read, invest).await;
    Ok(edge::ok(proof.map_err(not_proved)?))
}

fn not_proved(why: NotProved) -> Problem {
    match why {
        NotProved::Unknown => Problem::NotFound,
        NotProved::NotSealed => Problem::Conflict("None of its events is sealed yet, try again in some seconds".into()),
        NotProved::Broken => Problem::Conflict("The log is not what was sealed, verify it".into()),
        NotProved::Database(_) | NotProved::Log(_) => Problem::internal(why),
    }
}

/// Some seals, and what to ask for the next after.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seals {
    list: Vec<Box<RawValue>>,
    next_after: Option<i64>,
}

async fn seals(State(audit): State<Arc<Audit>>, mut params: Params) -> Result<Response, Problem> {
    let after = params.int("after", |after| if after >= 0 { Ok(after) } else { Err("must be a whole number from 0") });
    let limit = params.int("limit", |limit| match limit {
        1..=PAGE => Ok(limit),
        _ => Err(format!("must be a whole number from 1 to {PAGE}")),
    });
    let (Some(after), Some(limit)) = (after, limit) else { return Err(params.refuse()) };
    let (after, limit) = (after.unwrap_or(0), limit.unwrap_or(PAGE));
    let page = store::seals_from(&audit.read, after.saturating_add(1), limit).await.map_err(Problem::internal)?;
    let page = page.into_iter().collect::<Result<Vec<Seal>, _>>().map_err(Problem::internal)?;
    let full = i64::try_from(page.len()) == Ok(limit);
    let next_after = page.last().filter(|_| full).map(|seal| seal.statement.seal);
    let list = page.iter().map(|seal| RawValue::from_string(seal.line())).collect::<Result<_, _>>();
    Ok(edge::ok(Seals { list: list.map_err(Problem::internal)?, next_after }))
}
