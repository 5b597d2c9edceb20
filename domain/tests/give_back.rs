//! Withdrawals, cancelled products, missed targets: what is given back, to whom, and once.

use crate::support::*;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate as _;
use domain::{Product, ProductCommand, ProductEvent, Refusal};
use rstest::rstest;

/// Withdrawable in the first half of the window, with a target of 500 of 1,000.
fn given(rest: &[ProductEvent]) -> Vec<ProductEvent> {
    [
        vec![opened_with(1_000, returnable(1_800, 500))],
        rest.to_vec(),
    ]
    .concat()
}

fn early() -> DateTime<Utc> {
    second(10)
}

#[rstest]
#[case::reserved(vec![reserved(1, "kim", 300)], None, Ok(false))]
#[case::reserved_whatever_was_looked_up(vec![reserved(1, "kim", 300)], Some(300), Ok(false))]
#[case::settled(vec![reserved(1, "kim", 300), settled(1, "kim", 300)], Some(300), Ok(true))]
#[case::settled_since_it_was_looked_up(
    vec![reserved(1, "kim", 300), settled(1, "kim", 300)],
    None,
    Err(Refusal::NotOpen),
)]
#[case::failed_since(vec![reserved(1, "kim", 300), failed(1, "kim", 300)], None, Err(Refusal::NotOpen))]
#[case::withdrawn_since(
    vec![reserved(1, "kim", 300), settled(1, "kim", 300), withdrawn(1, "kim", 300, true)],
    Some(300),
    Err(Refusal::NotOpen),
)]
#[case::withdrawn_and_refunded_since(
    vec![reserved(1, "kim", 300), withdrawn(1, "kim", 300, false), refunded(1, "kim", 300, "WITHDRAWN")],
    None,
    Err(Refusal::NotOpen),
)]
#[case::another_users(vec![reserved(1, "lee", 300)], None, Err(Refusal::NotOpen))]
#[case::in_a_closed_product(vec![reserved(1, "kim", 300), ProductEvent::ProductClosed {}], None, Ok(false))]
#[case::in_a_cancelled_product(vec![reserved(1, "kim", 300), cancelled()], None, Err(Refusal::NotWithdrawable))]
#[case::withdrawn_since_in_a_cancelled_product(
    vec![reserved(1, "kim", 300), reserved(2, "lee", 1), withdrawn(1, "kim", 300, false), cancelled()],
    None,
    Err(Refusal::NotOpen),
)]
#[case::withdrawn_since_in_a_cancelled_product_of_which_all_is_given_back(
    vec![reserved(1, "kim", 300), settled(1, "kim", 300), withdrawn(1, "kim", 300, true), cancelled()],
    Some(300),
    Err(Refusal::NotOpen),
)]
#[case::in_a_failed_product(vec![reserved(1, "kim", 300), missed(500, 300)], None, Err(Refusal::NotWithdrawable))]
fn an_invest_is_withdrawn_once(
    #[case] before: Vec<ProductEvent>,
    #[case] looked_up: Option<i64>,
    #[case] then: Result<bool, Refusal>,
) {
    let decided = decide(given(&before), withdraw(1, "kim", looked_up, early()));
    assert_eq!(
        decided,
        then.map(|settled| vec![withdrawn(1, "kim", 300, settled)])
    );
}

#[rstest]
#[case::before_its_end(second(1_800) - microsecond(), true)]
#[case::at_its_end(second(1_800), false)]
fn the_right_to_withdraw_has_an_end(#[case] at: DateTime<Utc>, #[case] is_allowed: bool) {
    let decided = decide(
        given(&[reserved(1, "kim", 300)]),
        withdraw(1, "kim", None, at),
    );
    assert_eq!(decided.is_ok(), is_allowed);
    assert_eq!(
        decided.err(),
        (!is_allowed).then_some(Refusal::NotWithdrawable)
    );
}

#[test]
fn without_the_right_nothing_is_withdrawn() {
    let decided = decide(
        vec![opened(1_000), reserved(1, "kim", 300)],
        withdraw(1, "kim", None, early()),
    );
    assert_eq!(decided, Err(Refusal::NotWithdrawable));
}

/// The amount is free for others, and for the user's own limit, at once.
#[rstest]
fn a_withdrawn_amount_is_free_at_once(#[values(true, false)] settled_before: bool) {
    let before = [reserved(1, "kim", 1_000), settled(1, "kim", 1_000)];
    let before = &before[..1 + usize::from(settled_before)];
    let given = [
        given(before),
        vec![withdrawn(1, "kim", 1_000, settled_before)],
    ]
    .concat();
    assert_eq!(
        decide(given.clone(), invest(2, "lee", 1_000)),
        Ok(vec![reserved(2, "lee", 1_000)])
    );
    // The payment that was under way changes nothing any more.
    assert_eq!(decide(given.clone(), settle(1)), Err(Refusal::NotOpen));
    assert_eq!(decide(given, fail(1)), Err(Refusal::NotOpen));
}

