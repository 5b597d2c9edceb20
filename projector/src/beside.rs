//! Generations that are whole, and not live: they are kept up, so that a switch to one of them is a matter of moments.

use crate::fold::ReadModel;
use crate::generation::slot;
use crate::supervise::keep_running;
use connection_pool::Pool;
use event_log::Log;
use event_log::consume::Consumer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often it is looked which there are.
const LOOK: Duration = Duration::from_secs(1);

/// A read model's generation, by numbers.
type Known = (String, i32, i32);

/// Keeps up every generation beside the live ones whose code this release has, until `shutdown`.
pub(crate) async fn keep_up(log: Log, pool: Pool, shutdown: CancellationToken) {
    let (mut kept, mut consumers) = (BTreeMap::<Known, CancellationToken>::new(), JoinSet::new());
    while !shutdown.is_cancelled() {
        // Unknown is no reason to stop any.
        if let Ok(known) = known(&pool).await {
            kept.retain(|one, stop| {
                known.contains(one) || {
                    stop.cancel();
                    false
                }
            });
            for one in known {
                kept.entry(one.clone()).or_insert_with(|| {
                    let stop = shutdown.child_token();
                    start(&mut consumers, one, &log, &pool, &stop);
                    stop
                });
            }
        }
        while consumers.try_join_next().is_some() {}
        shutdown.run_until_cancelled(tokio::time::sleep(LOOK)).await;
    }
    while consumers.join_next().await.is_some() {}
}

async fn known(pool: &Pool) -> sqlx::Result<Vec<Known>> {
    sqlx::query_as(
        "select projection, generation, code_version from generations where state in ('READY', 'DIFFERENT', 'PREVIOUS')",
    )
    .fetch_all(pool)
    .await
}

fn start(consumers: &mut JoinSet<()>, one: Known, log: &Log, pool: &Pool, stop: &CancellationToken) {
    let (projection, generation, code_version) = one;
    macro_rules! start {
        ($($model:ident),*) => {
            $(if (projection.as_str(), code_version) == (name::<crate::$model>(), version::<crate::$model>()) {
                follow::<crate::$model>(consumers, generation, log, pool, stop);
            })*
        };
    }
    crate::read_models!(start);
}

fn name<M: ReadModel>() -> &'static str {
    M::NAME
}

fn version<M: ReadModel>() -> i32 {
    M::VERSION
}

fn follow<M: ReadModel>(
    consumers: &mut JoinSet<()>,
    generation: i32,
    log: &Log,
    pool: &Pool,
    stop: &CancellationToken,
) {
    let (slot, model) = (slot(M::NAME, generation), Arc::new(M::default()));
    for partition in log.partitions() {
        let readiness = log.readiness().clone();
        let (log, pool, model, slot, token) = (log.clone(), pool.clone(), model.clone(), slot.clone(), stop.clone());
        let start = move || {
            consume(
                Consumer::new(log.clone(), pool.clone(), model.clone(), partition).beside(slot.clone()),
                token.clone(),
            )
        };
        consumers.spawn(keep_running(M::NAME, partition, readiness, stop.clone(), start));
    }
}

async fn consume<M: ReadModel>(consumer: Consumer<M>, stop: CancellationToken) {
    consumer.run(stop).await;
}
