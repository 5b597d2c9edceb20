//! `event_index`: the positions of the events of a user, an invest and a request, and of the rare types. Only audits read it
//! ([`event_log::search`] defines its keys). It has one row for each event, which never changes.

use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use connection_pool::Connection;
use event_log::consume::{ApplyError, Projection};
use event_log::search::{self, INDEX_VERSION};
use event_log::{Partition, Position, RecordedEvent};

/// Keeps `event_index`.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventIndexProjection;

impl Projection for EventIndexProjection {
    const NAME: &'static str = search::EVENT_INDEX;
    const VERSION: i32 = INDEX_VERSION;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for EventIndexProjection {
    const TABLES: &'static [Table] = &[Table::by_partition(
        "event_index",
        "partition, position, user_key, invest_key, correlation_key, rare_type",
    )];
    type Fold = IndexRows;
}

/// The rows of applied events that were not emitted yet.
#[derive(Default)]
pub(crate) struct IndexRows {
    rows: Vec<IndexRow>,
}

struct IndexRow {
    partition: Partition,
    position: Position,
    user_key: Option<i64>,
    invest_key: Option<i64>,
    correlation_key: i64,
    rare_type: Option<&'static str>,
}

impl Fold for IndexRows {
    /// No event touches the row of another.
    async fn read(_: &mut Connection, _: &[RecordedEvent]) -> sqlx::Result<Self> {
        Ok(Self::default())
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        let subject = search::subject(&event.event);
        self.rows.push(IndexRow {
            partition: event.partition,
            position: event.position,
            user_key: subject.map(|(user, _)| search::user_key(user)),
            invest_key: subject.map(|(_, invest)| search::invest_key(invest)),
            correlation_key: search::correlation_key(&event.metadata.correlation_id),
            rare_type: search::rare_type(event.event.name()),
        });
        Ok(())
    }

    fn emit_new(&self, _: Partition, copy: &mut CopyWriter) {
        self.rows.iter().for_each(|row| row.copy(copy));
    }

    /// A row never changes.
    async fn update(&self, _: &mut Connection, _: Partition) -> sqlx::Result<()> {
        Ok(())
    }

    fn emit_finished(&mut self, copy: &mut CopyWriter) {
        self.rows.drain(..).for_each(|row| row.copy(copy));
    }
}

impl IndexRow {
    fn copy(&self, copy: &mut CopyWriter) {
        let Self {
            partition,
            position,
            user_key,
            invest_key,
            correlation_key,
            rare_type,
        } = self;
        copy.row(
            0,
            &[
                partition,
                position,
                user_key,
                invest_key,
                correlation_key,
                rare_type,
            ],
        );
    }
}
