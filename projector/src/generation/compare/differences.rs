//! The rows that differ, by key.

use super::Difference;
use super::shape::{self, Table};
use crate::generation::{LIVE, qualified};
use connection_pool::Connection;

/// How many rows that differ are shown of each table.
const SHOWN: usize = 10;
/// Where so much differs that it shows in the first rows by key, the others need not be read.
const FIRST: usize = 10_000;

/// The first rows that differ, by key, in these stretches.
pub(super) async fn differences(
    transaction: &mut Connection,
    new_schema: &str,
    table: &Table,
    stretches: &[i64],
) -> sqlx::Result<Vec<Difference>> {
    let (key, live) = (table.key_columns(), qualified(LIVE, &table.name));
    let first = format!("row({key}) <= (select {key} from {live} order by {key} offset {FIRST} limit 1)");
    let found = differences_where(transaction, new_schema, table, &first, stretches).await?;
    if found.len() == SHOWN {
        return Ok(found);
    }
    differences_where(transaction, new_schema, table, "true", stretches).await
}

async fn differences_where(
    transaction: &mut Connection,
    new_schema: &str,
    table: &Table,
    condition: &str,
    stretches: &[i64],
) -> sqlx::Result<Vec<Difference>> {
    let side = |schema| {
        let (columns, whole, stretch) = (table.columns(), table.whole(), table.stretch());
        let from = qualified(schema, &table.name);
        format!("(select {columns}, {whole} as \"whole row\" from {from} where {stretch} = any($1) and {condition})")
    };
    let shown = |side: &str| {
        let pairs: Vec<_> = table.columns.iter().map(|column| shape::pair(column, &format!("{side}."))).collect();
        format!("case when {side}.\"whole row\" is not null then json_build_object({}) end", pairs.join(", "))
    };
    let key: Vec<_> = table.key.iter().map(|column| shape::pair(column, "")).collect();
    let query = format!(
        "select json_build_object({key}) as key, {live} as live, {new} as new
           from {live_rows} as live
           full join {new_rows} as new using ({by})
          where live.\"whole row\" is distinct from new.\"whole row\"
          order by {by}
          limit {SHOWN}",
        key = key.join(", "),
        live = shown("live"),
        new = shown("new"),
        live_rows = side(LIVE),
        new_rows = side(new_schema),
        by = table.key_columns(),
    );
    sqlx::query_as(&query).persistent(false).bind(stretches).fetch_all(transaction).await
}
