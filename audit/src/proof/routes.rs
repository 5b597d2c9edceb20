//! `GET /admin/audit/verify`, `/prove/{investId}`, `/seal`, `/act/seal`: verify the log, prove an invest, list the seals.

use super::act_seal_store::{self, ACT_SEALS_PER_PAGE};
use super::prove::{self, ProveError};
use super::seal_store::{self, SEALS_PER_PAGE};
use super::verify_error::VerifyError;
use super::verify_live;
use crate::Audit;
use crate::problem::problem;
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use edge::{InvestIdPath, Params, Problem};
use proof::act_seal::ActSeal;
use proof::seal::Seal;
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

/// One verification keeps a small machine busy.
const MAX_CONCURRENT_VERIFICATIONS: usize = 1;
static VERIFYING: Semaphore = Semaphore::const_new(MAX_CONCURRENT_VERIFICATIONS);

pub(crate) fn routes() -> Router<Arc<Audit>> {
    Router::new()
        .route("/admin/audit/verify", get(verify))
        .route("/admin/audit/prove/{investId}", get(prove))
        .route("/admin/audit/seal", get(seals))
        .route("/admin/audit/act/seal", get(act_seals))
}

async fn verify(State(audit): State<Arc<Audit>>) -> Result<Response, Problem> {
    let busy = |_| Problem::Conflict("The log is being verified already, try again later".into());
    let _permit = VERIFYING.try_acquire().map_err(busy)?;
    let report = verify_live::verify_live(&audit.bulk, audit.seals.as_ref()).await;
    Ok(edge::ok(report.map_err(verify_problem)?))
}

fn verify_problem(why: VerifyError) -> Problem {
    match why {
        VerifyError::File(..) => Problem::Conflict(why.to_string()),
        VerifyError::Database(error) => problem(error),
        VerifyError::Log(error) => problem(error),
        VerifyError::NoLog | VerifyError::NoActs | VerifyError::Cancelled(_) => {
            Problem::internal(why)
        }
    }
}

async fn prove(
    State(audit): State<Arc<Audit>>,
    InvestIdPath(invest): InvestIdPath,
) -> Result<Response, Problem> {
    let proof = prove::prove(&audit.log, &audit.read, invest).await;
    Ok(edge::ok(proof.map_err(prove_problem)?))
}

fn prove_problem(why: ProveError) -> Problem {
    match why {
        ProveError::Unknown => Problem::NotFound,
        ProveError::NotSealed => {
            Problem::Conflict("None of its events is sealed yet, try again in some seconds".into())
        }
        ProveError::Broken => Problem::Conflict("The log is not what was sealed, verify it".into()),
        ProveError::Database(error) => problem(error),
        ProveError::Log(error) => problem(error),
    }
}

/// Some seals, and what to ask for the next after.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SealPage)]
pub(crate) struct Seals {
    #[schema(value_type = Vec<proof::seal::Line>)]
    list: Vec<Box<RawValue>>,
    /// To be sent as `after` for the next; null at the end.
    next_after: Option<i64>,
}

async fn seals(State(audit): State<Arc<Audit>>, mut params: Params) -> Result<Response, Problem> {
    let Some(newest) = params.flag("newest", false) else {
        return Err(params.refuse());
    };
    let (mut after, limit) = page_of(params, SEALS_PER_PAGE)?;
    if newest {
        after = seal_store::last(&audit.read)
            .await
            .map_err(problem)?
            .saturating_sub(limit)
            .max(after);
    }
    let page = seal_store::seals_from(&audit.read, after.saturating_add(1), limit)
        .await
        .map_err(problem)?;
    let page = page
        .into_iter()
        .collect::<Result<Vec<Seal>, _>>()
        .map_err(Problem::internal)?;
    let next_after = next(
        limit,
        page.len(),
        page.last().map(|seal| seal.statement.seal),
    );
    Ok(edge::ok(Seals {
        list: raw(page.iter().map(Seal::line))?,
        next_after,
    }))
}

/// Some seals of acts, and what to ask for the next after.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ActSealPage)]
pub(crate) struct ActSeals {
    #[schema(value_type = Vec<proof::act_seal::ActSealLine>)]
    list: Vec<Box<RawValue>>,
    /// To be sent as `after` for the next; null at the end.
    next_after: Option<i64>,
}

async fn act_seals(State(audit): State<Arc<Audit>>, params: Params) -> Result<Response, Problem> {
    let (after, limit) = page_of(params, ACT_SEALS_PER_PAGE)?;
    let page = act_seal_store::seals_after(&audit.read, after, limit)
        .await
        .map_err(problem)?;
    let page = page
        .into_iter()
        .collect::<Result<Vec<ActSeal>, _>>()
        .map_err(Problem::internal)?;
    let next_after = next(
        limit,
        page.len(),
        page.last().map(|seal| seal.statement.seal),
    );
    Ok(edge::ok(ActSeals {
        list: raw(page.iter().map(ActSeal::line))?,
        next_after,
    }))
}

/// After which number, and how many.
fn page_of(mut params: Params, most: i64) -> Result<(i64, i64), Problem> {
    let after = params.int("after", |after| {
        if after >= 0 {
            Ok(after)
        } else {
            Err("must be a whole number from 0")
        }
    });
    let limit = params.int("limit", |limit| match (1..=most).contains(&limit) {
        true => Ok(limit),
        false => Err(format!("must be a whole number from 1 to {most}")),
    });
    let (Some(after), Some(limit)) = (after, limit) else {
        return Err(params.refuse());
    };
    Ok((after.unwrap_or(0), limit.unwrap_or(most)))
}

fn next(limit: i64, found: usize, last: Option<i64>) -> Option<i64> {
    last.filter(|_| i64::try_from(found) == Ok(limit))
}

fn raw(lines: impl Iterator<Item = String>) -> Result<Vec<Box<RawValue>>, Problem> {
    lines
        .map(RawValue::from_string)
        .collect::<Result<_, _>>()
        .map_err(Problem::internal)
}
