//! Finds the rows that differ, by key.

use super::Difference;
use super::shape::{self, Table};
use crate::generation::{LIVE_SCHEMA, qualified};
use connection_pool::Connection;

/// The most differing rows that are shown of each table.
const MAX_SHOWN_DIFFERENCES: usize = 10;
/// The first rows by key are searched first: where much differs, the others need not be read.
const FIRST_SCAN_ROWS: usize = 10_000;

/// The first rows that differ, by key, in these buckets.
pub(super) async fn differences(
    transaction: &mut Connection,
    new_schema: &str,
    table: &Table,
    buckets: &[i64],
) -> sqlx::Result<Vec<Difference>> {
    let (key, live) = (table.key_columns(), qualified(LIVE_SCHEMA, &table.name));
    let first = format!(
        "row({key}) <= (select {key} from {live} order by {key} offset {FIRST_SCAN_ROWS} limit 1)"
    );
    let found = differences_where(transaction, new_schema, table, &first, buckets).await?;
    if found.len() == MAX_SHOWN_DIFFERENCES {
        return Ok(found);
    }
    differences_where(transaction, new_schema, table, "true", buckets).await
}

async fn differences_where(
    transaction: &mut Connection,
    new_schema: &str,
    table: &Table,
    condition: &str,
    buckets: &[i64],
) -> sqlx::Result<Vec<Difference>> {
    let side = |schema| {
        let (columns, whole, bucket) = (table.columns(), table.whole(), table.bucket());
        let from = qualified(schema, &table.name);
        format!(
            "(select {columns}, {whole} as \"whole row\" from {from} where {bucket} = any($1) and {condition})"
        )
    };
    let shown = |side: &str| {
        let pairs: Vec<_> = table
            .columns
            .iter()
            .map(|column| shape::pair(column, &format!("{side}.")))
            .collect();
        format!(
            "case when {side}.\"whole row\" is not null then json_build_object({}) end",
            pairs.join(", ")
        )
    };
    let key: Vec<_> = table
        .key
        .iter()
        .map(|column| shape::pair(column, ""))
        .collect();
    let query = format!(
        "select json_build_object({key}) as key, {live} as live, {new} as new
           from {live_rows} as live
           full join {new_rows} as new using ({by})
          where live.\"whole row\" is distinct from new.\"whole row\"
          order by {by}
          limit {MAX_SHOWN_DIFFERENCES}",
        key = key.join(", "),
        live = shown("live"),
        new = shown("new"),
        live_rows = side(LIVE_SCHEMA),
        new_rows = side(new_schema),
        by = table.key_columns(),
    );
    sqlx::query_as(&query)
        .persistent(false)
        .bind(buckets)
        .fetch_all(transaction)
        .await
}
