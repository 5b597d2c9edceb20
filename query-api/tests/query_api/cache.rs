//! Products from Redis: the same answers as from PostgreSQL, or none. What the projector writes there is written here by
//! hand, in the words of `query-api/src/cache/counters.rs`; the projector's tests hold the same words.

mod away;
mod foreign;
mod list;
mod monotone;
mod system;

use crate::read_side::PARTITIONS;
use rstest::rstest;
use system::{CachedSystem, ComesFrom as _, From, OPEN, partition_of, state_of};

/// What Redis answers is what PostgreSQL answered before it was marked, byte for byte.
#[rstest]
#[case::all("/api/product")]
#[case::a_page("/api/product?page=1&size=2")]
#[case::a_page_of_one("/api/product?page=2&size=1")]
#[case::a_last_page("/api/product?page=1&size=3")]
#[case::open("/api/product/1")]
#[case::sold_out("/api/product/2")]
#[case::closed("/api/product/5")]
#[case::not_started("/api/product/6")]
#[case::finished("/api/product/7")]
#[tokio::test]
async fn redis_answers_what_postgres_would(#[case] path: &str) {
    let system = CachedSystem::new().await;
    let windows = [
        OPEN,
        OPEN,
        OPEN,
        OPEN,
        OPEN,
        ("1 day", "2 days"),
        ("-2 days", "-1 day"),
        OPEN,
    ];
    for (product_id, window) in (1..).zip(windows) {
        system
            .plain
            .product(product_id, 1_000, 500 * (product_id % 3), window)
            .await;
        system
            .plain
            .checkpoint("product_list", partition_of(product_id), 10 + product_id)
            .await;
    }
    system
        .plain
        .sql("update product_list set closed = true where product_id = 5")
        .await;
    system.fill().await;
    let expected = system.plain.get(path).await;
    system.mark_postgres().await;
    let answer = system.until_from(From::Redis, path).await;
    assert_eq!(answer.body, expected.body);
    assert_eq!(
        (answer.consistency_token(), answer.header("x-consistency")),
        (expected.consistency_token(), None)
    );
}

/// Redis knows that they are none of the list; which of both, and why, PostgreSQL says.
#[rstest]
#[case(
    "cancel_reason = 'a reason'",
    r#""investStatus":"CANCELLED","cancelReason":"a reason"}"#
)]
#[case("failed = true", r#""investStatus":"FAILED"}"#)]
#[tokio::test]
async fn of_what_is_given_back_postgres_says_why(#[case] end: &str, #[case] told: &str) {
    let system = CachedSystem::of_four().await;
    system
        .plain
        .sql(&format!(
            "update product_list set {end} where product_id = 2"
        ))
        .await;
    system.fill().await;
    system.mark_postgres().await;
    assert_eq!(
        system
            .until_from(From::Redis, "/api/product")
            .await
            .each("productId"),
        [4, 3, 1]
    );
    let answer = system.cached.get("/api/product/2").await;
    assert!(answer.body.contains(told), "{}", answer.body);
    assert_eq!(answer.from(), From::Postgres);
}

#[tokio::test]
async fn nothing_open_is_an_empty_list() {
    let system = CachedSystem::new().await;
    system.fill().await;
    let (cached, plain) = (
        system.cached.get("/api/product").await,
        system.plain.get("/api/product").await,
    );
    assert_eq!(
        (&cached.body, cached.consistency_token()),
        (&plain.body, plain.consistency_token())
    );
}

#[rstest]
#[case::reached([10, 11, 12, 13], From::Redis)]
#[case::long_reached([0, 0, 1, 0], From::Redis)]
#[case::one_past_redis([10, 11, 13, 13], From::Postgres)]
#[tokio::test]
async fn a_token_is_reached_in_redis_or_waited_for_in_postgres(
    #[case] asked: [i64; PARTITIONS],
    #[case] from: From,
) {
    let system = CachedSystem::marked().await;
    for path in ["/api/product", "/api/product/2"] {
        system.until_from(From::Redis, path).await;
        if from == From::Postgres {
            // Seen by a look or not, the token tells.
            system.plain.checkpoint("product_list", 2, 13).await;
        }
        let answer = system
            .cached
            .call(
                "GET",
                path,
                &[("X-Consistency-Token", &system.token(asked))],
            )
            .await;
        assert_eq!(
            (answer.from(), answer.header("x-consistency")),
            (from, Some("reached"))
        );
        system.plain.checkpoint("product_list", 2, 12).await;
    }
}

/// What Redis shows must have come as far as PostgreSQL was when it was last looked at.
#[rstest]
#[case("/api/product")]
#[case("/api/product/2")]
#[tokio::test]
async fn a_redis_that_is_behind_is_not_shown(#[case] path: &str) {
    let system = CachedSystem::marked().await;
    system.until_from(From::Redis, path).await;
    system.plain.checkpoint("product_list", 3, 14).await;
    let answer = system.until_from(From::Postgres, path).await;
    assert_eq!(answer.consistency_token(), system.token([10, 11, 12, 14]));
    system.set(3, "@position", 14);
    let answer = system.until_from(From::Redis, path).await;
    assert_eq!(answer.consistency_token(), system.token([10, 11, 12, 14]));
}

#[rstest]
#[case::a_partition(|system: &CachedSystem| system.delete(3))]
#[case::its_state(|system: &CachedSystem| system.unset(3, "@state"))]
#[case::the_product(|system: &CachedSystem| system.unset(2, "2"))]
#[case::sense_in_a_state(|system: &CachedSystem| system.plant(3, "@state", "x"))]
#[case::sense_in_a_position(|system: &CachedSystem| system.forge(3, "@state", "x:13::me"))]
#[case::sense_in_a_counter(|system: &CachedSystem| system.set(2, "2", "x:1:0"))]
#[case::a_check(|system: &CachedSystem| system.plant(2, "2", "200:3:0:12"))]
#[case::a_check_of_its_own(|system: &CachedSystem| system.plant(2, "2", &system.text(2, "2").replace("200", "999")))]
#[case::a_check_of_its_state(|system: &CachedSystem| system.plant(3, "@state", &system.text(3, "@state").replacen("13", "99", 1)))]
#[case::the_format(|system: &CachedSystem| system.plant(2, "2", "999999:77:0"))]
#[case::its_own_field(|system: &CachedSystem| system.plant(2, "2", &system.text(3, "3")))]
#[case::its_own_time(|system: &CachedSystem| system.forge(2, "2", "200:3:0:13"))]
#[case::what_there_is_to_be_taken(|system: &CachedSystem| system.set(2, "2", "999999:77:0"))]
#[case::users_who_have_some(|system: &CachedSystem| system.set(2, "2", "0:3:0"))]
#[tokio::test]
async fn what_is_missing_in_redis_comes_from_postgres(#[case] harm: impl Fn(&CachedSystem)) {
    let system = CachedSystem::marked().await;
    for path in ["/api/product", "/api/product/2"] {
        system.until_from(From::Redis, path).await;
        harm(&system);
        assert_eq!(system.cached.get(path).await.from(), From::Postgres);
        system.set(partition_of(2), "2", "200:3:0");
        system.set(3, "3", "300:3:0");
        system.forge(3, "@state", &state_of(3, 13, 13));
    }
}

#[tokio::test]
async fn an_unknown_product_does_not_exist_in_either() {
    let system = CachedSystem::of_four().await;
    let (cached, plain) = (
        system.cached.get("/api/product/9").await,
        system.plain.get("/api/product/9").await,
    );
    assert!(cached.body.contains("NOT_EXIST_PRODUCT"));
    assert_eq!(cached.body, plain.body);
}
