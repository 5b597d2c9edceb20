//! Keeps standby generations up to date, so that a switch to one of them takes moments.

use crate::fold::ReadModel;
use crate::generation::{GenerationState, standby_schema};
use crate::restart::spawn_for_each_partition;
use connection_pool::Pool;
use event_log::Log;
use event_log::consume::Consumer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often the standbys are listed.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// A standby: its read model, its generation, and the version of its code.
type Standby = (String, i32, i32);

/// Keeps every standby generation up to date whose code this release has, until `shutdown`.
pub(crate) async fn run_standbys(log: Log, pool: Pool, shutdown: CancellationToken) {
    let (mut running, mut consumers) = (
        BTreeMap::<Standby, CancellationToken>::new(),
        JoinSet::new(),
    );
    while !shutdown.is_cancelled() {
        // When they cannot be listed, those that run continue.
        if let Ok(standbys) = standbys(&pool).await {
            running.retain(|standby, stop| {
                standbys.contains(standby) || {
                    stop.cancel();
                    false
                }
            });
            for standby in standbys {
                running.entry(standby.clone()).or_insert_with(|| {
                    let stop = shutdown.child_token();
                    start(&mut consumers, standby, &log, &pool, &stop);
                    stop
                });
            }
        }
        while consumers.try_join_next().is_some() {}
        shutdown
            .run_until_cancelled(tokio::time::sleep(POLL_INTERVAL))
            .await;
    }
    while consumers.join_next().await.is_some() {}
}

async fn standbys(pool: &Pool) -> sqlx::Result<Vec<Standby>> {
    sqlx::query_as(
        "select projection, generation, code_version from generations where state = any($1)",
    )
    .bind(GenerationState::STANDBY.map(GenerationState::as_str))
    .fetch_all(pool)
    .await
}

fn start(
    consumers: &mut JoinSet<()>,
    (projection, generation, code_version): Standby,
    log: &Log,
    pool: &Pool,
    stop: &CancellationToken,
) {
    with_model!(
        projection.as_str(),
        Model => if version::<Model>() == code_version {
            run_consumers::<Model>(consumers, generation, log, pool, stop);
        },
        _ => {},
    );
}

fn version<M: ReadModel>() -> i32 {
    M::VERSION
}

fn run_consumers<M: ReadModel>(
    consumers: &mut JoinSet<()>,
    generation: i32,
    log: &Log,
    pool: &Pool,
    stop: &CancellationToken,
) {
    let (own_log, pool, stopped) = (log.clone(), pool.clone(), stop.clone());
    let (schema, model) = (standby_schema(M::NAME, generation), Arc::new(M::default()));
    spawn_for_each_partition(consumers, M::NAME, log, stop, move |partition| {
        let consumer = Consumer::new(own_log.clone(), pool.clone(), model.clone(), partition);
        consumer.for_standby(schema.clone()).run(stopped.clone())
    });
}
