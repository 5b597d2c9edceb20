//! Products from Redis: the same answers as from PostgreSQL, or none. What the projector writes there is written here by
//! hand, in the words of `query-api/src/cache/counters.rs`; the projector's tests hold the same words.

mod away;
mod foreign;
mod list;
mod monotone;
mod shelf;

use crate::house::PARTITIONS;
use rstest::rstest;
use shelf::{From, OPEN, Shelf, partition_of, state_of};

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
    let shelf = Shelf::new().await;
    let windows = [OPEN, OPEN, OPEN, OPEN, OPEN, ("1 day", "2 days"), ("-2 days", "-1 day"), OPEN];
    for (product_id, window) in (1..).zip(windows) {
        shelf.plain.product(product_id, 1_000, 500 * (product_id % 3), window).await;
        shelf.plain.checkpoint("product_list", partition_of(product_id), 10 + product_id).await;
    }
    shelf.plain.sql("update product_list set closed = true where product_id = 5").await;
    shelf.fill().await;
    let expected = shelf.plain.get(path).await;
    shelf.mark_postgres().await;
    let answer = shelf.until_from(From::Redis, path).await;
    assert_eq!(answer.body, expected.body);
    assert_eq!((answer.token(), answer.header("x-consistency")), (expected.token(), None));
}

#[tokio::test]
async fn nothing_open_is_an_empty_list() {
    let shelf = Shelf::new().await;
    shelf.fill().await;
    let (cached, plain) = (shelf.cached.get("/api/product").await, shelf.plain.get("/api/product").await);
    assert_eq!((&cached.body, cached.token()), (&plain.body, plain.token()));
}

#[rstest]
#[case::reached([10, 11, 12, 13], From::Redis)]
#[case::long_reached([0, 0, 1, 0], From::Redis)]
#[case::one_past_redis([10, 11, 13, 13], From::Postgres)]
#[tokio::test]
async fn a_token_is_reached_in_redis_or_waited_for_in_postgres(#[case] asked: [i64; PARTITIONS], #[case] from: From) {
    let shelf = Shelf::of_four().await;
    shelf.mark_postgres().await;
    for path in ["/api/product", "/api/product/2"] {
        shelf.until_from(From::Redis, path).await;
        if from == From::Postgres {
            // Seen by a look or not, the token tells.
            shelf.plain.checkpoint("product_list", 2, 13).await;
        }
        let answer = shelf.cached.call("GET", path, &[("X-Consistency-Token", &shelf.token(asked))]).await;
        assert_eq!((answer.from(), answer.header("x-consistency")), (from, Some("reached")));
        shelf.plain.checkpoint("product_list", 2, 12).await;
    }
}

/// What Redis shows must have come as far as PostgreSQL was when it was last looked at.
#[rstest]
#[case("/api/product")]
#[case("/api/product/2")]
#[tokio::test]
async fn a_redis_that_is_behind_is_not_shown(#[case] path: &str) {
    let shelf = Shelf::of_four().await;
    shelf.mark_postgres().await;
    shelf.until_from(From::Redis, path).await;
    shelf.plain.checkpoint("product_list", 3, 14).await;
    let answer = shelf.until_from(From::Postgres, path).await;
    assert_eq!(answer.token(), shelf.token([10, 11, 12, 14]));
    shelf.set(3, "@position", 14);
    let answer = shelf.until_from(From::Redis, path).await;
    assert_eq!(answer.token(), shelf.token([10, 11, 12, 14]));
}

#[rstest]
#[case::a_partition(|shelf: &Shelf| shelf.delete(3))]
#[case::its_state(|shelf: &Shelf| shelf.unset(3, "@state"))]
#[case::the_product(|shelf: &Shelf| shelf.unset(2, "2"))]
#[case::sense_in_a_state(|shelf: &Shelf| shelf.plant(3, "@state", "x"))]
#[case::sense_in_a_position(|shelf: &Shelf| shelf.forge(3, "@state", "x:13::me"))]
#[case::sense_in_a_counter(|shelf: &Shelf| shelf.set(2, "2", "x:1:0"))]
#[case::a_check(|shelf: &Shelf| shelf.plant(2, "2", "200:3:0:12"))]
#[case::a_check_of_its_own(|shelf: &Shelf| shelf.plant(2, "2", &shelf.text(2, "2").replace("200", "999")))]
#[case::a_check_of_its_state(|shelf: &Shelf| shelf.plant(3, "@state", &shelf.text(3, "@state").replacen("13", "99", 1)))]
#[case::the_format(|shelf: &Shelf| shelf.plant(2, "2", "999999:77:0"))]
#[case::its_own_field(|shelf: &Shelf| shelf.plant(2, "2", &shelf.text(3, "3")))]
#[case::its_own_time(|shelf: &Shelf| shelf.forge(2, "2", "200:3:0:13"))]
#[case::what_there_is_to_be_taken(|shelf: &Shelf| shelf.set(2, "2", "999999:77:0"))]
#[case::users_who_have_some(|shelf: &Shelf| shelf.set(2, "2", "0:3:0"))]
#[tokio::test]
async fn what_is_missing_in_redis_comes_from_postgres(#[case] harm: impl Fn(&Shelf)) {
    let shelf = Shelf::of_four().await;
    shelf.mark_postgres().await;
    for path in ["/api/product", "/api/product/2"] {
        shelf.until_from(From::Redis, path).await;
        harm(&shelf);
        assert_eq!(shelf.cached.get(path).await.from(), From::Postgres);
        shelf.set(partition_of(2), "2", "200:3:0");
        shelf.set(3, "3", "300:3:0");
        shelf.forge(3, "@state", &state_of(3, 13, 13));
    }
}

#[tokio::test]
async fn an_unknown_product_does_not_exist_in_either() {
    let shelf = Shelf::of_four().await;
    let (cached, plain) = (shelf.cached.get("/api/product/9").await, shelf.plain.get("/api/product/9").await);
    assert!(cached.body.contains("NOT_EXIST_PRODUCT"));
    assert_eq!(cached.body, plain.body);
}
