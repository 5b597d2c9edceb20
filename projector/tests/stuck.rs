//! An event that cannot be applied stops its projection at that partition, is named, and affects nothing else.

use crate::support::{Happened, Running, TestApp, closed, failed, opened, reserved, settled};
use crate::{holdings, invest_log, product_list};
use event_log::RecordedEvent;
use event_log::consume::{ApplyError, Projection, Step, StepError};
use projector::{
    HoldingsProjection, InvestLogProjection, InvestorSummaryProjection, ProductListProjection,
};
use rstest::rstest;

/// `contradicting` must be refused, by its position, and stay so: in one batch with `given`, which is then applied by
/// itself, and after it.
async fn refuses<P: Projection>(projection: P, given: Vec<Happened>, contradicting: Happened) {
    let mut app = TestApp::fresh().await;
    app.append(&given).await;
    let bad = app.append(&[contradicting]).await.pop().unwrap();
    let consumer = app.consumer(projection, bad.partition);
    assert_refused(consumer.catch_up().await, &bad);
    assert_eq!(
        app.checkpoint(P::NAME, bad.partition).await.0,
        bad.position - 1
    );
    let before = app.everything_of(P::NAME).await;
    assert_refused(consumer.step(&[]).await, &bad);
    assert_refused(consumer.step(std::slice::from_ref(&bad)).await, &bad);
    assert_eq!(app.everything_of(P::NAME).await, before);
}

fn assert_refused(step: Result<Step, StepError>, bad: &RecordedEvent) {
    match step {
        Err(StepError::Apply(ApplyError::Event { position, reason })) => {
            assert_eq!(position, bad.position, "{reason}");
            assert!(reason.contains(bad.event.name()), "{reason}");
        }
        other => panic!("{:?} was not refused: {other:?}", bad.event),
    }
}

fn apples() -> Vec<Happened> {
    vec![opened(1, "apples", 10)]
}

/// Kim has 4 won of the apples; and what happens then.
fn kims<const N: usize>(then: [Happened; N]) -> Vec<Happened> {
    [opened(1, "apples", 10), reserved(1, "kim", 1, 4)]
        .into_iter()
        .chain(then)
        .collect()
}

#[rstest]
#[case::of_a_product_never_opened(vec![], reserved(1, "kim", 1, 1))]
#[case::settled_of_a_product_never_opened(vec![], settled(1, "kim", 1, 1))]
#[case::closed_of_a_product_never_opened(vec![], closed(1))]
#[case::opened_twice(apples(), opened(1, "apples", 10))]
#[case::closed_twice(vec![opened(1, "apples", 10), closed(1)], closed(1))]
#[case::gives_back_what_nobody_has(apples(), failed(1, "kim", 1, 1))]
#[case::gives_back_one_won_too_much(kims([]), failed(1, "kim", 1, 5))]
#[case::gives_back_another_users(kims([]), failed(1, "lee", 1, 4))]
#[tokio::test]
async fn the_product_list_refuses(#[case] given: Vec<Happened>, #[case] contradicting: Happened) {
    refuses(ProductListProjection, given, contradicting).await;
}

#[rstest]
#[case::reserved_of_a_product_never_opened(vec![], reserved(1, "kim", 1, 1))]
#[case::settled_of_a_product_never_opened(vec![], settled(1, "kim", 1, 1))]
#[case::failed_of_a_product_never_opened(vec![], failed(1, "kim", 1, 1))]
#[case::closed_of_a_product_never_opened(vec![], closed(1))]
#[case::opened_twice(apples(), opened(1, "apples", 10))]
#[tokio::test]
async fn the_holdings_refuse(#[case] given: Vec<Happened>, #[case] contradicting: Happened) {
    refuses(HoldingsProjection, given, contradicting).await;
}

