//! A copy of the database that goes on differently while it shares the Redis: each side shows its own, and only that.

use chrono::Utc;
use reqwest::Method;
use rstest::rstest;
use serde_json::json;
use sqlx::Executor as _;
use testbed::{Database, RedisServer};

use crate::harness::{
    ApiClient, Journal, MoaProcess, Start, TEST_TIMEOUT, ask, client, seconds_from, within,
};

/// Reads in a row that must be right before both sides count as told apart, and after it.
const READS: usize = 150;

fn api(moa: &MoaProcess) -> ApiClient {
    ApiClient::of(0, moa, client(), Journal::default())
}

async fn open_product(api: &ApiClient) -> i64 {
    let body = json!({"title": "copied", "totalInvestingAmount": 1_000,
                      "startedAt": seconds_from(Utc::now(), -60), "finishedAt": seconds_from(Utc::now(), 3_600)});
    api.operate(Method::POST, "/admin/product", Some(&body))
        .await
        .data()["productId"]
        .as_i64()
        .unwrap()
}

async fn invests(api: &ApiClient, product: i64, amounts: &[i64]) {
    for amount in amounts {
        assert!(api.invest(ask("kim", product, *amount)).await.is_accepted());
    }
}

/// Whether the list and the product show this much.
async fn is_shown(api: &ApiClient, product: i64, amount: i64) -> bool {
    let (list, one) = (
        api.get("/api/product").await.data(),
        api.get(&format!("/api/product/{product}")).await.data(),
    );
    [&list["list"][0], &one]
        .iter()
        .all(|shown| shown["currentInvestingAmount"] == amount)
}

async fn are_right(sides: &[(ApiClient, i64); 2], product: i64) -> bool {
    is_shown(&sides[0].0, product, sides[0].1).await
        && is_shown(&sides[1].0, product, sides[1].1).await
}

async fn are_right_for_long(sides: &[(ApiClient, i64); 2], product: i64) -> bool {
    for _ in 0..READS {
        if !are_right(sides, product).await {
            return false;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    true
}

/// Steps: an invest; the process is killed, its database copied; both are served, with one Redis; each takes other invests,
/// the copy more of them; when each side has come to show its own, neither ever shows anything else. So it is where the copy
/// has an id of its own, and where it has none, as a copy of the server's files has.
#[rstest]
#[case::told_apart(None)]
#[case::not_told_apart(Some(
    "create or replace function moa_database_id() returns text language sql as $$select 'same'$$"
))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_and_its_original_show_their_own(#[case] same: Option<&str>) {
    let (mut redis, database) = (RedisServer::nowhere(), Database::fresh().await);
    redis.start();
    let start = |database: &Database| {
        Start::serve()
            .on(database.url())
            .env("REDIS_URL", &redis.url())
    };
    let moa = start(&database).open().await;
    let product = open_product(&api(&moa)).await;
    invests(&api(&moa), product, &[10]).await;
    within(TEST_TIMEOUT, "the invest", async || {
        is_shown(&api(&moa), product, 10).await.then_some(())
    })
    .await;
    moa.killed().await;

    let copy = database.copy().await;
    for (database, same) in [&database, &copy].into_iter().zip([same, same]) {
        if let Some(same) = same {
            database.pool().await.execute(same).await.unwrap();
        }
    }
    let starts = [start(&database), start(&copy)];
    let (one, other) = tokio::join!(starts[0].open(), starts[1].open());
    let sides = [(api(&one), 17), (api(&other), 310)];
    invests(&sides[0].0, product, &[7]).await;
    invests(&sides[1].0, product, &[100, 100, 100]).await;
    within(TEST_TIMEOUT, "both", async || {
        are_right_for_long(&sides, product).await.then_some(())
    })
    .await;
    assert!(
        are_right_for_long(&sides, product).await,
        "one side showed what is the other's"
    );
    let mut foreign = 0;
    for moa in [one, other] {
        let metrics = reqwest::get(format!("{}/metrics", moa.ops))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        let counted = metrics
            .lines()
            .find_map(|line| line.strip_prefix("moa_counters_foreign_total "));
        foreign += counted.unwrap().parse::<u64>().unwrap();
        assert!(
            same.is_some() || metrics.contains("from=\"redis\""),
            "{metrics}"
        );
        moa.killed().await;
    }
    assert_eq!(
        foreign > 0,
        same.is_some(),
        "{foreign} times counters of another log were seen"
    );
}
