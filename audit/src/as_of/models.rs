//! `GET /admin/audit/holdings|invest-log|summary|product`: what the public calls would have shown at a time.

use super::{passed, problem, required_at};
use crate::Audit;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::UserId;
use edge::{Params, Problem};
use event_log::Position;
use event_log::consume::Projection as _;
use projector::{
    AsOfError, HoldingsProjection, InvestLogProjection, InvestorSummaryProjection, ProductListProjection, Streams,
};
use query_api::as_of::{View, Views};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Read models that one process folds at a time: each needs memory, and connections of its own.
const FOLDS: usize = 2;
static FOLDING: Semaphore = Semaphore::const_new(FOLDS);
/// How long a fold waits for its turn, before the auditor is told to come again.
const TURN: Duration = Duration::from_secs(10);

/// A page as it stood.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    at: String,
    /// Of each partition, the last position that is in it.
    positions: Vec<Position>,
    total_count: i64,
    list: Vec<Box<RawValue>>,
}

#[derive(Serialize)]
struct Summary {
    at: String,
    positions: Vec<Position>,
    summary: Option<Box<RawValue>>,
}

pub(super) async fn products(State(audit): State<Arc<Audit>>, mut params: Params) -> Result<Response, Problem> {
    let (at, paging) = (required_at(&mut params, audit.time), params.paging());
    let (Some(at), Some(paging)) = (at, paging) else { return Err(params.refuse()) };
    let mut fold = Fold::of(&audit, ProductListProjection::NAME, at, &Streams::OpenAt(at)).await?;
    let view = fold.views(&audit).products(at, &paging).await;
    listed(&audit, at, view)
}

pub(super) async fn holdings(State(audit): State<Arc<Audit>>, mut params: Params) -> Result<Response, Problem> {
    let (asked, paging) = (of_user(&audit, &mut params), params.paging());
    let (Some((user, at)), Some(paging)) = (asked, paging) else { return Err(params.refuse()) };
    let mut fold = Fold::of(&audit, HoldingsProjection::NAME, at, &Streams::OfUser(user.clone())).await?;
    let view = fold.views(&audit).holdings(user.as_str(), &paging).await;
    listed(&audit, at, view)
}

pub(super) async fn invest_log(State(audit): State<Arc<Audit>>, mut params: Params) -> Result<Response, Problem> {
    let (asked, product, paging) = (of_user(&audit, &mut params), params.product_id(), params.paging());
    let (Some((user, at)), Some(product), Some(paging)) = (asked, product, paging) else {
        return Err(params.refuse());
    };
    let streams = product.map_or_else(|| Streams::OfUser(user.clone()), Streams::Of);
    let mut fold = Fold::of(&audit, InvestLogProjection::NAME, at, &streams).await?;
    let product = product.map(|product| product.get());
    let view = fold.views(&audit).invest_log(user.as_str(), product, &paging).await;
    listed(&audit, at, view)
}

pub(super) async fn summary(State(audit): State<Arc<Audit>>, mut params: Params) -> Result<Response, Problem> {
    let Some((user, at)) = of_user(&audit, &mut params) else { return Err(params.refuse()) };
    let mut fold = Fold::of(&audit, InvestorSummaryProjection::NAME, at, &Streams::OfUser(user.clone())).await?;
    let shown = fold.views(&audit).summary(user.as_str()).await;
    let View { items, positions, .. } = shown.map_err(|error| problem(error.into()))?;
    Ok(edge::ok(Summary { at: audit.time.format(at), positions, summary: items.into_iter().next() }))
}

/// `userId` and `at`, which must both be there.
fn of_user(audit: &Audit, params: &mut Params) -> Option<(UserId, DateTime<Utc>)> {
    let at = required_at(params, audit.time);
    let user = params.text("userId", |text| UserId::try_from(text.to_owned()))?;
    if user.is_none() {
        params.wrong("userId", "is missing");
    }
    Some((user?, at?))
}

fn listed(audit: &Audit, at: DateTime<Utc>, view: sqlx::Result<View>) -> Result<Response, Problem> {
    let View { total_count, items, positions } = view.map_err(|error| problem(error.into()))?;
    Ok(edge::ok(Listed { at: audit.time.format(at), positions, total_count, list: items }))
}

/// A read model as it stood, ready to be shown.
struct Fold {
    connection: Connection,
    _turn: SemaphorePermit<'static>,
}

impl Fold {
    async fn of(
        audit: &Audit,
        projection: &'static str,
        at: DateTime<Utc>,
        streams: &Streams,
    ) -> Result<Self, Problem> {
        passed(&audit.log, at, audit.time).await?;
        let turn = timeout(TURN, FOLDING.acquire()).await;
        let turn = turn.map_err(|_| Problem::Overloaded)?.map_err(Problem::internal)?;
        let positions = audit.log.positions_at(at).await.map_err(problem)?;
        let folded = projector::as_of(projection, &audit.log, &audit.bulk, &positions, streams).await;
        Ok(Self { connection: folded.map_err(refused)?, _turn: turn })
    }

    fn views(&mut self, audit: &Audit) -> Views<'_> {
        Views { connection: &mut self.connection, partitions: audit.log.identity().partitions, time: audit.time }
    }
}

fn refused(error: AsOfError) -> Problem {
    match error {
        AsOfError::Log(error) => problem(error),
        AsOfError::Database(error) => problem(error.into()),
        AsOfError::Event { .. } => Problem::Conflict(error.to_string()),
        AsOfError::Fold(_) => Problem::internal(error),
    }
}
