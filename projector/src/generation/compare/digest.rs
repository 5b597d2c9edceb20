//! Digests of a table, by which two tables are compared without reading their rows side by side.

use super::shape::{LAST_BUCKET, Table};
use crate::generation::{qualified, quoted};
use connection_pool::Connection;
use std::collections::BTreeMap;

/// The digests of one generation's table.
#[derive(sqlx::FromRow)]
pub(super) struct Digest {
    pub(super) rows: i64,
    pub(super) digest: String,
    pub(super) sums: Vec<Option<String>>,
    /// The buckets that have rows, in order.
    buckets: Vec<i64>,
    /// The digest of each of these buckets.
    digests: Vec<String>,
}

pub(super) async fn digest(
    transaction: &mut Connection,
    schema: &str,
    table: &Table,
) -> sqlx::Result<Digest> {
    let (whole, bucket, from) = (
        table.whole(),
        table.bucket(),
        qualified(schema, &table.name),
    );
    let numbers: Vec<_> = table.numbers.iter().map(|column| quoted(column)).collect();
    let sums: String = numbers
        .iter()
        .enumerate()
        .map(|(n, column)| format!(", sum({column}) as sum_{n}"))
        .collect();
    let totals: Vec<_> = (0..numbers.len())
        .map(|n| format!("sum(sum_{n})::text"))
        .collect();
    // The sum of hashes does not depend on the order of rows. A row's hash covers its key, so values cannot swap rows unseen.
    let query = format!(
        "with buckets as materialized (
             select {bucket} as bucket, count(*) as rows, sum(hashtextextended({whole}, 0)) as digest {sums}
               from {from}
              group by 1
         ), written as (
             select *, rows || ':' || digest as written from buckets
         )
         select coalesce(sum(rows), 0)::bigint as rows,
                encode(sha256(convert_to(coalesce(string_agg(bucket || ':' || written, ' ' order by bucket), ''),
                                         'UTF8')), 'hex') as digest,
                array[{totals}]::text[] as sums,
                coalesce(array_agg(bucket order by bucket), '{{}}') as buckets,
                coalesce(array_agg(written order by bucket), '{{}}') as digests
           from written",
        totals = totals.join(", "),
    );
    sqlx::query_as(&query)
        .persistent(false)
        .fetch_one(transaction)
        .await
}

/// The buckets in which two tables differ.
pub(super) fn differing(live: &Digest, new: &Digest) -> Vec<i64> {
    let by_bucket = |digest: &Digest| -> BTreeMap<i64, String> {
        digest
            .buckets
            .iter()
            .copied()
            .zip(digest.digests.iter().cloned())
            .collect()
    };
    let (live, new) = (by_bucket(live), by_bucket(new));
    (0..=LAST_BUCKET)
        .filter(|bucket| live.get(bucket) != new.get(bucket))
        .collect()
}
