//! `event_index`: where in the log the events of a user, an invest and a request are, and those of the rare types. Not
//! shown to anybody: audits look events up in it ([`event_log::search`], whose keys these are). A row for each event, which
//! never changes.

use crate::copy::Copy;
use crate::fold::{self, Fold, ReadModel, Table};
use crate::rows::column;
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

    async fn apply(&self, transaction: &mut Connection, events: &[RecordedEvent]) -> Result<(), ApplyError> {
        fold::apply::<Found>(transaction, events).await
    }
}

impl ReadModel for EventIndexProjection {
    const TABLES: &'static [Table] =
        &[Table::by_partition("event_index", "partition, position, user_key, invest_key, correlation_key, rare_type")];
    type Fold = Found;
}

/// The rows of what was followed and not handed over.
#[derive(Default)]
pub(crate) struct Found {
    rows: Vec<Row>,
}

struct Row {
    partition: Partition,
    position: Position,
    user_key: Option<i64>,
    invest_key: Option<i64>,
    correlation_key: i64,
    rare_type: Option<&'static str>,
}

impl Fold for Found {
    /// No event touches the row of another.
    async fn read(_: &mut Connection, _: &[RecordedEvent]) -> sqlx::Result<Self> {
        Ok(Self::default())
    }

    fn follow(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        let subject = search::subject(&event.event);
        self.rows.push(Row {
            partition: event.partition,
            position: event.position,
            user_key: subject.map(|(user, _)| search::user_key(user)),
            invest_key: subject.map(|(_, invest)| search::invest_key(invest)),
            correlation_key: search::correlation_key(&event.metadata.correlation_id),
            rare_type: search::rare_type(event.event.name()),
        });
        Ok(())
    }

    async fn write(&self, transaction: &mut Connection, _: Partition) -> sqlx::Result<()> {
        let rows = self.rows.as_slice();
        sqlx::query(
            "insert into event_index (partition, position, user_key, invest_key, correlation_key, rare_type)
             select * from unnest($1::integer[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])",
        )
        .bind(column(rows, |row| row.partition))
        .bind(column(rows, |row| row.position))
        .bind(column(rows, |row| row.user_key))
        .bind(column(rows, |row| row.invest_key))
        .bind(column(rows, |row| row.correlation_key))
        .bind(column(rows, |row| row.rare_type))
        .execute(transaction)
        .await?;
        Ok(())
    }

    fn copy_finished(&mut self, copy: &mut Copy) {
        for Row { partition, position, user_key, invest_key, correlation_key, rare_type } in self.rows.drain(..) {
            copy.row(0, &[&partition, &position, &user_key, &invest_key, &correlation_key, &rare_type]);
        }
    }

    fn copy_rest(mut self, _: Partition, copy: &mut Copy) {
        self.copy_finished(copy);
    }
}
