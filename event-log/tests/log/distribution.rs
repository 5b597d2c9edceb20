//! What stands in the way of distributing the log by `partition`, as docs/scaling.md says.

use crate::support::*;

/// The unique keys of the tables that an append touches, and those of them without the partition.
const KEYS: &str = "
    select c.relname || ': ' || i.indexrelid::regclass::text as key,
           exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'partition' and a.attnum = any(i.indkey)) as has_partition
      from pg_index i join pg_class c on c.oid = i.indrelid
     where i.indisunique and c.relname in ('events', 'idempotency_keys', 'product_snapshots') and c.relnamespace = 'public'::regnamespace
     order by 1";

#[tokio::test]
async fn the_unique_keys_of_the_write_path_that_lack_the_partition_are_those_of_the_document() {
    let (test, _writer) = with_writer(1).await;
    let keys: Vec<(String, bool)> = sqlx::query_as(KEYS).fetch_all(&test.pool).await.unwrap();
    let lacking: Vec<_> = keys
        .iter()
        .filter(|(_, has_partition)| !has_partition)
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(
        lacking,
        [
            "events: events_stream",
            "idempotency_keys: idempotency_keys_pkey",
            "product_snapshots: product_snapshots_pkey"
        ]
    );
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scaling.md"))
            .unwrap();
    for key in lacking.iter().filter_map(|key| key.split(": ").nth(1)) {
        assert!(document.contains(key), "{key}");
    }
}
