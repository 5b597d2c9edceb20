//! investor_summary: what each user has invested, in sums.

use crate::support::{
    Running, Spec, TestApp, cancelled, closed, failed, opened, refunded, reserved, settled,
    target_missed, withdrawn, withdrawn_settled,
};
use domain::GiveBackReason;
use projector::InvestorSummaryProjection;

pub const SUMS: &str = r#"
    select format('%s in %s: %s settled, %s reserved, %s failed, %s of a product, second %s to %s',
                  user_id, product_id, settled_amount, reserved_amount, failed_invests, products,
                  extract(epoch from first_invest_date - '2026-03-01 00:00:00Z')::bigint,
                  extract(epoch from last_invest_date - '2026-03-01 00:00:00Z')::bigint)
      from investor_summary order by user_id collate "C", product_id"#;

fn spec() -> Spec<InvestorSummaryProjection> {
    Spec::of(InvestorSummaryProjection)
}

#[tokio::test]
async fn a_product_that_nobody_invests_in_says_nothing() {
    spec()
        .given([opened(1, "apples", 1_000), closed(1)])
        .then(SUMS, [])
        .holds()
        .await;
}

#[tokio::test]
async fn what_is_reserved_counts_from_the_start() {
    spec()
        .given([opened(1, "apples", 1_000), reserved(1, "kim", 1, 300)])
        .then(
            SUMS,
            ["kim in 1: 0 settled, 300 reserved, 0 failed, 1 of a product, second 1 to 1"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn what_is_settled_is_not_reserved_any_more_and_the_dates_are_of_reservations() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([settled(1, "kim", 1, 300)])
        .then(
            SUMS,
            ["kim in 1: 300 settled, 7 reserved, 0 failed, 1 of a product, second 1 to 2"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_failed_invest_leaves_its_dates_and_is_counted() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            reserved(1, "kim", 1, 300),
            failed(1, "kim", 1, 300),
        ])
        .then(
            SUMS,
            ["kim in 1: 0 settled, 0 reserved, 1 failed, 0 of a product, second 1 to 1"],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_product_counts_while_anything_in_it_is_reserved_or_settled() {
    spec()
        .given([opened(1, "apples", 1_000), opened(3, "plums", 90)])
        .given([
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
            reserved(3, "kim", 3, 1),
            reserved(4, "lee", 3, 9),
        ])
        .given([
            settled(1, "kim", 1, 300),
            failed(2, "kim", 1, 7),
            failed(3, "kim", 3, 1),
            failed(4, "lee", 3, 9),
        ])
        .given([reserved(5, "lee", 3, 8)])
        .then(
            SUMS,
            [
                "kim in 1: 300 settled, 0 reserved, 1 failed, 1 of a product, second 2 to 3",
                "kim in 3: 0 settled, 0 reserved, 1 failed, 0 of a product, second 4 to 4",
                "lee in 3: 0 settled, 8 reserved, 1 failed, 1 of a product, second 5 to 10",
            ],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn a_withdrawn_invest_counts_no_more_and_has_not_failed() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(3, "plums", 90),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([
            reserved(3, "kim", 3, 5),
            settled(1, "kim", 1, 300),
            withdrawn_settled(1, "kim", 1, 300),
        ])
        .given([
            withdrawn(3, "kim", 3, 5),
            refunded(1, "kim", 1, 300, GiveBackReason::Withdrawn),
        ])
        .then(
            SUMS,
            [
                "kim in 1: 0 settled, 7 reserved, 0 failed, 1 of a product, second 2 to 3",
                "kim in 3: 0 settled, 0 reserved, 0 failed, 0 of a product, second 4 to 4",
            ],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn what_a_cancelled_or_failed_product_refunds_counts_no_more() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(3, "plums", 90),
            reserved(1, "kim", 1, 300),
            reserved(2, "kim", 1, 7),
        ])
        .given([
            reserved(3, "kim", 3, 5),
            settled(1, "kim", 1, 300),
            settled(2, "kim", 1, 7),
            settled(3, "kim", 3, 5),
        ])
        .given([cancelled(1, "a reason"), target_missed(3, 80, 5)])
        .given([
            refunded(1, "kim", 1, 300, GiveBackReason::Cancelled),
            refunded(3, "kim", 3, 5, GiveBackReason::TargetMissed),
        ])
        .then(
            SUMS,
            [
                "kim in 1: 7 settled, 0 reserved, 0 failed, 1 of a product, second 2 to 3",
                "kim in 3: 0 settled, 0 reserved, 0 failed, 0 of a product, second 4 to 4",
            ],
        )
        .holds()
        .await;
}

#[tokio::test]
async fn each_product_has_its_own_sums_of_a_user() {
    spec()
        .given([
            opened(1, "apples", 1_000),
            opened(2, "pears", 500),
            opened(3, "plums", 90),
        ])
        .given([
            reserved(1, "kim", 2, 1),
            reserved(2, "kim", 1, 2),
            reserved(3, "kim", 3, 3),
        ])
        .given([settled(1, "kim", 2, 1), settled(3, "kim", 3, 3)])
        .then(
            SUMS,
            [
                "kim in 1: 0 settled, 2 reserved, 0 failed, 1 of a product, second 4 to 4",
                "kim in 2: 1 settled, 0 reserved, 0 failed, 1 of a product, second 3 to 3",
                "kim in 3: 3 settled, 0 reserved, 0 failed, 1 of a product, second 5 to 5",
            ],
        )
        .holds()
        .await;
}

/// 1. A log has a history, and a database that knew nothing of this read model: neither rows nor a checkpoint.
/// 2. A projector that has it is started: it applies the log from the first event on.
/// 3. Later events are applied as usual.
#[tokio::test]
async fn on_a_log_with_history_it_fills_itself() {
    let mut app = TestApp::fresh().await;
    app.append(&[
        opened(1, "apples", 10),
        reserved(1, "kim", 1, 4),
        settled(1, "kim", 1, 4),
    ])
    .await;
    app.append(&[opened(2, "pears", 10), reserved(2, "kim", 2, 5)])
        .await;
    let running = Running::read_models(&app.log, &app.pool);
    let of_1 = "kim in 1: 4 settled, 0 reserved, 0 failed, 1 of a product, second 1 to 1";
    let of_2 = "kim in 2: 0 settled, 5 reserved, 0 failed, 1 of a product, second 4 to 4";
    app.until(SUMS, &[of_1, of_2]).await;

    app.append(&[failed(2, "kim", 2, 5)]).await;

    let of_2 = "kim in 2: 0 settled, 0 reserved, 1 failed, 0 of a product, second 4 to 4";
    app.until(SUMS, &[of_1, of_2]).await;
    running.stop().await;
}
