//! A table in numbers: what two of them do not have in common shows without their rows being held side by side.

use super::shape::{LAST_STRETCH, Table};
use crate::generation::{qualified, quoted};
use connection_pool::Connection;
use std::collections::BTreeMap;

/// One generation's table, in numbers.
#[derive(sqlx::FromRow)]
pub(super) struct Digest {
    pub(super) rows: i64,
    pub(super) digest: String,
    pub(super) sums: Vec<Option<String>>,
    /// Those that have rows, in order.
    stretches: Vec<i64>,
    /// Of each of them.
    digests: Vec<String>,
}

pub(super) async fn digest(transaction: &mut Connection, schema: &str, table: &Table) -> sqlx::Result<Digest> {
    let (whole, stretch, from) = (table.whole(), table.stretch(), qualified(schema, &table.name));
    let numbers: Vec<_> = table.numbers.iter().map(|column| quoted(column)).collect();
    let sums: String = numbers.iter().enumerate().map(|(n, column)| format!(", sum({column}) as sum_{n}")).collect();
    let totals: Vec<_> = (0..numbers.len()).map(|n| format!("sum(sum_{n})::text")).collect();
    // The sum of hashes does not depend on the order of rows; a row's hash has its key in it, so none can trade places.
    let query = format!(
        "with stretches as materialized (
             select {stretch} as stretch, count(*) as rows, sum(hashtextextended({whole}, 0)) as digest {sums}
               from {from}
              group by 1
         ), written as (
             select *, rows || ':' || digest as written from stretches
         )
         select coalesce(sum(rows), 0)::bigint as rows,
                encode(sha256(convert_to(coalesce(string_agg(stretch || ':' || written, ' ' order by stretch), ''),
                                         'UTF8')), 'hex') as digest,
                array[{totals}]::text[] as sums,
                coalesce(array_agg(stretch order by stretch), '{{}}') as stretches,
                coalesce(array_agg(written order by stretch), '{{}}') as digests
           from written",
        totals = totals.join(", "),
    );
    sqlx::query_as(&query).persistent(false).fetch_one(transaction).await
}

/// The stretches in which two tables are not the same.
pub(super) fn differing(live: &Digest, new: &Digest) -> Vec<i64> {
    let by_stretch = |digest: &Digest| -> BTreeMap<i64, String> {
        digest.stretches.iter().copied().zip(digest.digests.iter().cloned()).collect()
    };
    let (live, new) = (by_stretch(live), by_stretch(new));
    (0..=LAST_STRETCH).filter(|stretch| live.get(stretch) != new.get(stretch)).collect()
}
