//! Which consumers have applied an event, and between which times.

use chrono::{DateTime, Utc};
use connection_pool::Pool;
use event_log::RecordedEvent;

/// One consumer and one event.
pub(super) struct Applied {
    pub(super) consumer: String,
    /// Its checkpoint is at the event or past it.
    pub(super) is_applied: bool,
    /// It was not before this.
    pub(super) after: DateTime<Utc>,
    /// It was not after this; `None` when it is not applied.
    pub(super) before: Option<DateTime<Utc>>,
}

impl Applied {
    /// What is not applied comes last.
    pub(super) fn time(&self) -> (bool, Option<DateTime<Utc>>, String) {
        (!self.is_applied, self.before, self.consumer.clone())
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    consumer: String,
    position: i64,
    moved_at: DateTime<Utc>,
    seen_before: Option<DateTime<Utc>>,
    seen_past: Option<DateTime<Utc>>,
}

/// Every consumer. The checkpoint history says when one applied the event; where it has nothing, the checkpoint still says when
/// it moved last, which was not before.
pub(super) async fn of(read: &Pool, event: &RecordedEvent) -> sqlx::Result<Vec<Applied>> {
    let rows: Vec<Row> = sqlx::query_as(
        "select consumer, position, moved_at,
                (select t.moved_at from checkpoint_trail t
                  where t.consumer = c.consumer and t.partition = $1 and t.position < $2
                  order by t.position desc limit 1) as seen_before,
                (select t.moved_at from checkpoint_trail t
                  where t.consumer = c.consumer and t.partition = $1 and t.position >= $2
                  order by t.position limit 1) as seen_past
           from checkpoints c
          where partition = $1",
    )
    .bind(event.partition)
    .bind(event.position)
    .fetch_all(read)
    .await?;
    let mut applied: Vec<_> = rows.into_iter().map(|row| row.about(event)).collect();
    let begun = |name: &str| applied.iter().any(|it: &Applied| it.consumer == name);
    let missing: Vec<_> = projector::PROJECTIONS
        .iter()
        .filter(|it| !begun(it.name))
        .collect();
    applied.extend(
        missing
            .iter()
            .map(|it| Applied::not_yet(it.name.into(), event)),
    );
    Ok(applied)
}

impl Row {
    fn about(self, event: &RecordedEvent) -> Applied {
        if self.position < event.position {
            return Applied::not_yet(self.consumer, event);
        }
        let before = self
            .seen_past
            .map_or(self.moved_at, |seen| seen.min(self.moved_at));
        // The history of an earlier generation may be out of order; nothing is applied before it is there.
        let after = self
            .seen_before
            .filter(|seen| *seen <= before)
            .unwrap_or(event.recorded_at);
        let after = after.max(event.recorded_at);
        Applied {
            consumer: self.consumer,
            is_applied: true,
            after,
            before: Some(before.max(after)),
        }
    }
}

impl Applied {
    fn not_yet(consumer: String, event: &RecordedEvent) -> Self {
        Self {
            consumer,
            is_applied: false,
            after: event.recorded_at,
            before: None,
        }
    }
}
