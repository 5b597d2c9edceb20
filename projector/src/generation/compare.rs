//! Compares the live generation with a standby: digests over every row, in one snapshot, and the keys of the rows that differ.

mod differences;
mod digest;
mod shape;

use super::{LIVE_SCHEMA, execute, qualified, standby_schema};
use crate::positions::positions;
use connection_pool::{Connection, Pool, Transaction};
use differences::differences;
use digest::{differing, digest};
use event_log::Position;
use serde::Serialize;
use serde_json::Value;
use shape::Table;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long one scan of a table may take. While a snapshot is open, vacuum cannot remove old row versions.
const TABLE_SCAN_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// The memory in which finding differences may sort and hash.
const COMPARE_MEMORY: &str = "64MB";

/// A value of the live generation, and of the standby ("new").
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Sides<T> {
    pub(crate) live: T,
    pub(crate) new: T,
}

impl<T: PartialEq> Sides<T> {
    fn same(&self) -> bool {
        self.live == self.new
    }
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    /// Both have the same rows, in all columns of all tables that both have.
    pub(crate) equal: bool,
    /// The positions of both, by partition.
    pub(crate) positions: Vec<Position>,
    /// Over everything that was compared, in hex; the same for the same rows, whatever the generation.
    pub(crate) digest: Sides<String>,
    pub(crate) tables: Vec<TableComparison>,
    /// Tables that only one has: not compared.
    pub(crate) only: Sides<Vec<String>>,
}

/// The result of a comparison of one table.
#[derive(Debug, Serialize)]
pub(crate) struct TableComparison {
    pub(crate) table: String,
    pub(crate) rows: Sides<i64>,
    /// The sum of each column of whole or decimal numbers, as text for its length; `None` when there is no value.
    pub(crate) sums: BTreeMap<String, Sides<Option<String>>>,
    pub(crate) digest: Sides<String>,
    /// The first rows that differ, by key, at most ten.
    pub(crate) differences: Vec<Difference>,
    /// Columns that only one has: not compared.
    pub(crate) only: Sides<Vec<String>>,
}

/// A row that differs, in the columns that are compared.
#[derive(Debug, PartialEq, Serialize, sqlx::FromRow)]
pub(crate) struct Difference {
    pub(crate) key: Value,
    /// `None`: there is no such row.
    pub(crate) live: Option<Value>,
    /// `None`: there is no such row.
    pub(crate) new: Option<Value>,
}

/// Why two generations could not be compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompareError {
    /// They are at different positions: hold the checkpoints of both while the snapshot is opened.
    #[error(
        "the live generation is at {live:?}, the standby at {new:?}: they can be compared at the same positions only"
    )]
    Apart {
        /// By partition.
        live: Vec<Position>,
        /// By partition.
        new: Vec<Position>,
    },
    /// The database refused, or did not answer. Nothing changed; try again.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Two transactions on the same snapshot, so that both generations can be read in parallel. Holds two connections, and
/// blocks a switch of this read model, until it is dropped or compared.
pub(crate) struct Snapshot {
    live: Transaction<'static>,
    new: Transaction<'static>,
    new_schema: String,
    tables: Vec<Table>,
    only: Sides<Vec<String>>,
    positions: Vec<Position>,
}

impl Snapshot {
    /// A snapshot of the live generation and a standby. Their checkpoints must be at the same positions, and the caller must
    /// hold them there, committed, until this returns.
    pub(crate) async fn open(
        pool: &Pool,
        projection: &str,
        generation: i32,
    ) -> Result<Self, CompareError> {
        let (mut live, mut new) = (pool.begin().await?, pool.begin().await?);
        let new_schema = standby_schema(projection, generation);
        begin_read_only(&mut live, None).await?;
        let snapshot: String = sqlx::query_scalar("select pg_export_snapshot()")
            .fetch_one(&mut *live)
            .await?;
        begin_read_only(&mut new, Some(&snapshot)).await?;
        let (tables, only) = shape::of_both(&mut live, projection, &new_schema).await?;
        for (transaction, schema) in [(&mut live, LIVE_SCHEMA), (&mut new, new_schema.as_str())] {
            lock_against_switch(transaction, schema, &tables).await?;
        }
        let sides = Sides {
            live: positions(&mut *live, projection).await?,
            new: positions(&mut *live, &new_schema).await?,
        };
        if !sides.same() {
            return Err(CompareError::Apart {
                live: sides.live,
                new: sides.new,
            });
        }
        Ok(Self {
            live,
            new,
            new_schema,
            tables,
            only,
            positions: sides.live,
        })
    }