#[rstest]
#[case::what_stands(vec![reserved(1, "kim", 300), settled(1, "kim", 300)], Err(Refusal::NotRefundable))]
#[case::a_reservation(vec![reserved(1, "kim", 300)], Err(Refusal::NotRefundable))]
#[case::a_withdrawn_reservation(vec![reserved(1, "kim", 300), withdrawn(1, "kim", 300, false)], Ok("WITHDRAWN"))]
#[case::a_withdrawn_holding(
    vec![reserved(1, "kim", 300), settled(1, "kim", 300), withdrawn(1, "kim", 300, true)],
    Ok("WITHDRAWN"),
)]
#[case::a_withdrawn_one_of_a_cancelled_product(
    vec![reserved(1, "kim", 300), withdrawn(1, "kim", 300, false), cancelled()],
    Ok("WITHDRAWN"),
)]
#[case::twice(
    vec![reserved(1, "kim", 300), withdrawn(1, "kim", 300, false), refunded(1, "kim", 300, "WITHDRAWN")],
    Err(Refusal::AlreadyRefunded),
)]
#[case::of_a_cancelled_product(vec![reserved(1, "kim", 300), settled(1, "kim", 300), cancelled()], Ok("CANCELLED"))]
#[case::of_a_failed_product(
    vec![reserved(1, "kim", 300), settled(1, "kim", 300), missed(500, 300)],
    Ok("TARGET_MISSED"),
)]
#[case::still_open_in_a_cancelled_product(vec![reserved(1, "kim", 300), cancelled()], Err(Refusal::NotRefundable))]
#[case::settled_after_the_cancellation(
    vec![reserved(1, "kim", 300), cancelled(), settled(1, "kim", 300)],
    Ok("CANCELLED"),
)]
#[case::twice_of_a_cancelled_product(
    vec![
        reserved(1, "kim", 300),
        settled(1, "kim", 300),
        reserved(2, "lee", 300),
        settled(2, "lee", 300),
        cancelled(),
        refunded(1, "kim", 300, "CANCELLED"),
    ],
    Err(Refusal::AlreadyRefunded),
)]
#[case::the_only_one_twice(
    vec![reserved(1, "kim", 300), settled(1, "kim", 300), cancelled(), refunded(1, "kim", 300, "CANCELLED")],
    Err(Refusal::AlreadyRefunded),
)]
fn what_is_owed_is_refunded_once(
    #[case] before: Vec<ProductEvent>,
    #[case] then: Result<&str, Refusal>,
) {
    let decided = decide(given(&before), refund(1, "kim", 300));
    assert_eq!(
        decided,
        then.map(|code| vec![refunded(1, "kim", 300, code)])
    );
}

/// What ended takes nothing, and what fails in it fails for that reason.
#[rstest]
#[case(cancelled(), Refusal::Cancelled, ("CANCELLED", "the product was cancelled by its operator"))]
#[case(missed(500, 300), Refusal::Failed, ("TARGET_MISSED", "the product missed its target"))]
fn a_product_ends_once(
    #[case] end: ProductEvent,
    #[case] refusal: Refusal,
    #[case] words: (&str, &str),
) {
    let given = given(&[reserved(1, "kim", 300), end]);
    let refused = [
        invest(2, "lee", 1),
        ProductCommand::CloseProduct,
        cancel(),
        ProductCommand::FailProduct { at: second(3_600) },
    ];
    for command in refused {
        assert_eq!(decide(given.clone(), command), Err(refusal));
    }
    assert_eq!(
        decide(given.clone(), fail(1)),
        Ok(vec![failed_for(1, "kim", 300, words)])
    );
    assert_eq!(
        decide(given.clone(), expire(1, expiry())),
        Ok(vec![failed_for(1, "kim", 300, words)])
    );
    // The money came all the same: it is settled, and then refunded.
    assert_eq!(decide(given, settle(1)), Ok(vec![settled(1, "kim", 300)]));
}

#[rstest]
#[case::a_closed_product(vec![ProductEvent::ProductClosed {}], Ok(()))]
#[case::a_product(vec![], Ok(()))]
fn a_product_is_cancelled(#[case] before: Vec<ProductEvent>, #[case] then: Result<(), Refusal>) {
    assert_eq!(
        decide(given(&before), cancel()),
        then.map(|()| vec![cancelled()])
    );
    assert_eq!(decide(vec![], cancel()), Err(Refusal::NotExist));
}

#[rstest]
#[case::nothing_taken(vec![], Ok(0))]
#[case::just_below(vec![reserved(1, "kim", 499), settled(1, "kim", 499)], Ok(499))]
#[case::reached(vec![reserved(1, "kim", 500), settled(1, "kim", 500)], Err(Refusal::TargetNotMissed))]
#[case::reached_if_it_is_settled(vec![reserved(1, "kim", 500)], Err(Refusal::TargetUndecided))]
#[case::missed_even_if_it_is_settled(vec![reserved(1, "kim", 499)], Ok(499))]
#[case::reached_and_withdrawn(
    vec![reserved(1, "kim", 500), settled(1, "kim", 500), withdrawn(1, "kim", 500, true)],
    Ok(0),
)]
fn a_product_below_its_target_fails_at_its_end(
    #[case] before: Vec<ProductEvent>,
    #[case] then: Result<i64, Refusal>,
) {
    let at = |at| decide(given(&before), ProductCommand::FailProduct { at });
    assert_eq!(
        at(second(3_600)),
        then.map(|reached| vec![missed(500, reached)])
    );
    assert_eq!(
        at(second(3_600) - microsecond()),
        Err(Refusal::TargetUndecided)
    );
}

#[test]
fn a_product_without_a_target_misses_none() {
    let decided = decide(
        vec![opened(1_000)],
        ProductCommand::FailProduct { at: second(3_600) },
    );
    assert_eq!(decided, Err(Refusal::TargetNotMissed));
}

/// The state is as small as what a coming decision asks.
#[test]
fn when_all_is_given_back_none_is_remembered() {
    let mut product = Product::default();
    let all =
        |count: u128| (1..=count).flat_map(|id| [reserved(id, "kim", 1), settled(id, "kim", 1)]);
    given(&[])
        .into_iter()
        .chain(all(3))
        .chain([cancelled()])
        .for_each(|event| product.apply(event));
    for (id, left) in [(1, 1), (2, 2), (3, 0)] {
        product.apply(refunded(id, "kim", 1, "CANCELLED"));
        assert_eq!(product.given_back_invests(), left);
    }
}
