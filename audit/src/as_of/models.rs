//! `GET /admin/audit/holdings|invest-log|summary|product`: what the public calls would have shown at a time.

use super::{reject_future, required_at};
use crate::Audit;
use crate::problem::problem;
use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::UserId;
use edge::{Params, Problem};
use event_log::Position;
use event_log::consume::Projection as _;
use projector::{
    AsOfError, HoldingsProjection, InvestLogProjection, InvestorSummaryProjection,
    ProductListProjection, Streams,
};
use query_api::as_of::{View, Views};
use serde::Serialize;
use serde_json::value::RawValue;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use utoipa::ToSchema;

/// Read models that one process folds at a time: each needs memory, and connections of its own.
const MAX_CONCURRENT_FOLDS: usize = 2;
static FOLD_PERMITS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_FOLDS);
/// How long a fold waits for its permit before it is refused as overloaded.
const FOLD_QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

/// A page of these as it stood.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed<T> {
    at: String,
    /// Of each partition, the last position that is in it.
    #[schema(value_type = Vec<i64>)]
    positions: Vec<Position>,
    total_count: i64,
    list: Vec<T>,
}

/// The sums of what a user had invested.
#[derive(Serialize, ToSchema)]
pub(crate) struct Summary<T> {
    at: String,
    /// Of each partition, the last position that is in it.
    #[schema(value_type = Vec<i64>)]
    positions: Vec<Position>,
    summary: Option<T>,
}

/// An item, as the view of a public call has written it.
type Written = Box<RawValue>;

pub(super) async fn products(
    State(audit): State<Arc<Audit>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (at, paging) = (required_at(&mut params, audit.time), params.paging());
    let (Some(at), Some(paging)) = (at, paging) else {
        return Err(params.refuse());
    };
    let mut fold = Fold::of(
        &audit,
        ProductListProjection::NAME,
        at,
        &Streams::OpenAt(at),
    )
    .await?;
    let view = fold.views(&audit).products(at, &paging).await;
    listed(&audit, at, view)
}

pub(super) async fn holdings(
    State(audit): State<Arc<Audit>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (request, paging) = (user_and_time(&audit, &mut params), params.paging());
    let (Some((user, at)), Some(paging)) = (request, paging) else {
        return Err(params.refuse());
    };
    let mut fold = Fold::of(
        &audit,
        HoldingsProjection::NAME,
        at,
        &Streams::OfUser(user.clone()),
    )
    .await?;
    let view = fold.views(&audit).holdings(user.as_str(), &paging).await;
    listed(&audit, at, view)
}

pub(super) async fn invest_log(
    State(audit): State<Arc<Audit>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let (request, product, paging) = (
        user_and_time(&audit, &mut params),
        params.product_id(),
        params.paging(),
    );
    let (Some((user, at)), Some(product), Some(paging)) = (request, product, paging) else {
        return Err(params.refuse());
    };
    let streams = product.map_or_else(|| Streams::OfUser(user.clone()), Streams::Of);
    let mut fold = Fold::of(&audit, InvestLogProjection::NAME, at, &streams).await?;
    let product = product.map(|product| product.get());
    let view = fold
        .views(&audit)
        .invest_log(user.as_str(), product, &paging)
        .await;
    listed(&audit, at, view)
}

pub(super) async fn summary(
    State(audit): State<Arc<Audit>>,
    mut params: Params,
) -> Result<Response, Problem> {
    let Some((user, at)) = user_and_time(&audit, &mut params) else {
        return Err(params.refuse());
    };
    let mut fold = Fold::of(
        &audit,
        InvestorSummaryProjection::NAME,
        at,
        &Streams::OfUser(user.clone()),
    )
    .await?;
    let shown = fold.views(&audit).summary(user.as_str()).await;
    let View {
        items, positions, ..
    } = shown.map_err(problem)?;
    Ok(edge::ok(Summary::<Written> {
        at: audit.time.format(at),
        positions,
        summary: items.into_iter().next(),
    }))
}

/// `userId` and `at`, which must both be there.
fn user_and_time(audit: &Audit, params: &mut Params) -> Option<(UserId, DateTime<Utc>)> {
    let at = required_at(params, audit.time);
    let user = params.text("userId", |text| UserId::try_from(text.to_owned()))?;
    if user.is_none() {
        params.wrong("userId", "is missing");
    }
    Some((user?, at?))
}

fn listed(audit: &Audit, at: DateTime<Utc>, view: sqlx::Result<View>) -> Result<Response, Problem> {
    let View {
        total_count,
        items,
        positions,
    } = view.map_err(problem)?;
    Ok(edge::ok(Listed::<Written> {
        at: audit.time.format(at),
        positions,
        total_count,
        list: items,
    }))
}

/// A read model as it stood, ready to be shown.
struct Fold {
    connection: Connection,
    _permit: SemaphorePermit<'static>,
}

impl Fold {
    async fn of(
        audit: &Audit,
        projection: &'static str,
        at: DateTime<Utc>,
        streams: &Streams,
    ) -> Result<Self, Problem> {
        reject_future(&audit.log, at, audit.time).await?;
        let permit = timeout(FOLD_QUEUE_TIMEOUT, FOLD_PERMITS.acquire()).await;
        let permit = permit
            .map_err(|_| Problem::Overloaded)?
            .map_err(Problem::internal)?;
        let positions = audit.log.positions_at(at).await.map_err(problem)?;
        let folded =
            projector::as_of(projection, &audit.log, &audit.bulk, &positions, streams).await;
        Ok(Self {
            connection: folded.map_err(fold_problem)?,
            _permit: permit,
        })
    }

    fn views(&mut self, audit: &Audit) -> Views<'_> {
        Views {
            connection: &mut self.connection,
            partitions: audit.log.identity().partitions,
            time: audit.time,
        }
    }
}

fn fold_problem(error: AsOfError) -> Problem {
    match error {
        AsOfError::Log(error) => problem(error),
        AsOfError::Database(error) => problem(error),
        AsOfError::Event { .. } => Problem::Conflict(error.to_string()),
        AsOfError::Fold(_) => Problem::internal(error),
    }
}
