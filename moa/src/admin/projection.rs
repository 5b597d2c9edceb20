//! `GET /admin/projection`: how far each consumer of the log is, the relay and the counters in Redis among them.

use axum::extract::State;
use axum::response::Response;
use broker::RELAY;
use chrono::{DateTime, Utc};
use command_api::OpenInvest;
use edge::{ListData, Problem};
use event_log::consume::{Checkpoint, Projection as _};
use event_log::{Log, LogError, Partition, Position};
use projector::COUNTERS;
use serde::Serialize;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    name: &'static str,
    version: u32,
    state: &'static str,
    positions: Vec<Position>,
    head: Vec<Position>,
    lag_events: Position,
    lag_seconds: f64,
    stuck: Vec<Stuck>,
}

/// An event that could not be applied; its partition stands still there.
#[derive(Debug, Serialize)]
struct Stuck {
    partition: Partition,
    position: Position,
    reason: String,
}

type Known = State<(Log, Option<redis::Client>)>;

pub(super) async fn list(State((log, redis)): Known) -> Result<Response, Problem> {
    let list = statuses(&log, redis.as_ref()).await.map_err(unavailable)?;
    Ok(edge::ok(ListData { total_count: list.len() as i64, list }))
}

async fn statuses(log: &Log, redis: Option<&redis::Client>) -> Result<Vec<Status>, LogError> {
    // Where they stand first: heads only grow, so no lag comes out negative.
    let checkpoints = log.checkpoints().await?;
    let counters = counters(log, redis).await;
    let (head, now) = log.heads_now().await?;
    let has_begun = |name| checkpoints.iter().any(|checkpoint| checkpoint.consumer == name);
    let named = projector::PROJECTIONS.iter().map(|projection| (projection.name, projection.version));
    let relay = has_begun(RELAY).then_some((RELAY, 1));
    let mut statuses = Vec::new();
    for (name, version) in named.chain([(OpenInvest::NAME, 1)]).chain(relay) {
        let mine: Vec<_> = checkpoints.iter().filter(|checkpoint| checkpoint.consumer == name).collect();
        statuses.push(status(name, version, &mine, &head));
    }
    statuses.extend(counters.map(|counters| counters_status(counters, &head)));
    for status in &mut statuses {
        status.lag_seconds = seconds_behind(log, status, now).await?;
    }
    Ok(statuses)
}

/// Where the counters in Redis stand, partition by partition, where there is a Redis; `Err` when it does not answer.
async fn counters(log: &Log, redis: Option<&redis::Client>) -> Option<Result<Vec<Option<Position>>, String>> {
    let positions = projector::counter_positions(redis?, log.identity()).await;
    Some(positions.map_err(|error| error.to_string()))
}

/// Counters that are missing are made anew; until then reads come from PostgreSQL.
fn counters_status(positions: Result<Vec<Option<Position>>, String>, head: &[Position]) -> Status {
    let is_away = positions.is_err();
    let positions = positions.unwrap_or_else(|_| vec![None; head.len()]);
    let is_whole = positions.iter().all(Option::is_some);
    let positions: Vec<_> = positions.into_iter().map(Option::unwrap_or_default).collect();
    let state = if is_away {
        "AWAY"
    } else if is_whole {
        "RUNNING"
    } else {
        "MISSING"
    };
    Status { state, ..standing(COUNTERS, 1, positions, head) }
}

fn status(name: &'static str, version: u32, mine: &[&Checkpoint], head: &[Position]) -> Status {
    let position = |partition| mine.iter().find(|at| at.partition == partition).map_or(0, |at| at.position);
    let positions: Vec<_> = (0..).zip(head).map(|(partition, _)| position(partition)).collect();
    let stuck: Vec<_> = mine.iter().filter_map(|checkpoint| stuck(checkpoint)).collect();
    let state = if stuck.is_empty() { "RUNNING" } else { "STUCK" };
    Status { state, stuck, ..standing(name, version, positions, head) }
}

fn standing(name: &'static str, version: u32, positions: Vec<Position>, head: &[Position]) -> Status {
    let lag_events = head.iter().zip(&positions).map(|(head, position)| head - position).sum();
    let (head, stuck) = (head.to_vec(), Vec::new());
    Status { name, version, state: "RUNNING", positions, head, lag_events, lag_seconds: 0.0, stuck }
}

fn stuck(checkpoint: &Checkpoint) -> Option<Stuck> {
    let (position, reason) = checkpoint.stuck.clone()?;
    Some(Stuck { partition: checkpoint.partition, position, reason })
}

/// How long the oldest event that is not applied yet has been in the log.
async fn seconds_behind(log: &Log, status: &Status, now: DateTime<Utc>) -> Result<f64, LogError> {
    let mut oldest = now;
    for (partition, (position, head)) in (0..).zip(status.positions.iter().zip(&status.head)) {
        if position < head {
            let next = log.read_after(partition, *position, 1).await?;
            oldest = next.first().map_or(oldest, |event| oldest.min(event.recorded_at));
        }
    }
    Ok((now - oldest).as_seconds_f64())
}

fn unavailable(error: LogError) -> Problem {
    match error {
        LogError::Unavailable(error) => {
            tracing::warn!(%error, "the state of the projections could not be read");
            Problem::Overloaded
        }
        error => Problem::internal(error),
    }
}
