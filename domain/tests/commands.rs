//! Each command: what comes of it, and every refusal it can meet.

use crate::support::*;
use cqrs_es::test::TestFramework;
use domain::{Product, ProductCommand, ProductEvent, Refusal};
use rstest::rstest;

#[rstest]
#[case::a_product_is_opened(vec![], open(1_000), opened(1_000))]
#[case::the_first_invest(vec![opened(1_000)], invest(1, "kim", 300), reserved(1, "kim", 300))]
#[case::another_invest_of_the_same_user(
    vec![opened(1_000), reserved(1, "kim", 300)],
    invest(2, "kim", 300),
    reserved(2, "kim", 300),
)]
#[case::what_failed_is_free_again(
    vec![opened(1_000), reserved(1, "kim", 1_000), failed(1, "kim", 1_000)],
    invest(2, "lee", 1_000),
    reserved(2, "lee", 1_000),
)]
#[case::a_settlement(vec![opened(1_000), reserved(1, "kim", 300)], settle(1), settled(1, "kim", 300))]
#[case::a_settlement_out_of_turn(
    vec![opened(1_000), reserved(1, "kim", 300), reserved(2, "lee", 7)],
    settle(2),
    settled(2, "lee", 7),
)]
#[case::a_failure(vec![opened(1_000), reserved(1, "kim", 300)], fail(1), failed(1, "kim", 300))]
#[case::an_expiry(vec![opened(1_000), reserved(1, "kim", 300)], expire(1, expiry()), expired(1, "kim", 300))]
#[case::a_product_is_closed(vec![opened(1_000)], ProductCommand::CloseProduct, ProductEvent::ProductClosed {})]
fn a_command_leads_to_its_event(
    #[case] given: Vec<ProductEvent>,
    #[case] when: ProductCommand,
    #[case] then: ProductEvent,
) {
    TestFramework::<Product>::with(())
        .given(given)
        .when(when)
        .then_expect_events(vec![then]);
}

#[rstest]
#[case::opened_twice(vec![opened(1_000)], open(1_000), Refusal::AlreadyOpened)]
#[case::opened_again_after_it_was_closed(
    vec![opened(1_000), ProductEvent::ProductClosed {}],
    open(1_000),
    Refusal::AlreadyOpened,
)]
#[case::invest_in_no_product(vec![], invest(1, "kim", 1), Refusal::NotExist)]
#[case::invest_too_early(vec![opened(1_000)], invest_at(1, "kim", 1, second(-1)), Refusal::NotStarted)]
#[case::invest_too_late(vec![opened(1_000)], invest_at(1, "kim", 1, second(3_601)), Refusal::Finished)]
#[case::invest_in_a_closed_product(
    vec![opened(1_000), ProductEvent::ProductClosed {}],
    invest(1, "kim", 1),
    Refusal::Closed,
)]
#[case::invest_too_much(vec![opened(1_000)], invest(1, "kim", 1_001), Refusal::SoldOut { remaining: 1_000 })]
#[case::invest_id_in_use(vec![opened(1_000), reserved(1, "kim", 1)], invest(1, "lee", 1), Refusal::AlreadyReserved)]
#[case::settle_in_no_product(vec![], settle(1), Refusal::NotExist)]
#[case::settle_what_was_never_reserved(vec![opened(1_000)], settle(1), Refusal::NotOpen)]
#[case::fail_in_no_product(vec![], fail(1), Refusal::NotExist)]
#[case::fail_what_was_never_reserved(vec![opened(1_000)], fail(1), Refusal::NotOpen)]
#[case::expire_in_no_product(vec![], expire(1, expiry()), Refusal::NotExist)]
#[case::expire_what_was_never_reserved(vec![opened(1_000)], expire(1, expiry()), Refusal::NotOpen)]
#[case::expire_too_early(vec![opened(1_000), reserved(1, "kim", 1)], expire(1, second(0)), Refusal::NotExpired)]
#[case::close_no_product(vec![], ProductCommand::CloseProduct, Refusal::NotExist)]
#[case::close_twice(
    vec![opened(1_000), ProductEvent::ProductClosed {}],
    ProductCommand::CloseProduct,
    Refusal::Closed,
)]
fn a_command_is_refused(
    #[case] given: Vec<ProductEvent>,
    #[case] when: ProductCommand,
    #[case] then: Refusal,
) {
    TestFramework::<Product>::with(())
        .given(given)
        .when(when)
        .then_expect_error(then);
}

/// Several reasons at once: the one that is said is the one that the asker can do least about.
#[rstest]
#[case::closed_before_not_started(true, second(-1), 1, 2_000, Refusal::Closed)]
#[case::closed_before_finished(true, second(3_600), 1, 2_000, Refusal::Closed)]
#[case::closed_before_sold_out(true, second(1), 1, 2_000, Refusal::Closed)]
#[case::not_started_before_the_id(false, second(-1), 9, 1, Refusal::NotStarted)]
#[case::not_started_before_sold_out(false, second(-1), 1, 2_000, Refusal::NotStarted)]
#[case::finished_before_the_id(false, second(3_600), 9, 1, Refusal::Finished)]
#[case::finished_before_sold_out(false, second(3_600), 1, 2_000, Refusal::Finished)]
#[case::the_id_before_sold_out(false, second(1), 9, 2_000, Refusal::AlreadyReserved)]
#[case::sold_out_last(false, second(1), 1, 2_000, Refusal::SoldOut { remaining: 999 })]
fn of_several_refusals_the_first_counts(
    #[case] closed: bool,
    #[case] at: chrono::DateTime<chrono::Utc>,
    #[case] id: u128,
    #[case] amount: i64,
    #[case] then: Refusal,
) {
    let mut given = vec![opened(1_000), reserved(9, "kim", 1)];
    given.extend(closed.then_some(ProductEvent::ProductClosed {}));
    assert_eq!(decide(given, invest_at(id, "lee", amount, at)), Err(then));
}

#[test]
fn a_product_that_is_not_there_is_the_very_first_refusal() {
    assert_eq!(
        decide(vec![], invest_at(1, "kim", 1, second(-1))),
        Err(Refusal::NotExist)
    );
    assert_eq!(decide(vec![], expire(1, second(0))), Err(Refusal::NotExist));
}
