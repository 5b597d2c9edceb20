//! Rebuilds and dry runs of read models, switches, pauses. A request only makes short transactions; the work itself is a job that
//! a projector runs.

use super::ProjectionsState;
use super::acting::Acting;
use super::guard::Operator;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::response::Response;
use connection_pool::outage::POSTGRESQL;
use edge::{ListData, Params, Problem, ServiceTime};
use event_log::LogError;
use projector::{Job, JobRejected, RebuildOptions};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

/// A job, as operators see it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Job)]
pub(super) struct JobView {
    job_id: i64,
    /// REBUILD or DIFF.
    kind: &'static str,
    projection: String,
    generation: i32,
    code_version: i32,
    /// RUNNING, DONE or FAILED.
    state: &'static str,
    /// WAITING, FOLDING, INDEXING, CATCHING_UP, COMPARING or SWITCHING.
    stage: &'static str,
    /// Events that are applied, of `total`.
    done: i64,
    total: i64,
    max_rate: Option<i32>,
    switches: bool,
    accept_differences: bool,
    /// Why it failed, or what it last stumbled over.
    problem: Option<String>,
    /// What was compared, and what differed.
    #[schema(value_type = Option<Object>)]
    outcome: Option<serde_json::Value>,
    asked_at: String,
    moved_at: String,
    ended_at: Option<String>,
}

impl JobView {
    fn of(job: Job, time: &ServiceTime) -> Self {
        Self {
            job_id: job.id,
            kind: job.kind.as_str(),
            projection: job.projection,
            generation: job.generation,
            code_version: job.code_version,
            state: job.state.as_str(),
            stage: job.stage.as_str(),
            done: job.done,
            total: job.total,
            max_rate: job.max_rate,
            switches: job.switches,
            accept_differences: job.accept_differences,
            problem: job.problem,
            outcome: job.outcome,
            asked_at: time.format(job.asked_at),
            moved_at: time.format(job.moved_at),
            ended_at: job.ended_at.map(|at| time.format(at)),
        }
    }
}

/// A job that has begun.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = BegunJob)]
pub(super) struct Begun {
    job_id: i64,
}

/// The generation that is live now.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LiveGeneration)]
pub(super) struct Live {
    generation: i32,
}

/// How many there were.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Dropped<T> {
    pub(super) dropped: T,
}

/// `GET /admin/job`: the latest of each read model.
pub(super) async fn list(State(managed): State<ProjectionsState>) -> Result<Response, Problem> {
    let jobs = managed.jobs.jobs().await.map_err(problem)?;
    let list: Vec<_> = jobs
        .into_iter()
        .map(|job| JobView::of(job, &managed.time))
        .collect();
    Ok(edge::ok(ListData {
        total_count: list.len() as i64,
        list,
    }))
}

/// `GET /admin/job/{id}`.
pub(super) async fn show(
    State(managed): State<ProjectionsState>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id.parse().map_err(|_| Problem::NotFound)?;
    let job = managed
        .jobs
        .job(id)
        .await
        .map_err(problem)?
        .ok_or(Problem::NotFound)?;
    Ok(edge::ok(JobView::of(job, &managed.time)))
}

/// `POST /admin/projection/{name}/rebuild?switch&acceptDifferences&maxRate`.
pub(super) async fn rebuild(
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let (switches, accepts) = (
        params.flag("switch", true),
        params.flag("acceptDifferences", false),
    );
    let (Some(switches), Some(accept_differences), Some(max_rate)) =
        (switches, accepts, max_rate(&mut params))
    else {
        return Err(params.refuse());
    };
    let wanted = RebuildOptions {
        switches,
        accept_differences,
        max_rate,
    };
    let how =
        json!({"switch": switches, "acceptDifferences": accept_differences, "maxRate": max_rate});
    let begun = acting.perform(
        "REBUILD",
        name,
        how,
        begun(async move { jobs.rebuild(name, wanted).await }),
    );
    Ok(edge::accepted(begun.await?))
}