    /// Compares every row: one scan of each table of both, and another of the buckets that differ.
    pub(crate) async fn compare(mut self) -> Result<Comparison, CompareError> {
        let mut compared = Vec::new();
        for table in std::mem::take(&mut self.tables) {
            compared.push(self.compare_table(table).await?);
        }
        let digest = Sides {
            live: over_all(&mut self.live, &compared, |digest| &digest.live).await?,
            new: over_all(&mut self.new, &compared, |digest| &digest.new).await?,
        };
        self.live.rollback().await?;
        self.new.rollback().await?;
        let tables: Vec<_> = compared.into_iter().map(|(_, table)| table).collect();
        let equal = digest.same() && tables.iter().all(|table| table.rows.same());
        Ok(Comparison {
            equal,
            positions: self.positions,
            digest,
            tables,
            only: self.only,
        })
    }

    async fn compare_table(&mut self, table: Table) -> sqlx::Result<(Table, TableComparison)> {
        let (live, new) = tokio::try_join!(
            digest(&mut self.live, LIVE_SCHEMA, &table),
            digest(&mut self.new, &self.new_schema, &table),
        )?;
        let buckets = differing(&live, &new);
        let differences = match buckets.as_slice() {
            [] => Vec::new(),
            buckets => differences(&mut self.live, &self.new_schema, &table, buckets).await?,
        };
        let sums = live
            .sums
            .into_iter()
            .zip(new.sums)
            .map(|(live, new)| Sides { live, new });
        let compared = TableComparison {
            table: table.name.clone(),
            rows: Sides {
                live: live.rows,
                new: new.rows,
            },
            sums: table.numbers.iter().cloned().zip(sums).collect(),
            digest: Sides {
                live: live.digest,
                new: new.digest,
            },
            differences,
            only: table.only.clone(),
        };
        Ok((table, compared))
    }
}

/// Begins a read-only transaction on one snapshot, with time-outs for long scans, and with one text format whatever the
/// session's settings.
async fn begin_read_only(transaction: &mut Connection, snapshot: Option<&str>) -> sqlx::Result<()> {
    let taken = snapshot
        .map(|id| format!("set transaction snapshot '{id}'; "))
        .unwrap_or_default();
    let limit = TABLE_SCAN_TIMEOUT.as_millis();
    // Idle for as long, because one side waits for the other.
    let settings = format!(
        "set transaction isolation level repeatable read, read only; {taken}
         set local statement_timeout = {limit};
         set local idle_in_transaction_session_timeout = {limit};
         set local work_mem = '{COMPARE_MEMORY}';
         set local timezone = 'UTC';
         set local datestyle = 'ISO, YMD';
         set local intervalstyle = 'iso_8601';
         set local bytea_output = 'hex';
         set local extra_float_digits = 1"
    );
    execute(transaction, &settings).await?;
    Ok(())
}

/// Locks the tables against a switch.
async fn lock_against_switch(
    transaction: &mut Connection,
    schema: &str,
    tables: &[Table],
) -> sqlx::Result<()> {
    let names: Vec<_> = tables
        .iter()
        .map(|table| qualified(schema, &table.name))
        .collect();
    if !names.is_empty() {
        let lock = format!("lock table {} in access share mode", names.join(", "));
        execute(transaction, &lock).await?;
    }
    Ok(())
}

/// One digest over all tables and the columns that were compared.
async fn over_all(
    transaction: &mut Connection,
    compared: &[(Table, TableComparison)],
    side: impl Fn(&Sides<String>) -> &String,
) -> sqlx::Result<String> {
    let line = |(table, found): &(Table, TableComparison)| {
        format!(
            "{} ({}) {}\n",
            table.name,
            table.columns(),
            side(&found.digest)
        )
    };
    let lines: String = compared.iter().map(line).collect();
    sqlx::query_scalar("select encode(sha256(convert_to($1, 'UTF8')), 'hex')")
        .bind(lines)
        .fetch_one(transaction)
        .await
}
