//! holdings: what each user holds, settled only.

use crate::support::{
    Spec, cancelled, closed, failed, opened, refunded, reserved, settled, target_missed, withdrawn,
    withdrawn_settled,
};
use domain::GiveBackReason;
use projector::HoldingsProjection;

pub const HOLDINGS: &str = r#"
    select format('%s holds %s of %s since second %s', user_id, amount, product_id,
                  extract(epoch from invest_date - '2026-03-01 00:00:00Z')::bigint)
      from holdings order by user_id collate "C", product_id"#;
pub const PRODUCTS: &str = "select format('%s %s: %s', product_id, title, total_amount) from holdings_product order by product_id";
pub const COUNTS: &str = r#"
    select format('%s has %s in partition %s', user_id, holdings, partition)
      from holdings_count order by user_id collate "C", partition"#;

fn spec() -> Spec<HoldingsProjection> {
    Spec::of(HoldingsProjection)
}

#[tokio::test]
async fn a_product_is_known_by_title_and_total() {
    spec()
        .given([opened(1, "apples", 1_000), closed(1)])
        .then(PRODUCTS, ["1 apples: 1000"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_reservation_is_no_holding_and_a_failed_one_never_was() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "lee", 1, 50),
        ])
        .given([failed(2, "lee", 1, 50)])
        .then(HOLDINGS, [])
        .then(COUNTS, [])
        .holds()
        .await;
}

#[tokio::test]
async fn a_settled_invest_is_held_since_its_settlement() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            settled(1, "kim", 1, 300),
        ])
        .then(HOLDINGS, ["kim holds 300 of 1 since second 2"])
        .then(COUNTS, ["kim has 1 in partition 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn settled_again_the_amounts_add_up_and_the_latest_date_counts() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([settled(2, "kim", 1, 7), settled(1, "kim", 1, 300)])
        .then(HOLDINGS, ["kim holds 307 of 1 since second 4"])
        .then(COUNTS, ["kim has 1 in partition 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_failure_after_a_settlement_takes_nothing_from_it() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([settled(1, "kim", 1, 300), failed(2, "kim", 1, 7)])
        .then(HOLDINGS, ["kim holds 300 of 1 since second 3"])
        .holds()
        .await;
}

#[tokio::test]
async fn holdings_are_counted_by_user_and_partition() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(2, "pears", 500),
            opened(3, "plums", 90),
        ])
        .given([
            reserved(1, "kim", 1, 1),
            reserved(2, "kim", 2, 2),
            reserved(3, "kim", 3, 3),
            reserved(4, "lee", 3, 4),
        ])
        .given([
            settled(1, "kim", 1, 1),
            settled(2, "kim", 2, 2),
            settled(3, "kim", 3, 3),
            settled(4, "lee", 3, 4),
        ])
        .then(
            HOLDINGS,
            [
                "kim holds 1 of 1 since second 7",
                "kim holds 2 of 2 since second 8",
                "kim holds 3 of 3 since second 9",
                "lee holds 4 of 3 since second 10",
            ],
        )
        .then(
            COUNTS,
            [
                "kim has 1 in partition 0",
                "kim has 2 in partition 1",
                "lee has 1 in partition 1",
            ],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_withdrawn_reservation_takes_nothing_from_a_holding() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([settled(1, "kim", 1, 300), withdrawn(2, "kim", 1, 7)])
        .given([refunded(2, "kim", 1, 7, GiveBackReason::Withdrawn)])
        .then(HOLDINGS, ["kim holds 300 of 1 since second 3"])
        .then(COUNTS, ["kim has 1 in partition 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_withdrawn_holding_leaves_the_rest_and_its_date() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([
            settled(1, "kim", 1, 300),
            settled(2, "kim", 1, 7),
            withdrawn_settled(2, "kim", 1, 7),
        ])
        .given([refunded(2, "kim", 1, 7, GiveBackReason::Withdrawn)])
        .then(HOLDINGS, ["kim holds 300 of 1 since second 4"])
        .then(COUNTS, ["kim has 1 in partition 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn a_holding_of_which_nothing_is_left_is_none_and_may_come_back() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(3, "plums", 90),
            reserved(1, "kim", 1, 300),
        ])
        .given([
            reserved(2, "lee", 1, 7),
            reserved(3, "kim", 1, 5),
            reserved(4, "kim", 3, 1),
        ])
        .given([
            settled(1, "kim", 1, 300),
            settled(2, "lee", 1, 7),
            settled(4, "kim", 3, 1),
        ])
        .given([
            withdrawn_settled(1, "kim", 1, 300),
            withdrawn_settled(2, "lee", 1, 7),
            settled(3, "kim", 1, 5),
        ])
        .then(
            HOLDINGS,
            [
                "kim holds 5 of 1 since second 11",
                "kim holds 1 of 3 since second 8",
            ],
        )
        .then(COUNTS, ["kim has 2 in partition 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn what_a_cancelled_or_failed_product_refunds_is_held_no_more() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(2, "pears", 500),
            opened(3, "plums", 90),
        ])
        .given([
            reserved(1, "kim", 1, 1),
            reserved(2, "kim", 2, 2),
            reserved(3, "kim", 3, 3),
            reserved(4, "lee", 3, 4),
        ])
        .given([
            settled(1, "kim", 1, 1),
            settled(2, "kim", 2, 2),
            settled(3, "kim", 3, 3),
            settled(4, "lee", 3, 4),
        ])
        .given([cancelled(2, "a reason"), target_missed(3, 80, 7)])
        .given([
            refunded(2, "kim", 2, 2, GiveBackReason::Cancelled),
            refunded(3, "kim", 3, 3, GiveBackReason::TargetMissed),
        ])
        .then(
            HOLDINGS,
            [
                "kim holds 1 of 1 since second 7",
                "lee holds 4 of 3 since second 10",
            ],
        )
        .then(
            COUNTS,
            ["kim has 1 in partition 1", "lee has 1 in partition 1"],
        )
        .holds()
        .await;
}
