//! Fails the products that miss their target. Each product with a target has a row in `target_checks`, from its opening until its target is
//! reached for good or it ends. From the end of the window on, the aggregate is asked; it alone decides.

use crate::processor::{CommandEnvelope, CommandError, PartitionProcessors, UntimedCommand};
use connection_pool::outage::POSTGRESQL;
use connection_pool::{Connection, Pool};
use domain::{ProductEvent, ProductId, Refusal, Terms};
use event_log::{Metadata, RecordedEvent, RepeatedFault};
use sqlx::FromRow;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often due targets are looked for.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// When a product whose target is undecided, or which was not decided at all, is due again.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// Products that one look takes; it looks again at once when there are more.
const MAX_CHECKS: usize = 100;

/// A product whose window is over.
#[derive(FromRow)]
struct Check {
    product_id: i64,
    event_id: Uuid,
    correlation_id: String,
}

/// Adds a row for a product that is opened with a target; deletes that of one that has ended.
pub(super) async fn apply(
    transaction: &mut Connection,
    recorded: &RecordedEvent,
) -> sqlx::Result<()> {
    match &recorded.event {
        ProductEvent::ProductOpened {
            finished_at,
            terms: Terms {
                target_amount: Some(_),
                ..
            },
            ..
        } => {
            sqlx::query(
                "insert into target_checks (product_id, due_at, event_id, correlation_id) values ($1, $2, $3, $4)
                 on conflict (product_id) do nothing",
            )
            .bind(recorded.product_id.get())
            .bind(finished_at)
            .bind(recorded.event_id)
            .bind(&recorded.metadata.correlation_id)
            .execute(transaction)
            .await?;
        }
        ProductEvent::ProductCancelled { .. } | ProductEvent::ProductFailed { .. } => {
            delete(transaction, recorded.product_id).await?;
        }
        ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestSettled { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestWithdrawn { .. }
        | ProductEvent::InvestRefunded { .. } => {}
    }
    Ok(())
}

async fn delete(database: impl sqlx::PgExecutor<'_>, product: ProductId) -> sqlx::Result<()> {
    sqlx::query("delete from target_checks where product_id = $1")
        .bind(product.get())
        .execute(database)
        .await?;
    Ok(())
}

/// Has each product decided whose window is over, until `shutdown`.
pub(super) async fn check(
    processors: &PartitionProcessors,
    pool: &Pool,
    shutdown: &CancellationToken,
) {
    let mut tick = tokio::time::interval(CHECK_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fault = RepeatedFault::new("targets of products cannot be checked", "");
    while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
        match claim(processors, pool).await {
            Ok(due) => {
                fault.recovered();
                if due.len() >= MAX_CHECKS {
                    tick.reset_immediately();
                }
                futures::future::join_all(
                    due.into_iter().map(|check| decide(processors, pool, check)),
                )
                .await;
            }
            Err(error) => fault.failed(&error),
        }
    }
}

/// Claims what is due by the log's trusted time: a clock that jumps fails no product.
async fn claim(processors: &PartitionProcessors, pool: &Pool) -> sqlx::Result<Vec<Check>> {
    let Some(clock) = processors.log().trusted_clock() else {
        return Ok(Vec::new());
    };
    sqlx::query_as(
        "update target_checks set due_at = $1 + make_interval(secs => $2)
          where product_id = any (array(select product_id from target_checks
                                         where due_at <= $1 order by due_at limit $3 for update skip locked))
      returning product_id, event_id, correlation_id",
    )
    .bind(clock.now())
    .bind(RETRY_DELAY.as_secs_f64())
    .bind(MAX_CHECKS as i64)
    .fetch_all(pool)
    .await
}

async fn decide(processors: &PartitionProcessors, pool: &Pool, check: Check) {
    let Ok(product_id) = ProductId::try_from(check.product_id) else {
        return;
    };
    let metadata = Metadata {
        correlation_id: check.correlation_id,
        causation_id: Some(check.event_id.to_string()),
        ..Metadata::default()
    };
    let envelope = CommandEnvelope::new(product_id, UntimedCommand::FailProduct, metadata);
    match processors
        .submit(envelope)
        .await
        .map(|outcome| outcome.decision)
    {
        // The consumer deletes the row when it applies the event.
        Ok(Ok(())) => {
            tracing::info!(
                product = product_id.get(),
                "a product missed its target; every invest is given back"
            )
        }
        Ok(Err(Refusal::TargetUndecided))
        | Err(CommandError::Overloaded | CommandError::OutcomeUnknown) => {}
        Ok(Err(Refusal::TargetNotMissed | Refusal::Cancelled | Refusal::Failed)) => {
            if let Err(error) = delete(pool, product_id).await
                && !POSTGRESQL.explains_failures()
            {
                tracing::warn!(product = product_id.get(), %error, "the check of a target was not deleted; it is retried");
            }
        }
        other => {
            tracing::error!(product = product_id.get(), outcome = ?other, "whether a product missed its target is not decided")
        }
    }
}
