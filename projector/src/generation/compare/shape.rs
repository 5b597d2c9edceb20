//! The tables, columns and keys that two generations have in common, from the catalog.

use super::Sides;
use crate::generation::{LIVE_SCHEMA, quoted};
use connection_pool::Connection;
use std::collections::BTreeMap;

/// A table is digested in buckets by a hash of the key, from 0 to this one. Differences are searched only in buckets that
/// differ.
pub(super) const LAST_BUCKET: i64 = 255;

/// A table that both have.
#[derive(Default)]
pub(super) struct Table {
    pub(super) name: String,
    /// Those that both have, by name.
    pub(super) columns: Vec<String>,
    /// What identifies a row: the live table's primary key, as far as both have it, else all columns.
    pub(super) key: Vec<String>,
    /// The numeric columns.
    pub(super) numbers: Vec<String>,
    pub(super) only: Sides<Vec<String>>,
}

impl Table {
    /// The columns, as SQL lists them.
    pub(super) fn columns(&self) -> String {
        listed(&self.columns)
    }

    /// The key's columns, as SQL lists them.
    pub(super) fn key_columns(&self) -> String {
        listed(&self.key)
    }

    /// A row as text, in which null differs from ''.
    pub(super) fn whole(&self) -> String {
        format!("row({})::text", self.columns())
    }

    /// A row's bucket, by its key.
    pub(super) fn bucket(&self) -> String {
        format!(
            "(hash_record_extended(row({}), 0) & {LAST_BUCKET})",
            self.key_columns()
        )
    }
}

fn listed(columns: &[String]) -> String {
    let columns: Vec<_> = columns.iter().map(|column| quoted(column)).collect();
    columns.join(", ")
}

/// A column as `json_build_object` takes it.
pub(super) fn pair(column: &str, of: &str) -> String {
    format!("'{}', {of}{}", column.replace('\'', "''"), quoted(column))
}

#[derive(sqlx::FromRow)]
struct Column {
    table: String,
    column: String,
    in_live: bool,
    in_new: bool,
    number: bool,
    /// Its index in the live table's primary key.
    key: Option<i32>,
}

/// The tables that both the live schema and `new_schema` have, and the names of tables that only one has.
pub(super) async fn of_both(
    connection: &mut Connection,
    projection: &str,
    new_schema: &str,
) -> sqlx::Result<(Vec<Table>, Sides<Vec<String>>)> {
    let columns: Vec<Column> = sqlx::query_as(COLUMNS)
        .bind(projection)
        .bind(LIVE_SCHEMA)
        .bind(new_schema)
        .fetch_all(connection)
        .await?;
    let mut tables: BTreeMap<String, Vec<Column>> = BTreeMap::new();
    for column in columns {
        tables.entry(column.table.clone()).or_default().push(column);
    }
    let (mut both, mut only) = (Vec::new(), Sides::<Vec<String>>::default());
    for (name, columns) in tables {
        let has = |side: fn(&Column) -> bool| columns.iter().any(side);
        match (has(|column| column.in_live), has(|column| column.in_new)) {
            (true, true) => both.push(table(name, columns)),
            (true, false) => only.live.push(name),
            (false, _) => only.new.push(name),
        }
    }
    Ok((both, only))
}

fn table(name: String, columns: Vec<Column>) -> Table {
    let mut table = Table {
        name,
        ..Table::default()
    };
    let mut key = BTreeMap::new();
    for column in columns {
        match (column.in_live, column.in_new) {
            (true, true) => {
                key.extend(column.key.map(|place| (place, column.column.clone())));
                table
                    .numbers
                    .extend(column.number.then(|| column.column.clone()));
                table.columns.push(column.column);
            }
            (true, false) => table.only.live.push(column.column),
            (false, _) => table.only.new.push(column.column),
        }
    }
    table.key = if key.is_empty() {
        table.columns.clone()
    } else {
        key.into_values().collect()
    };
    table
}

const COLUMNS: &str = r#"
    with known as (
        select relnamespace, relname::text collate "C" as "table", attname::text collate "C" as "column",
               atttypid in ('smallint'::regtype, 'integer'::regtype, 'bigint'::regtype, 'numeric'::regtype) as number,
               array_position(indkey::int2[], attnum) as key
          from pg_class
          join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
          left join pg_index on indrelid = pg_class.oid and indisprimary
         where relkind = 'r' and (relname = $1 or starts_with(relname, $1 || '_'))
    ), live as (
        select * from known where relnamespace = to_regnamespace(quote_ident($2))
    ), new as (
        select * from known where relnamespace = to_regnamespace(quote_ident($3))
    )
    select "table", "column", live.number is not null as in_live, new.number is not null as in_new,
           coalesce(live.number and new.number, false) as number, live.key
      from live
      full join new using ("table", "column")
     order by "table", "column""#;
