//! The connections that a service opens, and how far the log's consumers are.

use super::super::Finding;
use crate::complaint;
use crate::database::max_connections;
use crate::settings::ServiceName;
use broker::RELAY;
use chrono::{DateTime, Utc};
use command_api::OpenInvest;
use connection_pool::Pool;
use event_log::consume::{Checkpoint, Projection as _};
use event_log::{Log, LogError, Position};
use projector::PROJECTIONS;
use std::collections::BTreeMap;

/// A consumer that is further behind needs a look.
const MAX_LAG_SECONDS: f64 = 60.0;

/// `max_connections`, without those that are kept for superusers, beside what the service's pools may open.
pub(super) async fn connections(
    pool: &Pool,
    service: Option<ServiceName>,
    partitions: Option<i32>,
) -> sqlx::Result<Finding> {
    const CHECK: &str = "connections";
    let available: i32 = sqlx::query_scalar(
        "select sum(case name when 'max_connections' then setting::integer else -setting::integer end)::integer
           from pg_settings where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')",
    )
    .fetch_one(pool)
    .await?;
    let needed = max_connections(service, partitions);
    let found = format!("its pools open up to {needed} connections, the server allows {available}");
    Ok(if needed > available {
        Finding::wrong(
            CHECK,
            found,
            "alter system set max_connections, and restart the server: docs/deploying.md",
        )
    } else if 2 * needed > available {
        Finding::warn(
            CHECK,
            found,
            "a second instance, as in a rolling deploy, has no room: docs/deploying.md",
        )
    } else {
        Finding::ok(CHECK, found)
    })
}

/// One finding for each consumer that is behind or stuck, else one for all.
pub(super) async fn lag(log: &Log) -> Vec<Finding> {
    const CHECK: &str = "consumers";
    let findings = match consumers(log).await {
        Ok(findings) => findings,
        Err(error) => {
            let error = complaint::causes(&error.into());
            return vec![Finding::warn(
                CHECK,
                format!("cannot be asked: {error}"),
                "see the rights, or run `moa status`",
            )];
        }
    };
    match findings.is_empty() {
        true => vec![Finding::ok(
            CHECK,
            "each is within a minute of the log's heads",
        )],
        false => findings,
    }
}

async fn consumers(log: &Log) -> Result<Vec<Finding>, LogError> {
    // Checkpoints first: heads only grow, so no lag comes out negative.
    let checkpoints = log.checkpoints().await?;
    let (heads, now) = log.heads_now().await?;
    let mut of: BTreeMap<&str, Vec<&Checkpoint>> = BTreeMap::new();
    for checkpoint in checkpoints
        .iter()
        .filter(|checkpoint| is_live(&checkpoint.consumer) && !checkpoint.paused)
    {
        of.entry(&checkpoint.consumer).or_default().push(checkpoint);
    }
    let mut findings = Vec::new();
    for (consumer, mine) in of {
        findings.extend(judge(log, consumer, &mine, &heads, now).await?);
    }
    Ok(findings)
}

/// A standby catches up in its own time.
fn is_live(consumer: &str) -> bool {
    [OpenInvest::NAME, RELAY].contains(&consumer)
        || PROJECTIONS.iter().any(|known| known.name == consumer)
}

async fn judge(
    log: &Log,
    consumer: &str,
    mine: &[&Checkpoint],
    heads: &[Position],
    now: DateTime<Utc>,
) -> Result<Option<Finding>, LogError> {
    const CHECK: &str = "consumers";
    if let Some((partition, (position, reason))) = mine
        .iter()
        .find_map(|at| Some((at.partition, at.stuck.clone()?)))
    {
        let found =
            format!("{consumer} is stuck at partition {partition} position {position}: {reason}");
        return Ok(Some(Finding::wrong(
            CHECK,
            found,
            "see MoaConsumerFailing in docs/runbook.md",
        )));
    }
    let (mut events, mut oldest) = (0, now);
    for (partition, head) in (0..).zip(heads) {
        let position = mine
            .iter()
            .find(|at| at.partition == partition)
            .map_or(0, |at| at.position);
        if position < *head {
            events += head - position;
            let next = log.raw_after(partition, position, 1).await?;
            oldest = next
                .first()
                .map_or(oldest, |event| oldest.min(event.recorded_at));
        }
    }
    let seconds = (now - oldest).as_seconds_f64();
    let found = format!("{consumer} is {events} events and {seconds:.0} s behind");
    let mend = "is its service running? See MoaConsumerBehind in docs/runbook.md";
    Ok((seconds > MAX_LAG_SECONDS).then(|| Finding::warn(CHECK, found, mend)))
}
