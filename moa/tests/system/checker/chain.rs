//! The hash chain, by the SQL of `docs/log-format.md` as it is printed there.

use sqlx::PgPool;

const FORMAT: &str = include_str!("../../../../docs/log-format.md");

/// Every partition is whole, from its genesis to its last event.
pub async fn chain_is_whole(pool: &PgPool) {
    let (_, after) = FORMAT
        .split_once("```sql\n")
        .expect("the format has its check");
    let (sql, _) = after.split_once("```").expect("the check ends");
    let partitions: Vec<(i32, i64, Option<i64>)> =
        sqlx::query_as(sql.trim_end().trim_end_matches(';'))
            .fetch_all(pool)
            .await
            .unwrap();
    let events: i64 = sqlx::query_scalar("select count(*) from events")
        .fetch_one(pool)
        .await
        .unwrap();
    assert_eq!(
        partitions.iter().map(|(_, events, _)| events).sum::<i64>(),
        events
    );
    for (partition, _, first_bad) in partitions {
        assert_eq!(
            first_bad, None,
            "the chain of partition {partition} is broken"
        );
    }
}
