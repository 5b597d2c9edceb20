//! `GET /admin/projection`: how far each consumer of the log is.

use axum::extract::State;
use axum::response::Response;
use chrono::{DateTime, Utc};
use command_api::OpenInvest;
use edge::{ListData, Problem};
use event_log::consume::{Checkpoint, Projection as _};
use event_log::{Log, LogError, Partition, Position};
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

pub(super) async fn list(State(log): State<Log>) -> Result<Response, Problem> {
    let list = statuses(&log).await.map_err(unavailable)?;
    Ok(edge::ok(ListData { total_count: list.len() as i64, list }))
}

async fn statuses(log: &Log) -> Result<Vec<Status>, LogError> {
    // The checkpoints first: heads only grow, so no lag comes out negative.
    let checkpoints = log.checkpoints().await?;
    let (head, now) = log.heads_now().await?;
    let named = projector::PROJECTIONS.iter().map(|projection| (projection.name, projection.version));
    let mut statuses = Vec::new();
    for (name, version) in named.chain([(OpenInvest::NAME, 1)]) {
        let mine: Vec<_> = checkpoints.iter().filter(|checkpoint| checkpoint.consumer == name).collect();
        let mut status = status(name, version, &mine, &head);
        status.lag_seconds = seconds_behind(log, &status, now).await?;
        statuses.push(status);
    }
    Ok(statuses)
}

fn status(name: &'static str, version: u32, mine: &[&Checkpoint], head: &[Position]) -> Status {
    let position = |partition| mine.iter().find(|at| at.partition == partition).map_or(0, |at| at.position);
    let positions: Vec<_> = (0..).zip(head).map(|(partition, _)| position(partition)).collect();
    let stuck: Vec<_> = mine.iter().filter_map(|checkpoint| stuck(checkpoint)).collect();
    let lag_events = head.iter().zip(&positions).map(|(head, position)| head - position).sum();
    let state = if stuck.is_empty() { "RUNNING" } else { "STUCK" };
    Status { name, version, state, positions, head: head.to_vec(), lag_events, lag_seconds: 0.0, stuck }
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
