//! Every read model at every partition, from start to shutdown.

use crate::support::{Running, TestApp, opened, reserved, settled};
use crate::{holdings, invest_log, product_list};
use projector::PROJECTIONS;
use std::collections::BTreeSet;

#[test]
fn every_read_model_has_a_name_of_its_own() {
    let names: BTreeSet<_> = PROJECTIONS
        .iter()
        .map(|projection| projection.name)
        .collect();
    assert_eq!(names.len(), PROJECTIONS.len());
}

#[tokio::test]
async fn old_and_new_events_are_applied_until_shutdown() {
    let mut app = TestApp::fresh().await;
    app.append(&[
        opened(1, "apples", 10),
        opened(2, "pears", 10),
        reserved(1, "kim", 1, 4),
    ])
    .await;
    let running = Running::read_models(&app.log, &app.pool);
    app.until(
        product_list::PRODUCTS,
        &["1 apples: 4 of 10 by 1", "2 pears: 0 of 10 by 0"],
    )
    .await;

    app.append(&[settled(1, "kim", 1, 4), reserved(2, "lee", 2, 10)])
        .await;

    app.until(
        product_list::PRODUCTS,
        &["1 apples: 4 of 10 by 1", "2 pears: 10 of 10 by 1"],
    )
    .await;
    app.until(holdings::HOLDINGS, &["kim holds 4 of 1 since second 3"])
        .await;
    let invests = [
        "1: kim 4 of 1 SETTLED, accrued 4 and 4, second 2 to 3",
        "2: lee 10 of 2 RESERVED, accrued 10 and 10, second 4 to 4",
    ];
    app.until(invest_log::INVESTS, &invests).await;
    running.stop().await;
}

/// Events of another process are not notified here: only the poll of the heads finds them.
#[tokio::test]
async fn events_of_another_process_are_found_by_the_poll() {
    let mut app = TestApp::fresh().await;
    let log = event_log::Log::open(app.pool.clone(), 2).await.unwrap();
    let running = Running::read_models(&log, &app.pool);
    app.append(&[opened(1, "apples", 10), reserved(1, "kim", 1, 4)])
        .await;
    app.until(product_list::PRODUCTS, &["1 apples: 4 of 10 by 1"])
        .await;
    running.stop().await;
}
