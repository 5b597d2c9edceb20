//! Each rule by its name, with its boundary as a table.

use crate::support::*;
use chrono::{DateTime, Utc};
use domain::{MAX_AMOUNT, ProductCommand, ProductEvent, Refusal};
use rstest::rstest;

/// The window holds its start and not its end.
#[rstest]
#[case::a_microsecond_before_the_start(second(0) - microsecond(), Err(Refusal::NotStarted))]
#[case::at_the_start(second(0), Ok(()))]
#[case::a_microsecond_after_the_start(second(0) + microsecond(), Ok(()))]
#[case::a_microsecond_before_the_end(second(3_600) - microsecond(), Ok(()))]
#[case::at_the_end(second(3_600), Err(Refusal::Finished))]
#[case::a_microsecond_after_the_end(second(3_600) + microsecond(), Err(Refusal::Finished))]
#[case::at_the_end_of_time(DateTime::<Utc>::MAX_UTC, Err(Refusal::Finished))]
fn a_product_takes_invests_in_its_window(
    #[case] at: DateTime<Utc>,
    #[case] then: Result<(), Refusal>,
) {
    let decided = decide(vec![opened(1_000)], invest_at(1, "kim", 1, at));
    assert_eq!(decided, then.map(|()| vec![reserved(1, "kim", 1)]));
}

/// Reserved and settled together never exceed the total, not by one won.
#[rstest]
#[case::all_at_once(vec![], 1_000, None)]
#[case::one_won_more_than_all(vec![], 1_001, Some(1_000))]
#[case::the_rest(vec![reserved(1, "kim", 400)], 600, None)]
#[case::one_won_more_than_the_rest(vec![reserved(1, "kim", 400)], 601, Some(600))]
#[case::one_won_of_nothing_left(vec![reserved(1, "kim", 1_000)], 1, Some(0))]
#[case::the_last_won(vec![reserved(1, "kim", 999)], 1, None)]
#[case::what_is_settled_stays_taken(vec![reserved(1, "kim", 400), settled(1, "kim", 400)], 601, Some(600))]
#[case::the_rest_beside_what_is_settled(vec![reserved(1, "kim", 400), settled(1, "kim", 400)], 600, None)]
#[case::what_failed_is_free(vec![reserved(1, "kim", 400), failed(1, "kim", 400)], 1_000, None)]
#[case::one_won_more_than_what_is_free_again(vec![reserved(1, "kim", 400), failed(1, "kim", 400)], 1_001, Some(1_000))]
#[case::the_largest_amount_there_is(vec![], MAX_AMOUNT, Some(1_000))]
fn a_product_is_never_oversold(
    #[case] taken: Vec<ProductEvent>,
    #[case] amount: i64,
    #[case] sold_out_with: Option<i64>,
) {
    let given = [vec![opened(1_000)], taken].concat();
    let then = match sold_out_with {
        None => Ok(vec![reserved(9, "lee", amount)]),
        Some(remaining) => Err(Refusal::SoldOut { remaining }),
    };
    assert_eq!(decide(given, invest(9, "lee", amount)), then);
}

/// The same at the other end of the numbers.
#[rstest]
#[case::the_whole_of_the_largest_total(vec![], MAX_AMOUNT, Ok(()))]
#[case::all_but_one_won_of_it(vec![reserved(1, "kim", 1)], MAX_AMOUNT - 1, Ok(()))]
#[case::one_won_too_many(vec![reserved(1, "kim", 1)], MAX_AMOUNT, Err(MAX_AMOUNT - 1))]
#[case::twice_the_whole(vec![reserved(1, "kim", MAX_AMOUNT)], MAX_AMOUNT, Err(0))]
fn the_largest_total_is_never_oversold(
    #[case] taken: Vec<ProductEvent>,
    #[case] amount: i64,
    #[case] then: Result<(), i64>,
) {
    let given = [vec![opened(MAX_AMOUNT)], taken].concat();
    let then = then
        .map(|()| vec![reserved(9, "lee", amount)])
        .map_err(|remaining| Refusal::SoldOut { remaining });
    assert_eq!(decide(given, invest(9, "lee", amount)), then);
}

