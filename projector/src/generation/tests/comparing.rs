//! A comparison finds every difference, and nothing where there is none.

use super::world::World;
use crate::generation::compare::{CompareError, Comparison, Difference, Snapshot};
use crate::generation::standby_schema;
use rstest::rstest;
use serde_json::{Value, json};

/// An invest log of three products, two of them in generation 2 as well.
async fn two_invest_logs() -> World {
    let world = World::fresh().await;
    world.begin("invest_log").await;
    world
        .run(
            "insert into invest_log_product select n, 'product ' || n, n from generate_series(1, 3) as n;
             insert into invest_log_user select 'user' || n, 1, n, 1 from generate_series(1, 1000) as n;
             insert into invest_log
             select ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 1, 'user' || n, 10 * n, 'FAILED', null,
                    'detail', n, n, to_timestamp(n), to_timestamp(n) from generate_series(1, 1000) as n",
        )
        .await;
    add_copy(&world, 2).await;
    world
}

/// Another generation of the invest log with the live one's rows, in another order.
async fn add_copy(world: &World, generation: i32) {
    let schema = standby_schema("invest_log", generation);
    world.make("invest_log", generation).await;
    world.begin(&schema).await;
    for table in ["invest_log_product", "invest_log_user", "invest_log"] {
        world
            .run(&format!(
                "insert into {schema}.{table} select * from public.{table} order by random()"
            ))
            .await;
    }
}

async fn compare(world: &World, generation: i32) -> Comparison {
    Snapshot::open(&world.pool, "invest_log", generation)
        .await
        .unwrap()
        .compare()
        .await
        .unwrap()
}

/// Every difference that is shown: table, key, and in which columns.
fn shown(comparison: &Comparison) -> Vec<(String, Value, Value, Value)> {
    let mut shown = Vec::new();
    for table in &comparison.tables {
        for found in &table.differences {
            let side = |own: &Option<Value>, other: &Option<Value>| match (own, other) {
                (Some(own), Some(other)) => {
                    let fields = own
                        .as_object()
                        .unwrap()
                        .iter()
                        .filter(|(name, value)| other[name.as_str()] != **value);
                    Value::Object(
                        fields
                            .map(|(name, value)| (name.clone(), value.clone()))
                            .collect(),
                    )
                }
                (own, _) => json!(own.is_some()),
            };
            let (live, new) = (side(&found.live, &found.new), side(&found.new, &found.live));
            shown.push((table.table.clone(), found.key.clone(), live, new));
        }
    }
    shown
}

fn invest(n: i64) -> Value {
    json!({ "invest_id": format!("00000000-0000-0000-0000-{n:012}") })
}

#[tokio::test]
async fn the_same_rows_are_equal_and_have_one_digest_in_every_generation() {
    let world = two_invest_logs().await;
    add_copy(&world, 7).await;
    let (second, seventh) = (compare(&world, 2).await, compare(&world, 7).await);
    assert!(second.equal && seventh.equal);
    assert_eq!(shown(&second), []);
    assert_eq!(second.positions, [1, 1]);
    let digests = [
        &second.digest.live,
        &second.digest.new,
        &seventh.digest.live,
        &seventh.digest.new,
    ];
    assert!(
        digests
            .iter()
            .all(|digest| digest.len() == 64 && *digest == digests[0]),
        "{digests:?}"
    );
    let rows: Vec<_> = second
        .tables
        .iter()
        .map(|table| (table.table.as_str(), table.rows.new))
        .collect();
    assert_eq!(
        rows,
        [
            ("invest_log", 1000),
            ("invest_log_product", 3),
            ("invest_log_user", 1000)
        ]
    );
    assert_eq!(
        second.tables[0].sums["amount"].new.as_deref(),
        Some("5005000")
    );
}

#[tokio::test]
async fn empty_generations_are_equal() {
    let world = World::fresh().await;
    world.make("invest_log", 2).await;
    assert!(compare(&world, 2).await.equal);
}

#[rstest]
#[case::a_changed_value(
    "update invest_log_2.invest_log set amount = 71 where user_id = 'user7'",
    [("invest_log", invest(7), json!({ "amount": 70 }), json!({ "amount": 71 }))],
)]
#[case::a_missing_row(
    "delete from invest_log_2.invest_log where user_id = 'user7'",
    [("invest_log", invest(7), json!(true), json!(false))],
)]
#[case::an_extra_row(
    "insert into invest_log_2.invest_log_product values (4, 'product 4', 0)",
    [("invest_log_product", json!({ "product_id": 4 }), json!(false), json!(true))],
)]
#[case::values_that_traded_places_so_that_sums_are_equal(
    "update invest_log_2.invest_log set amount = case user_id when 'user7' then 80 else 70 end
      where user_id in ('user7', 'user8')",
    [("invest_log", invest(7), json!({ "amount": 70 }), json!({ "amount": 80 })),
     ("invest_log", invest(8), json!({ "amount": 80 }), json!({ "amount": 70 }))],
)]
#[case::nothing_that_became_an_empty_text(
    "update invest_log_2.invest_log set fail_code = '' where user_id = 'user7'",
    [("invest_log", invest(7), json!({ "fail_code": null }), json!({ "fail_code": "" }))],
)]
#[case::the_least_step_of_time(
    "update invest_log_2.invest_log set updated_at = updated_at + interval '1 microsecond' where user_id = 'user7'",
    [("invest_log", invest(7), json!({ "updated_at": "1970-01-01T00:00:07+00:00" }),
                               json!({ "updated_at": "1970-01-01T00:00:07.000001+00:00" }))],
)]
#[case::another_key_of_the_same_row(
    "update invest_log_2.invest_log_user set product_id = 2 where user_id = 'user7'",
    [("invest_log_user", json!({ "user_id": "user7", "product_id": 1 }), json!(true), json!(false)),
     ("invest_log_user", json!({ "user_id": "user7", "product_id": 2 }), json!(false), json!(true))],
)]
#[case::several_tables(
    "update invest_log_2.invest_log_user set accrued = 0 where user_id = 'user7';
     update invest_log_2.invest_log_product set title = 'x' where product_id = 1",
    [("invest_log_product", json!({ "product_id": 1 }), json!({ "title": "product 1" }), json!({ "title": "x" })),
     ("invest_log_user", json!({ "user_id": "user7", "product_id": 1 }), json!({ "accrued": 7 }),
                         json!({ "accrued": 0 }))],
)]
#[tokio::test]
async fn a_difference_is_found_and_shown<const N: usize>(
    #[case] change: &str,
    #[case] expected: [(&str, Value, Value, Value); N],
) {
    let world = two_invest_logs().await;
    world.run(change).await;
    let found = compare(&world, 2).await;
    assert!(!found.equal);
    assert_ne!(found.digest.live, found.digest.new);
    let expected = expected.map(|(table, key, live, new)| (table.to_owned(), key, live, new));
    assert_eq!(shown(&found), expected);
}

