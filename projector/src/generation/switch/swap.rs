//! The swap of two generations: their tables, checkpoints and states.

use super::SwitchError;
use crate::generation::{
    GenerationState, LIVE_SCHEMA, execute, qualified, quoted, standby_schema, tables,
};
use connection_pool::Connection;
use event_log::Position;

/// The two generations that a switch swaps.
pub(super) struct SchemaSwap<'a> {
    projection: &'a str,
    from: i32,
    to: i32,
    /// The schema to which the live generation's tables move, and the new consumer of its checkpoints.
    retire_to: String,
    retiring: Vec<String>,
    /// The schema from which the standby's tables move, and the old consumer of its checkpoints.
    promote_from: String,
    promoted: Vec<String>,
}

impl<'a> SchemaSwap<'a> {
    pub(super) async fn of(
        transaction: &mut Connection,
        projection: &'a str,
        from: i32,
        to: i32,
    ) -> Result<Self, SwitchError> {
        let (retire_to, promote_from) = (
            standby_schema(projection, from),
            standby_schema(projection, to),
        );
        let retiring = tables::tables(transaction, projection, LIVE_SCHEMA).await?;
        let promoted = tables::tables(transaction, projection, &promote_from).await?;
        if promoted.is_empty() {
            let projection = projection.into();
            return Err(SwitchError::Unfit {
                projection,
                generation: to,
                reason: "it has no tables",
            });
        }
        Ok(Self {
            projection,
            from,
            to,
            retire_to,
            retiring,
            promote_from,
            promoted,
        })
    }

    /// Every table of both, as SQL lists them, the live ones first. They are ordered by name, so a read model's main table
    /// comes before its others.
    fn tables(&self) -> String {
        let retiring = self
            .retiring
            .iter()
            .map(|table| qualified(LIVE_SCHEMA, table));
        let promoted = self
            .promoted
            .iter()
            .map(|table| qualified(&self.promote_from, table));
        retiring.chain(promoted).collect::<Vec<_>>().join(", ")
    }

    /// Takes the lock that a vacuum needs and that blocks no reader or writer. The server cancels an autovacuum only for a
    /// waiter that waits longer than readers may be blocked.
    pub(super) async fn keep_vacuum_out(&self, transaction: &mut Connection) -> sqlx::Result<()> {
        let lock = format!(
            "lock table {} in share update exclusive mode",
            self.tables()
        );
        execute(transaction, &lock).await
    }

    /// Locks the checkpoints of both in every partition, and returns their positions. Inserts missing ones first, so that no
    /// consumer begins meanwhile.
    pub(super) async fn hold_checkpoints(
        &self,
        transaction: &mut Connection,
    ) -> sqlx::Result<HeldCheckpoints> {
        sqlx::query(
            "insert into checkpoints (consumer, partition, code_version)
             select case state when 'LIVE' then $1 else $2 end, partition, code_version
               from generations
              cross join (select generate_series(0, partitions - 1) as partition from log_identity) as log
              where projection = $1 and generation in ($3, $4)
                 on conflict do nothing",
        )
        .bind(self.projection)
        .bind(&self.promote_from)
        .bind(self.from)
        .bind(self.to)
        .execute(&mut *transaction)
        .await?;
        let held: Vec<(String, Position)> = sqlx::query_as(
            "select consumer, position from checkpoints where consumer in ($1, $2)
              order by partition, consumer for update",
        )
        .bind(self.projection)
        .bind(&self.promote_from)
        .fetch_all(transaction)
        .await?;
        let (live, standby): (Vec<_>, Vec<_>) = held
            .into_iter()
            .partition(|(consumer, _)| consumer == self.projection);
        let positions = |held: Vec<(String, Position)>| {
            held.into_iter().map(|(_, position)| position).collect()
        };
        Ok(HeldCheckpoints {
            live: positions(live),
            standby: positions(standby),
        })
    }

    /// Creates the schema for the generation that retires. Nobody reads there yet.
    pub(super) async fn make_retire_schema(
        &self,
        transaction: &mut Connection,
    ) -> sqlx::Result<()> {
        tables::create_schema(transaction, self.projection, &self.retire_to).await
    }

    /// Swaps both in one message to the server, so that nothing delays it between the lock and the last change.
    pub(super) async fn swap(&self, transaction: &mut Connection) -> sqlx::Result<()> {
        let mut statements = vec![format!(
            "lock table {} in access exclusive mode",
            self.tables()
        )];
        statements.extend(
            self.retiring
                .iter()
                .map(|table| moved(LIVE_SCHEMA, table, &self.retire_to)),
        );
        statements.extend(
            self.promoted
                .iter()
                .map(|table| moved(&self.promote_from, table, LIVE_SCHEMA)),
        );
        statements.push(format!("drop schema {}", quoted(&self.promote_from)));
        statements.push(self.pauses());
        statements.extend([
            renamed(self.projection, &self.retire_to),
            renamed(&self.promote_from, self.projection),
        ]);
        statements.extend(self.states());
        execute(transaction, &statements.join("; ")).await
    }

    /// An operator pauses the live model, whichever generation that is: the flag stays with the name.
    fn pauses(&self) -> String {
        let (live, other) = (literal(self.projection), literal(&self.promote_from));
        format!(
            "update checkpoints as own set paused = other.paused from checkpoints as other
              where own.partition = other.partition
                and (own.consumer, other.consumer) in (({live}, {other}), ({other}, {live}))"
        )
    }

    /// One after another, because at most one is live and one is previous.
    fn states(&self) -> [String; 3] {
        let projection = literal(self.projection);
        let set = |state: GenerationState, which| {
            let state = state.as_str();
            format!(
                "update generations set state = '{state}' where projection = {projection} and {which}"
            )
        };
        [
            set(GenerationState::Ready, "state = 'PREVIOUS'".into()),
            set(
                GenerationState::Previous,
                format!("generation = {}", self.from),
            ),
            set(GenerationState::Live, format!("generation = {}", self.to)),
        ]
    }
}

/// The positions of the locked checkpoints, by partition.
pub(super) struct HeldCheckpoints {
    pub(super) live: Vec<Position>,
    standby: Vec<Position>,
}

impl HeldCheckpoints {
    /// How many events the standby lacks.
    pub(super) fn behind(&self) -> i64 {
        self.live
            .iter()
            .zip(&self.standby)
            .map(|(live, standby)| (live - standby).max(0))
            .sum()
    }
}

fn moved(from: &str, table: &str, to: &str) -> String {
    format!(
        "alter table {} set schema {}",
        qualified(from, table),
        quoted(to)
    )
}

fn renamed(from: &str, to: &str) -> String {
    format!(
        "update checkpoints set consumer = {} where consumer = {}",
        literal(to),
        literal(from)
    )
}

/// A text as SQL quotes it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