/// `GET /admin/projection/{name}/diff?maxRate`: a dry run. It makes work, so it is the operator's alone.
pub(super) async fn diff(
    _: Operator,
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let Some(max_rate) = max_rate(&mut params) else {
        return Err(params.refuse());
    };
    let how = json!({"maxRate": max_rate});
    let begun = acting.perform(
        "DIFF",
        name,
        how,
        begun(async move { jobs.diff(name, max_rate).await }),
    );
    Ok(edge::accepted(begun.await?))
}

/// `POST /admin/projection/{name}/switch?acceptDifferences`.
pub(super) async fn switch(
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
    mut params: Params,
) -> Result<Response, Problem> {
    let Some(accepts) = params.flag("acceptDifferences", false) else {
        return Err(params.refuse());
    };
    let switching = async move { live(jobs.switch(name, accepts).await) };
    Ok(edge::ok(
        acting
            .perform(
                "SWITCH",
                name,
                json!({"acceptDifferences": accepts}),
                switching,
            )
            .await?,
    ))
}

/// `POST /admin/projection/{name}/rollback`.
pub(super) async fn rollback(
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
) -> Result<Response, Problem> {
    let switching = async move { live(jobs.rollback(name).await) };
    Ok(edge::ok(
        acting
            .perform("ROLLBACK", name, json!({}), switching)
            .await?,
    ))
}

/// `POST /admin/projection/{name}/pause`.
pub(super) async fn pause(
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
) -> Result<Response, Problem> {
    let pausing = async move { jobs.pause(name).await.map_err(problem) };
    acting.perform("PAUSE", name, json!({}), pausing).await?;
    Ok(edge::ok("OK"))
}

/// `POST /admin/projection/{name}/resume`.
pub(super) async fn resume(
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
) -> Result<Response, Problem> {
    let resuming = async move { jobs.resume(name).await.map_err(problem) };
    acting.perform("RESUME", name, json!({}), resuming).await?;
    Ok(edge::ok("OK"))
}

/// `POST /admin/projection/{name}/drop`: cancels its job, and drops the standby generations.
pub(super) async fn drop(
    State(ProjectionsState { jobs, .. }): State<ProjectionsState>,
    acting: Acting,
    ModelPath(name): ModelPath,
) -> Result<Response, Problem> {
    let dropping = async move {
        Ok(Dropped {
            dropped: jobs.drop(name).await.map_err(problem)?,
        })
    };
    Ok(edge::ok(
        acting
            .perform("DROP_STANDBYS", name, json!({}), dropping)
            .await?,
    ))
}

async fn begun(
    requested: impl Future<Output = Result<i64, JobRejected>>,
) -> Result<Begun, Problem> {
    Ok(Begun {
        job_id: requested.await.map_err(problem)?,
    })
}

fn live(switched: Result<i32, JobRejected>) -> Result<Live, Problem> {
    Ok(Live {
        generation: switched.map_err(problem)?,
    })
}

/// The read model that the path names; there is no other: 404.
pub(super) struct ModelPath(&'static str);

impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::NotFound)?;
        let known = projector::PROJECTIONS
            .iter()
            .find(|known| known.name == name);
        known.map(|known| Self(known.name)).ok_or(Problem::NotFound)
    }
}

fn max_rate(params: &mut Params) -> Option<Option<i32>> {
    let positive = |rate: i64| i32::try_from(rate).ok().filter(|rate| *rate > 0);
    params.int("maxRate", |rate| {
        positive(rate).ok_or("must be a whole number from 1 to 2147483647")
    })
}

pub(super) fn problem(refused: JobRejected) -> Problem {
    match refused {
        JobRejected::Unknown(_) => Problem::NotFound,
        JobRejected::Busy(_)
        | JobRejected::StandbyExists { .. }
        | JobRejected::NotAvailable(_)
        | JobRejected::Behind { .. }
        | JobRejected::Stuck(_) => Problem::Conflict(refused.to_string()),
        JobRejected::TablesLocked => Problem::Overloaded,
        JobRejected::Log(LogError::Unavailable(error)) => {
            if !POSTGRESQL.explains_failures() {
                tracing::warn!(%error, "the database did not answer about the projections");
            }
            Problem::Overloaded
        }
        JobRejected::Log(error) => Problem::internal(error),
    }
}