#[rstest]
#[case::reserved_of_a_product_never_opened(vec![], reserved(1, "kim", 1, 1))]
#[case::closed_of_a_product_never_opened(vec![], closed(1))]
#[case::opened_twice(apples(), opened(1, "apples", 10))]
#[case::reserved_twice(kims([]), reserved(1, "kim", 1, 4))]
#[case::settled_never_reserved(apples(), settled(1, "kim", 1, 4))]
#[case::settled_by_another(kims([]), settled(1, "lee", 1, 4))]
#[case::settled_with_another_amount(kims([]), settled(1, "kim", 1, 3))]
#[case::settled_in_another_product(kims([opened(3, "plums", 10)]), settled(1, "kim", 3, 4))]
#[case::settled_twice(kims([settled(1, "kim", 1, 4)]), settled(1, "kim", 1, 4))]
#[case::failed_after_it_was_settled(kims([settled(1, "kim", 1, 4)]), failed(1, "kim", 1, 4))]
#[case::settled_after_it_failed(kims([failed(1, "kim", 1, 4)]), settled(1, "kim", 1, 4))]
#[tokio::test]
async fn the_invest_log_refuses(#[case] given: Vec<Happened>, #[case] contradicting: Happened) {
    refuses(InvestLogProjection, given, contradicting).await;
}

#[rstest]
#[case::settled_never_reserved(apples(), settled(1, "kim", 1, 4))]
#[case::failed_never_reserved(apples(), failed(1, "kim", 1, 4))]
#[case::settled_by_another(kims([]), settled(1, "lee", 1, 4))]
#[case::settled_one_won_too_much(kims([]), settled(1, "kim", 1, 5))]
#[case::failed_one_won_too_much(kims([]), failed(1, "kim", 1, 5))]
#[case::settled_in_another_product(kims([opened(3, "plums", 10)]), settled(1, "kim", 3, 4))]
#[case::failed_after_it_was_settled(kims([settled(1, "kim", 1, 4)]), failed(1, "kim", 1, 4))]
#[case::settled_after_it_failed(kims([failed(1, "kim", 1, 4)]), settled(1, "kim", 1, 4))]
#[tokio::test]
async fn the_investor_summary_refuses(
    #[case] given: Vec<Happened>,
    #[case] contradicting: Happened,
) {
    refuses(InvestorSummaryProjection, given, contradicting).await;
}

/// 1. Both partitions have a product; then, with everything running, partition 1 gets a settlement of nothing.
/// 2. Only invest_log and investor_summary stop there and report it; they skip no later event of partition 1.
/// 3. Their other partition and the other projections continue.
#[tokio::test]
async fn a_stuck_consumer_is_named_and_the_others_continue() {
    let mut app = TestApp::fresh().await;
    app.append(&[opened(1, "apples", 10), opened(2, "pears", 10)])
        .await;
    app.drain(&InvestLogProjection).await;
    let running = Running::read_models(&app.log, &app.pool);

    app.append(&[
        settled(9, "kim", 1, 4),
        reserved(1, "kim", 1, 4),
        reserved(2, "kim", 2, 5),
    ])
    .await;

    app.until(
        "select format('%s %s %s', consumer, partition, stuck_at) from checkpoints where stuck_at is not null
              order by consumer",
        &["invest_log 1 2", "investor_summary 1 2"],
    )
    .await;
    app.until(
        product_list::PRODUCTS,
        &["1 apples: 4 of 10 by 1", "2 pears: 5 of 10 by 1"],
    )
    .await;
    app.until(holdings::COUNTS, &["kim has 1 in partition 1"])
        .await;
    app.until(
        invest_log::INVESTS,
        &["2: kim 5 of 2 RESERVED, accrued 5 and 5, second 4 to 4"],
    )
    .await;
    let (position, stuck) = app.checkpoint("invest_log", 1).await;
    assert_eq!(position, 1);
    assert!(
        stuck
            .unwrap()
            .1
            .contains("InvestSettled of product 1: invest 00000000-0000-0000-0000-000000000009")
    );
    running.stop().await;
}

/// The same for a consumer whose very first event is the bad one.
#[tokio::test]
async fn a_consumer_stuck_at_its_first_event_is_named_too() {
    let mut app = TestApp::fresh().await;
    let running = Running::read_models(&app.log, &app.pool);
    app.append(&[closed(1)]).await;
    app.until(
        "select format('%s %s', consumer, stuck_at) from checkpoints where stuck_at is not null order by 1",
        &["holdings 1", "invest_log 1", "product_list 1"],
    )
    .await;
    running.stop().await;
}
