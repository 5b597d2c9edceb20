//! product_list: every product with what is taken of it.

use crate::support::{
    Spec, cancelled, closed, failed, opened, opened_with, refunded, reserved, second, settled,
    target_missed, withdrawn, withdrawn_settled,
};
use domain::{GiveBackReason, Terms};
use projector::ProductListProjection;

pub const PRODUCTS: &str = "
    select format('%s %s: %s of %s by %s%s%s%s', product_id, title, current_amount, total_amount, invest_users,
                  case when closed then ', closed' end, ', cancelled: ' || cancel_reason,
                  case when failed then ', failed' end)
      from product_list order by product_id";
pub const USERS: &str = r#"
    select format('%s has %s of %s', user_id, amount, product_id)
      from product_list_user order by product_id, user_id collate "C""#;

fn spec() -> Spec<ProductListProjection> {
    Spec::of(ProductListProjection)
}

#[tokio::test]
async fn an_opened_product_is_listed_with_its_window_and_nothing_taken() {
    spec()
        .given([opened(1, "apples", 1_000), opened(2, "배 상품", 1_000_000_000_000)])
        .then(PRODUCTS, ["1 apples: 0 of 1000 by 0", "2 배 상품: 0 of 1000000000000 by 0"])
        .then(
            "select format('%s to %s', started_at, finished_at) from product_list where product_id = 1",
            ["2026-02-28 23:59:00+00 to 2026-03-01 01:00:00+00"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_reservation_counts_from_the_start() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "lee", 1, 700),
        ])
        .then(PRODUCTS, ["1 apples: 1000 of 1000 by 2"])
        .then(USERS, ["kim has 300 of 1", "lee has 700 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_user_who_invests_again_is_one_user() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 1),
        ])
        .then(PRODUCTS, ["1 apples: 301 of 1000 by 1"])
        .then(USERS, ["kim has 301 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_settlement_changes_nothing() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            settled(1, "kim", 1, 300),
        ])
        .then(PRODUCTS, ["1 apples: 300 of 1000 by 1"])
        .then(USERS, ["kim has 300 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_failure_gives_back_and_its_user_stays_while_anything_is_left() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 50),
        ])
        .given([failed(1, "kim", 1, 300)])
        .then(PRODUCTS, ["1 apples: 50 of 1000 by 1"])
        .then(USERS, ["kim has 50 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_user_with_nothing_left_is_no_user_any_more() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "lee", 1, 50),
        ])
        .given([failed(1, "kim", 1, 300)])
        .then(PRODUCTS, ["1 apples: 50 of 1000 by 1"])
        .then(USERS, ["lee has 50 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_user_who_comes_back_after_a_failure_counts_again() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            failed(1, "kim", 1, 300),
        ])
        .given([
            reserved(2, "kim", 1, 20),
            failed(2, "kim", 1, 20),
            reserved(3, "kim", 1, 7),
        ])
        .then(PRODUCTS, ["1 apples: 7 of 1000 by 1"])
        .then(USERS, ["kim has 7 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn products_do_not_mix_in_one_partition_or_two() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(2, "pears", 500),
            opened(3, "plums", 90),
        ])
        .given([
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 2, 200),
            reserved(3, "kim", 3, 90),
        ])
        .given([
            reserved(4, "lee", 3, 1),
            failed(3, "kim", 3, 90),
            settled(2, "kim", 2, 200),
        ])
        .then(
            PRODUCTS,
            [
                "1 apples: 300 of 1000 by 1",
                "2 pears: 200 of 500 by 1",
                "3 plums: 1 of 90 by 1",
            ],
        )
        .then(
            USERS,
            ["kim has 300 of 1", "kim has 200 of 2", "lee has 1 of 3"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_closed_product_stays_and_its_open_reservations_still_get_their_fate() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "lee", 1, 50),
            closed(1),
        ])
        .given([settled(1, "kim", 1, 300), failed(2, "lee", 1, 50)])
        .then(PRODUCTS, ["1 apples: 300 of 1000 by 1, closed"])
        .holds()
        .await;
}

#[tokio::test]
async fn an_opened_product_is_listed_with_its_terms() {
    let won = |won: i64| Some(won.try_into().unwrap());
    let terms = Terms {
        min_invest_amount: won(10),
        invest_amount_unit: won(5),
        max_amount_per_user: won(500),
        target_amount: won(600),
        withdrawable_until: Some(second(60)),
    };
    spec()
        .given([opened_with(1, "apples", 1_000, terms), opened(2, "pears", 10)])
        .then(
            "select format('%s/%s/%s/%s/%s', min_invest_amount, invest_amount_unit, max_amount_per_user, target_amount,
                           withdrawable_until)
               from product_list order by product_id",
            ["10/5/500/600/2026-03-01 00:01:00+00", "////"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_withdrawal_gives_back_at_once_and_its_refund_nothing_more() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 50),
        ])
        .given([
            reserved(3, "lee", 1, 7),
            settled(1, "kim", 1, 300),
            withdrawn_settled(1, "kim", 1, 300),
        ])
        .given([
            withdrawn(3, "lee", 1, 7),
            refunded(1, "kim", 1, 300, GiveBackReason::Withdrawn),
        ])
        .then(PRODUCTS, ["1 apples: 50 of 1000 by 1"])
        .then(USERS, ["kim has 50 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_cancelled_product_says_why_and_gives_back_with_each_refund() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "lee", 1, 50),
            closed(1),
        ])
        .given([
            settled(1, "kim", 1, 300),
            settled(2, "lee", 1, 50),
            cancelled(1, "the orchard burnt down"),
        ])
        .given([refunded(1, "kim", 1, 300, GiveBackReason::Cancelled)])
        .then(
            PRODUCTS,
            ["1 apples: 50 of 1000 by 1, closed, cancelled: the orchard burnt down"],
        )
        .then(USERS, ["lee has 50 of 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_product_that_missed_its_target_has_failed_and_gives_back() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            settled(1, "kim", 1, 300),
        ])
        .given([
            target_missed(1, 600, 300),
            refunded(1, "kim", 1, 300, GiveBackReason::TargetMissed),
        ])
        .then(PRODUCTS, ["1 apples: 0 of 1000 by 0, failed"])
        .then(USERS, [])
        .holds()
        .await;
}