#[tokio::test]
async fn the_first_ten_differences_by_key_are_shown() {
    let world = two_invest_logs().await;
    world
        .run("update invest_log_2.invest_log set amount = 1")
        .await;
    let found = compare(&world, 2).await;
    let keys: Vec<_> = found.tables[0]
        .differences
        .iter()
        .map(|difference| difference.key.clone())
        .collect();
    assert_eq!(keys, (1..=10).map(invest).collect::<Vec<_>>());
}

/// More rows than are looked at first.
#[tokio::test]
async fn the_first_differences_of_a_large_table_are_found_wherever_they_are() {
    let world = two_invest_logs().await;
    for schema in ["public", "invest_log_2"] {
        let rows = "select 'user' || lpad(n::text, 5, '0'), 7, n, 1 from generate_series(10001, 30000) as n";
        world
            .run(&format!("insert into {schema}.invest_log_user {rows}"))
            .await;
    }
    let shown_users = async || {
        let found = compare(&world, 2).await;
        let user = |difference: &Difference| difference.key["user_id"].as_str().unwrap().to_owned();
        found.tables[2]
            .differences
            .iter()
            .map(user)
            .collect::<Vec<_>>()
    };
    world
        .run("update invest_log_2.invest_log_user set invests = 2 where user_id = 'user29999'")
        .await;
    assert_eq!(shown_users().await, ["user29999"]);
    world
        .run("update invest_log_2.invest_log_user set invests = 2 where product_id = 7")
        .await;
    assert_eq!(
        shown_users().await,
        (10001..=10010)
            .map(|n| format!("user{n}"))
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn only_what_both_have_is_compared_and_the_rest_is_named() {
    let world = two_invest_logs().await;
    world
        .run(
            "alter table invest_log_2.invest_log add column fresh text default 'x', drop column fail_detail;
             create table invest_log_2.invest_log_fresh (id bigint primary key)",
        )
        .await;
    let found = compare(&world, 2).await;
    assert!(found.equal);
    assert_eq!(
        (&found.only.live, &found.only.new),
        (&vec![], &vec!["invest_log_fresh".to_owned()])
    );
    let only = &found.tables[0].only;
    assert_eq!(
        (&only.live, &only.new),
        (&vec!["fail_detail".to_owned()], &vec!["fresh".to_owned()])
    );
}

/// 1. The snapshot is opened.
/// 2. Both generations change.
/// 3. What is compared is what was there at 1.
#[tokio::test]
async fn it_compares_what_was_there_when_it_was_opened() {
    let world = two_invest_logs().await;
    let snapshot = Snapshot::open(&world.pool, "invest_log", 2).await.unwrap();
    world
        .run("update invest_log set amount = 1; delete from invest_log_2.invest_log")
        .await;
    assert!(snapshot.compare().await.unwrap().equal);
    assert!(!compare(&world, 2).await.equal);
}

#[tokio::test]
async fn generations_at_different_positions_are_not_compared() {
    let world = two_invest_logs().await;
    world
        .run(
            "update checkpoints set position = 2 where consumer = 'invest_log_2' and partition = 1",
        )
        .await;
    match Snapshot::open(&world.pool, "invest_log", 2).await {
        Err(CompareError::Apart { live, new }) => assert_eq!((live, new), (vec![1, 1], vec![1, 2])),
        _ => panic!("they are apart"),
    }
}

#[tokio::test]
async fn it_can_be_read_by_programs() {
    let world = two_invest_logs().await;
    world
        .run("delete from invest_log_2.invest_log_product where product_id = 3")
        .await;
    let found = serde_json::to_value(compare(&world, 2).await).unwrap();
    assert_eq!(found["equal"], json!(false));
    let product = &found["tables"][1];
    assert_eq!(product["rows"], json!({ "live": 3, "new": 2 }));
    let difference = json!({
        "key": { "product_id": 3 },
        "live": { "product_id": 3, "title": "product 3", "accrued": 3 },
        "new": null,
    });
    assert_eq!(product["differences"], json!([difference]));
}