/// The smallest product there is.
#[test]
fn a_total_of_one_won_is_taken_by_one_won() {
    assert_eq!(
        decide(vec![opened(1)], invest(1, "kim", 1)),
        Ok(vec![reserved(1, "kim", 1)])
    );
    let sold_out = Err(Refusal::SoldOut { remaining: 0 });
    assert_eq!(
        decide(vec![opened(1), reserved(1, "kim", 1)], invest(2, "lee", 1)),
        sold_out
    );
}

/// A reservation may be given up from its `expires_at` on; the window has no say in it.
#[rstest]
#[case::a_microsecond_before(expiry() - microsecond(), Err(Refusal::NotExpired))]
#[case::at_its_time(expiry(), Ok(()))]
#[case::a_microsecond_after(expiry() + microsecond(), Ok(()))]
#[case::ages_before(DateTime::<Utc>::MIN_UTC, Err(Refusal::NotExpired))]
fn a_reservation_expires_at_its_time(#[case] at: DateTime<Utc>, #[case] then: Result<(), Refusal>) {
    let decided = decide(vec![opened(1_000), reserved(1, "kim", 300)], expire(1, at));
    assert_eq!(decided, then.map(|()| vec![expired(1, "kim", 300)]));
}

/// Each invest gets one fate: whichever was first, no other follows.
#[rstest]
fn an_invest_has_one_fate(
    #[values(settled(1, "kim", 300), failed(1, "kim", 300), expired(1, "kim", 300))]
    first: ProductEvent,
    #[values(settle(1), fail(1), expire(1, expiry()), expire(1, expiry() - microsecond()))] second: ProductCommand,
) {
    assert_eq!(
        decide(vec![opened(1_000), reserved(1, "kim", 300), first], second),
        Err(Refusal::NotOpen)
    );
}

/// The fate of one invest is not another's.
#[rstest]
fn a_fate_leaves_other_invests_open(
    #[values(settled(1, "kim", 300), failed(1, "kim", 300), expired(1, "kim", 300))]
    first: ProductEvent,
) {
    let given = vec![
        opened(1_000),
        reserved(1, "kim", 300),
        reserved(2, "kim", 300),
        first,
    ];
    assert_eq!(
        decide(given.clone(), settle(2)),
        Ok(vec![settled(2, "kim", 300)])
    );
    assert_eq!(decide(given, fail(2)), Ok(vec![failed(2, "kim", 300)]));
}

/// A closed product takes nothing more, but what is open in it still gets its fate.
#[rstest]
#[case::no_invest(invest(9, "lee", 1), Err(Refusal::Closed))]
#[case::a_settlement(settle(1), Ok(settled(1, "kim", 300)))]
#[case::a_failure(fail(1), Ok(failed(1, "kim", 300)))]
#[case::an_expiry(expire(1, expiry()), Ok(expired(1, "kim", 300)))]
#[case::no_expiry_too_early(expire(1, expiry() - microsecond()), Err(Refusal::NotExpired))]
#[case::no_second_closing(ProductCommand::CloseProduct, Err(Refusal::Closed))]
fn closing_ends_invests_and_not_fates(
    #[case] when: ProductCommand,
    #[case] then: Result<ProductEvent, Refusal>,
) {
    let given = vec![
        opened(1_000),
        reserved(1, "kim", 300),
        ProductEvent::ProductClosed {},
    ];
    assert_eq!(decide(given, when), then.map(|event| vec![event]));
}

/// An invest id is in use while its reservation is open. What had its fate is not remembered: ids are made fresh for
/// every request, and to remember each for ever would be a list without end.
#[rstest]
#[case::open(None, Err(Refusal::AlreadyReserved))]
#[case::settled(Some(settled(1, "kim", 300)), Ok(()))]
#[case::failed(Some(failed(1, "kim", 300)), Ok(()))]
fn an_open_invests_id_is_in_use(
    #[case] fate: Option<ProductEvent>,
    #[case] then: Result<(), Refusal>,
) {
    let given = [opened(1_000), reserved(1, "kim", 300)]
        .into_iter()
        .chain(fate)
        .collect();
    assert_eq!(
        decide(given, invest(1, "lee", 5)),
        then.map(|()| vec![reserved(1, "lee", 5)])
    );
}
