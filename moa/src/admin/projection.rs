//! `GET /admin/projection`: how far each consumer of the log is, the relay and the counters in Redis among them, and
//! the standby generations of read models.

use super::{ProjectionsState, job};
use axum::extract::State;
use axum::response::Response;
use broker::RELAY;
use chrono::{DateTime, Utc};
use command_api::OpenInvest;
use edge::{ListData, Problem};
use event_log::consume::{Checkpoint, Projection as _};
use event_log::{Log, LogError, Partition, Position};
use projector::{COUNTERS, Generation, GenerationState, JobRejected, PROJECTIONS};
use serde::Serialize;
use utoipa::ToSchema;

/// How far a consumer of the log is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConsumerStatus)]
pub(super) struct Status {
    name: String,
    /// Null for a consumer without generations: it cannot be rebuilt.
    generation: Option<i32>,
    version: i32,
    state: String,
    /// In each partition, the last position that is applied.
    #[schema(value_type = Vec<i64>)]
    positions: Vec<Position>,
    /// The last position of each partition.
    #[schema(value_type = Vec<i64>)]
    head: Vec<Position>,
    #[schema(value_type = i64)]
    lag_events: Position,
    lag_seconds: f64,
    stuck: Vec<Stuck>,
}

/// An event that could not be applied; its partition is stuck there.
#[derive(Debug, Serialize, ToSchema)]
struct Stuck {
    #[schema(value_type = i32)]
    partition: Partition,
    #[schema(value_type = i64)]
    position: Position,
    reason: String,
}

pub(super) async fn list(State(managed): State<ProjectionsState>) -> Result<Response, Problem> {
    let list = statuses(&managed).await.map_err(job::problem)?;
    Ok(edge::ok(ListData {
        total_count: list.len() as i64,
        list,
    }))
}

async fn statuses(
    ProjectionsState {
        log, jobs, redis, ..
    }: &ProjectionsState,
) -> Result<Vec<Status>, JobRejected> {
    let generations = jobs.generations().await?;
    // Checkpoints first: heads only grow, so no lag comes out negative.
    let checkpoints = log.checkpoints().await?;
    let counters = counters(log, redis.as_ref()).await;
    let (head, now) = log.heads_now().await?;
    let of = |consumer: &str| {
        checkpoints
            .iter()
            .filter(|at| at.consumer == consumer)
            .collect::<Vec<_>>()
    };
    let mut statuses: Vec<_> = generations
        .iter()
        .map(|generation| of_generation(generation, &of(&generation.consumer()), &head))
        .collect();
    statuses.push(status(
        OpenInvest::NAME,
        OpenInvest::VERSION,
        &of(OpenInvest::NAME),
        &head,
    ));
    let relay = of(RELAY);
    statuses.extend((!relay.is_empty()).then(|| status(RELAY, 1, &relay, &head)));
    statuses.extend(counters.map(|counters| counters_status(counters, &head)));
    for status in &mut statuses {
        status.lag_seconds = seconds_behind(log, status, now).await?;
    }
    Ok(statuses)
}

/// The position of the counters in Redis, partition by partition, where there is a Redis; `Err` when it does not answer.
async fn counters(
    log: &Log,
    redis: Option<&redis::Client>,
) -> Option<Result<Vec<Option<Position>>, String>> {
    let positions = projector::counter_positions(redis?, log).await;
    Some(positions.map_err(|error| error.to_string()))
}

/// Counters that are missing are loaded again; until then reads come from PostgreSQL.
fn counters_status(positions: Result<Vec<Option<Position>>, String>, head: &[Position]) -> Status {
    let is_away = positions.is_err();
    let positions = positions.unwrap_or_else(|_| vec![None; head.len()]);
    let is_whole = positions.iter().all(Option::is_some);
    let positions: Vec<_> = positions
        .into_iter()
        .map(Option::unwrap_or_default)
        .collect();
    let state = if is_away {
        "AWAY"
    } else if is_whole {
        "RUNNING"
    } else {
        "MISSING"
    };
    Status {
        state: state.into(),
        ..status_of(COUNTERS, 1, positions, head)
    }
}

/// One set of a read model's tables.
fn of_generation(generation: &Generation, mine: &[&Checkpoint], head: &[Position]) -> Status {
    let status = status(&generation.projection, generation.code_version, mine, head);
    let state = match generation.state {
        GenerationState::Live if mine.iter().any(|at| at.paused) => "PAUSED",
        GenerationState::Live if !is_known(&generation.projection, status.version) => {
            "OTHER_VERSION"
        }
        GenerationState::Live => {
            return Status {
                generation: Some(generation.generation),
                ..status
            };
        }
        other => other.as_str(),
    };
    Status {
        generation: Some(generation.generation),
        state: state.into(),
        ..status
    }
}

/// Whether this release's code applies events to rows of this version.
fn is_known(projection: &str, version: i32) -> bool {
    PROJECTIONS
        .iter()
        .any(|known| known.name == projection && known.version == version)
}

fn status(name: &str, version: i32, mine: &[&Checkpoint], head: &[Position]) -> Status {
    let position = |partition| {
        mine.iter()
            .find(|at| at.partition == partition)
            .map_or(0, |at| at.position)
    };
    let positions: Vec<_> = (0..)
        .zip(head)
        .map(|(partition, _)| position(partition))
        .collect();
    let stuck: Vec<_> = mine
        .iter()
        .filter_map(|checkpoint| stuck(checkpoint))
        .collect();
    let state = if stuck.is_empty() { "RUNNING" } else { "STUCK" };
    // The rows' own version: a consumer goes by it.
    let version = mine.first().map_or(version, |at| at.code_version);
    Status {
        state: state.into(),
        stuck,
        ..status_of(name, version, positions, head)
    }
}

fn status_of(name: &str, version: i32, positions: Vec<Position>, head: &[Position]) -> Status {
    Status {
        name: name.into(),
        generation: None,
        version,
        state: "RUNNING".into(),
        lag_events: head
            .iter()
            .zip(&positions)
            .map(|(head, position)| head - position)
            .sum(),
        positions,
        head: head.to_vec(),
        lag_seconds: 0.0,
        stuck: Vec::new(),
    }
}

fn stuck(checkpoint: &Checkpoint) -> Option<Stuck> {
    let (position, reason) = checkpoint.stuck.clone()?;
    Some(Stuck {
        partition: checkpoint.partition,
        position,
        reason,
    })
}

/// How long the oldest event that is not applied yet has been in the log.
async fn seconds_behind(log: &Log, status: &Status, now: DateTime<Utc>) -> Result<f64, LogError> {
    let mut oldest = now;
    for (partition, (position, head)) in (0..).zip(status.positions.iter().zip(&status.head)) {
        if position < head {
            let next = log.raw_after(partition, *position, 1).await?;
            oldest = next
                .first()
                .map_or(oldest, |event| oldest.min(event.recorded_at));
        }
    }
    Ok((now - oldest).as_seconds_f64())
}
