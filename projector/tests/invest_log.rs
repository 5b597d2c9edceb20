//! invest_log: every invest that was accepted, and what became of it.

use crate::support::{
    Spec, cancelled, closed, failed, opened, refunded, reserved, settled, target_missed, withdrawn,
    withdrawn_settled,
};
use domain::GiveBackReason;
use projector::InvestLogProjection;

pub const INVESTS: &str = "
    select format('%s: %s %s of %s %s%s, accrued %s and %s, second %s to %s',
                  ltrim(right(invest_id::text, 12), '0'), user_id, amount, product_id, state,
                  ' ' || fail_code || ' : ' || fail_detail, accrued_user, accrued_product,
                  extract(epoch from requested_at - '2026-03-01 00:00:00Z')::bigint,
                  extract(epoch from updated_at - '2026-03-01 00:00:00Z')::bigint)
      from invest_log order by invest_id";
pub const PRODUCTS: &str = "select format('%s %s: accrued %s', product_id, title, accrued) from invest_log_product order by product_id";
pub const USERS: &str = r#"
    select format('%s in %s: accrued %s in %s', user_id, product_id, accrued, invests)
      from invest_log_user order by user_id collate "C", product_id"#;

fn spec() -> Spec<InvestLogProjection> {
    Spec::of(InvestLogProjection)
}

#[tokio::test]
async fn a_reservation_is_logged_with_what_it_makes_accrue() {
    spec()
        .given([opened(1, "apples", 1_000), reserved(1, "kim", 1, 300)])
        .then(
            INVESTS,
            ["1: kim 300 of 1 RESERVED, accrued 300 and 300, second 1 to 1"],
        )
        .then(PRODUCTS, ["1 apples: accrued 300"])
        .then(USERS, ["kim in 1: accrued 300 in 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn what_has_accrued_is_of_the_user_and_of_all_and_never_changes() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "lee", 1, 50),
        ])
        .given([
            settled(1, "kim", 1, 300),
            reserved(3, "kim", 1, 5),
            failed(2, "lee", 1, 50),
        ])
        .then(
            INVESTS,
            [
                "1: kim 300 of 1 SETTLED, accrued 300 and 300, second 1 to 3",
                "2: lee 50 of 1 FAILED DECLINED : no funds, accrued 50 and 350, second 2 to 5",
                "3: kim 5 of 1 RESERVED, accrued 305 and 355, second 4 to 4",
            ],
        )
        .then(PRODUCTS, ["1 apples: accrued 305"])
        .then(
            USERS,
            ["kim in 1: accrued 305 in 2", "lee in 1: accrued 0 in 1"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn after_a_failure_what_is_reserved_next_accrues_without_it() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            failed(1, "kim", 1, 300),
        ])
        .given([reserved(2, "kim", 1, 20), reserved(3, "kim", 1, 1)])
        .then(
            INVESTS,
            [
                "1: kim 300 of 1 FAILED DECLINED : no funds, accrued 300 and 300, second 1 to 2",
                "2: kim 20 of 1 RESERVED, accrued 20 and 20, second 3 to 3",
                "3: kim 1 of 1 RESERVED, accrued 21 and 21, second 4 to 4",
            ],
        )
        .then(USERS, ["kim in 1: accrued 21 in 3"])
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
            closed(2),
        ])
        .given([
            reserved(1, "kim", 1, 1),
            reserved(2, "kim", 2, 2),
            reserved(3, "kim", 3, 3),
            reserved(4, "lee", 3, 4),
        ])
        .given([settled(3, "kim", 3, 3), failed(2, "kim", 2, 2)])
        .then(
            INVESTS,
            [
                "1: kim 1 of 1 RESERVED, accrued 1 and 1, second 4 to 4",
                "2: kim 2 of 2 FAILED DECLINED : no funds, accrued 2 and 2, second 5 to 9",
                "3: kim 3 of 3 SETTLED, accrued 3 and 3, second 6 to 8",
                "4: lee 4 of 3 RESERVED, accrued 4 and 7, second 7 to 7",
            ],
        )
        .then(
            PRODUCTS,
            [
                "1 apples: accrued 1",
                "2 pears: accrued 0",
                "3 plums: accrued 7",
            ],
        )
        .then(
            USERS,
            [
                "kim in 1: accrued 1 in 1",
                "kim in 2: accrued 0 in 1",
                "kim in 3: accrued 3 in 1",
                "lee in 3: accrued 4 in 1",
            ],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_withdrawn_invest_is_free_at_once_and_refunded_later() {
    spec()
        .given([opened(1, "apples", 1_000), reserved(1, "kim", 1, 300), reserved(2, "kim", 1, 50)])
        .given([settled(1, "kim", 1, 300), withdrawn_settled(1, "kim", 1, 300), withdrawn(2, "kim", 1, 50)])
        .given([
            reserved(3, "kim", 1, 7),
            refunded(1, "kim", 1, 300, GiveBackReason::Withdrawn),
            reserved(4, "lee", 1, 1),
        ])
        .then(
            INVESTS,
            [
                "1: kim 300 of 1 REFUNDED WITHDRAWN : the user withdrew the invest, accrued 300 and 300, second 1 to 7",
                "2: kim 50 of 1 WITHDRAWN WITHDRAWN : the user withdrew the invest, accrued 350 and 350, second 2 to 5",
                "3: kim 7 of 1 RESERVED, accrued 7 and 7, second 6 to 6",
                "4: lee 1 of 1 RESERVED, accrued 1 and 8, second 8 to 8",
            ],
        )
        .then(PRODUCTS, ["1 apples: accrued 8"])
        .then(USERS, ["kim in 1: accrued 7 in 3", "lee in 1: accrued 1 in 1"])
        .holds()
        .await;
}

#[tokio::test]
async fn what_a_cancelled_or_failed_product_refunds_was_settled_until_then() {
    spec()
        .given([opened(1, "apples", 1_000), opened(2, "pears", 500), reserved(1, "kim", 1, 300)])
        .given([reserved(2, "lee", 1, 50), reserved(3, "kim", 2, 2)])
        .given([settled(1, "kim", 1, 300), settled(2, "lee", 1, 50), settled(3, "kim", 2, 2)])
        .given([cancelled(1, "a reason"), target_missed(2, 400, 2)])
        .given([
            refunded(1, "kim", 1, 300, GiveBackReason::Cancelled),
            refunded(3, "kim", 2, 2, GiveBackReason::TargetMissed),
        ])
        .then(
            INVESTS,
            [
                "1: kim 300 of 1 REFUNDED CANCELLED : the product was cancelled by its operator, accrued 300 and 300, \
                 second 2 to 10",
                "2: lee 50 of 1 SETTLED, accrued 50 and 350, second 3 to 6",
                "3: kim 2 of 2 REFUNDED TARGET_MISSED : the product missed its target, accrued 2 and 2, second 4 to 11",
            ],
        )
        .then(PRODUCTS, ["1 apples: accrued 50", "2 pears: accrued 0"])
        .then(USERS, ["kim in 1: accrued 0 in 1", "kim in 2: accrued 0 in 1", "lee in 1: accrued 50 in 1"])
        .holds()
        .await;
}
