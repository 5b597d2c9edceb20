//! Two generations and what there is of each: tables, checkpoints, states.

use super::SwitchError;
use crate::generation::{LIVE, execute, qualified, quoted, slot, tables};
use connection_pool::Connection;
use event_log::Position;

/// Who trades places.
pub(super) struct Places<'a> {
    projection: &'a str,
    from: i32,
    to: i32,
    /// Where the live generation's tables go, and what its checkpoints' consumer is called then.
    leaves_for: String,
    leaving: Vec<String>,
    /// Where the other's tables come from, and what its checkpoints' consumer was called.
    comes_from: String,
    coming: Vec<String>,
}

impl<'a> Places<'a> {
    pub(super) async fn of(
        transaction: &mut Connection,
        projection: &'a str,
        from: i32,
        to: i32,
    ) -> Result<Self, SwitchError> {
        let (leaves_for, comes_from) = (slot(projection, from), slot(projection, to));
        let leaving = tables::tables(transaction, projection, LIVE).await?;
        let coming = tables::tables(transaction, projection, &comes_from).await?;
        if coming.is_empty() {
            let projection = projection.into();
            return Err(SwitchError::Unfit { projection, generation: to, reason: "it has no tables" });
        }
        Ok(Self { projection, from, to, leaves_for, leaving, comes_from, coming })
    }

    /// Every table of both, as SQL lists them, the live ones first: by name, and so a main table before its others.
    fn tables(&self) -> String {
        let leaving = self.leaving.iter().map(|table| qualified(LIVE, table));
        let coming = self.coming.iter().map(|table| qualified(&self.comes_from, table));
        leaving.chain(coming).collect::<Vec<_>>().join(", ")
    }

    /// Takes the lock that a vacuum would need, which no reader or writer minds. The server cancels an autovacuum only
    /// for someone who waits longer than readers can be made to wait.
    pub(super) async fn keep_vacuum_out(&self, transaction: &mut Connection) -> sqlx::Result<()> {
        let lock = format!("lock table {} in share update exclusive mode", self.tables());
        execute(transaction, &lock).await
    }

    /// Locks the checkpoints of both in every partition, making what is missing so that nobody begins meanwhile, and says
    /// where they stand.
    pub(super) async fn hold_checkpoints(&self, transaction: &mut Connection) -> sqlx::Result<Held> {
        sqlx::query(
            "insert into checkpoints (consumer, partition, code_version)
             select case state when 'LIVE' then $1 else $2 end, partition, code_version
               from generations
              cross join (select generate_series(0, partitions - 1) as partition from log_identity) as log
              where projection = $1 and generation in ($3, $4)
                 on conflict do nothing",
        )
        .bind(self.projection)
        .bind(&self.comes_from)
        .bind(self.from)
        .bind(self.to)
        .execute(&mut *transaction)
        .await?;
        let held: Vec<(String, Position)> = sqlx::query_as(
            "select consumer, position from checkpoints where consumer in ($1, $2)
              order by partition, consumer for update",
        )
        .bind(self.projection)
        .bind(&self.comes_from)
        .fetch_all(transaction)
        .await?;
        let (live, other): (Vec<_>, Vec<_>) = held.into_iter().partition(|(consumer, _)| consumer == self.projection);
        let positions = |held: Vec<(String, Position)>| held.into_iter().map(|(_, position)| position).collect();
        Ok(Held { live: positions(live), other: positions(other) })
    }

    /// Makes room for what leaves. Nobody looks there yet.
    pub(super) async fn make_room(&self, transaction: &mut Connection) -> sqlx::Result<()> {
        tables::make_schema(transaction, self.projection, &self.leaves_for).await
    }

    /// In one message, so that nothing of ours comes between the lock and the last change.
    pub(super) async fn trade(&self, transaction: &mut Connection) -> sqlx::Result<()> {
        let mut statements = vec![format!("lock table {} in access exclusive mode", self.tables())];
        statements.extend(self.leaving.iter().map(|table| moved(LIVE, table, &self.leaves_for)));
        statements.extend(self.coming.iter().map(|table| moved(&self.comes_from, table, LIVE)));
        statements.push(format!("drop schema {}", quoted(&self.comes_from)));
        statements.push(self.pauses());
        statements.extend([renamed(self.projection, &self.leaves_for), renamed(&self.comes_from, self.projection)]);
        statements.extend(self.states());
        execute(transaction, &statements.join("; ")).await
    }

    /// It is the live model that an operator pauses, whichever generation that is.
    fn pauses(&self) -> String {
        let (live, other) = (literal(self.projection), literal(&self.comes_from));
        format!(
            "update checkpoints as own set paused = other.paused from checkpoints as other
              where own.partition = other.partition
                and (own.consumer, other.consumer) in (({live}, {other}), ({other}, {live}))"
        )
    }

    /// One after another: there is one LIVE and one PREVIOUS at most.
    fn states(&self) -> [String; 3] {
        let projection = literal(self.projection);
        let set = |state, which| {
            format!("update generations set state = '{state}' where projection = {projection} and {which}")
        };
        [
            set("READY", "state = 'PREVIOUS'".into()),
            set("PREVIOUS", format!("generation = {}", self.from)),
            set("LIVE", format!("generation = {}", self.to)),
        ]
    }
}

/// Where the checkpoints stand that are held, by partition.
pub(super) struct Held {
    pub(super) live: Vec<Position>,
    other: Vec<Position>,
}

impl Held {
    /// How many events the other generation lacks.
    pub(super) fn behind(&self) -> i64 {
        self.live.iter().zip(&self.other).map(|(live, other)| (live - other).max(0)).sum()
    }
}

fn moved(from: &str, table: &str, to: &str) -> String {
    format!("alter table {} set schema {}", qualified(from, table), quoted(to))
}

fn renamed(from: &str, to: &str) -> String {
    format!("update checkpoints set consumer = {} where consumer = {}", literal(to), literal(from))
}

/// As SQL takes a text.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
