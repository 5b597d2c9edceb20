//! What a product may demand of each invest.

use crate::support::*;
use domain::{Amount, MAX_AMOUNT, ProductEvent, Refusal, Terms};
use rstest::rstest;

#[rstest]
#[case::none(terms(0, 0, 0), 1, Ok(()))]
#[case::below_the_minimum(terms(100, 0, 0), 99, Err(Refusal::BelowMinimum { smallest: 100 }))]
#[case::the_minimum(terms(100, 0, 0), 100, Ok(()))]
#[case::above_the_minimum(terms(100, 0, 0), 101, Ok(()))]
#[case::below_the_unit(terms(0, 50, 0), 49, Err(Refusal::NotAMultiple { unit: 50 }))]
#[case::the_unit(terms(0, 50, 0), 50, Ok(()))]
#[case::between_two_multiples(terms(0, 50, 0), 75, Err(Refusal::NotAMultiple { unit: 50 }))]
#[case::a_multiple(terms(0, 50, 0), 150, Ok(()))]
#[case::the_smallest_is_a_multiple(terms(70, 50, 0), 69, Err(Refusal::BelowMinimum { smallest: 100 }))]
#[case::the_minimum_is_no_multiple(terms(70, 50, 0), 70, Err(Refusal::NotAMultiple { unit: 50 }))]
#[case::the_limit(terms(0, 0, 300), 300, Ok(()))]
#[case::above_the_limit(terms(0, 0, 300), 301, Err(Refusal::LimitExceeded { remaining: 300 }))]
#[case::the_minimum_before_the_unit(terms(100, 50, 0), 1, Err(Refusal::BelowMinimum { smallest: 100 }))]
#[case::the_unit_before_the_limit(terms(0, 50, 300), 301, Err(Refusal::NotAMultiple { unit: 50 }))]
#[case::the_limit_before_the_total(terms(0, 0, 300), 1_001, Err(Refusal::LimitExceeded { remaining: 300 }))]
#[case::the_total_last(terms(1, 1, 0), 1_001, Err(Refusal::SoldOut { remaining: 1_000 }))]
fn an_amount_must_be_one_that_the_terms_allow(
    #[case] terms: Terms,
    #[case] amount: i64,
    #[case] then: Result<(), Refusal>,
) {
    let decided = decide(vec![opened_with(1_000, terms)], invest(1, "kim", amount));
    assert_eq!(decided, then.map(|()| vec![reserved(1, "kim", amount)]));
}

/// Reserved and settled count, of this user alone; what failed is allowed again.
#[rstest]
#[case::reserved(vec![reserved(1, "kim", 200)], "kim", Some(100))]
#[case::settled(vec![reserved(1, "kim", 200), settled(1, "kim", 200)], "kim", Some(100))]
#[case::both(vec![reserved(1, "kim", 200), settled(1, "kim", 200), reserved(2, "kim", 100)], "kim", Some(0))]
#[case::failed(vec![reserved(1, "kim", 300), failed(1, "kim", 300)], "kim", None)]
#[case::expired(vec![reserved(1, "kim", 300), expired(1, "kim", 300)], "kim", None)]
#[case::another_users(vec![reserved(1, "lee", 300)], "kim", None)]
fn a_user_has_no_more_than_the_limit(
    #[case] before: Vec<ProductEvent>,
    #[case] user: &str,
    #[case] remaining: Option<i64>,
) {
    let given = [vec![opened_with(1_000, terms(0, 0, 300))], before].concat();
    let then = match remaining {
        None => Ok(vec![reserved(9, user, 300)]),
        Some(remaining) => Err(Refusal::LimitExceeded { remaining }),
    };
    assert_eq!(decide(given.clone(), invest(9, user, 300)), then);
    let rest = remaining.unwrap_or(300);
    if rest > 0 {
        assert_eq!(
            decide(given, invest(9, user, rest)),
            Ok(vec![reserved(9, user, rest)])
        );
    }
}

/// The earlier refusals of a product come first.
#[test]
fn terms_are_looked_at_in_the_window_alone() {
    let given = || vec![opened_with(1_000, terms(100, 50, 300))];
    assert_eq!(
        decide(given(), invest_at(1, "kim", 1, second(-1))),
        Err(Refusal::NotStarted)
    );
    assert_eq!(
        decide(given(), invest_at(1, "kim", 1, second(3_600))),
        Err(Refusal::Finished)
    );
    let closed = [given(), vec![ProductEvent::ProductClosed {}]].concat();
    assert_eq!(decide(closed, invest(1, "kim", 1)), Err(Refusal::Closed));
}

#[rstest]
#[case(terms(0, 0, 0), 1, &[])]
#[case(terms(1_000, 1_000, 1_000), 1_000, &[])]
#[case(terms(100, 50, 100), 1_000, &[])]
#[case(terms(1_001, 0, 0), 1_000, &["minInvestAmount"])]
#[case(terms(0, 1_001, 0), 1_000, &["investAmountUnit"])]
#[case(terms(0, 0, 1_001), 1_000, &["maxAmountPerUser"])]
#[case(terms(1_001, 1_001, 1_001), 1_000, &["minInvestAmount", "investAmountUnit", "maxAmountPerUser"])]
#[case(terms(700, 500, 0), 900, &["investAmountUnit"])]
#[case(terms(0, 50, 49), 1_000, &["maxAmountPerUser"])]
#[case(terms(100, 0, 99), 1_000, &["maxAmountPerUser"])]
#[case(terms(70, 50, 99), 1_000, &["maxAmountPerUser"])]
#[case(terms(MAX_AMOUNT, MAX_AMOUNT - 1, 0), MAX_AMOUNT, &["investAmountUnit"])]
#[case(returnable(3_600, 1_000), 1_000, &[])]
#[case(returnable(0, 1_001), 1_000, &["targetAmount"])]
#[case(returnable(3_601, 0), 1_000, &["withdrawableUntil"])]
#[case(Terms { withdrawable_until: Some(second(0)), ..Terms::default() }, 1_000, &["withdrawableUntil"])]
fn every_contradiction_is_named(#[case] terms: Terms, #[case] total: i64, #[case] fields: &[&str]) {
    let found = terms.contradictions(won(total), window());
    assert_eq!(
        found.iter().map(|(field, _)| *field).collect::<Vec<_>>(),
        fields
    );
}

/// Terms without a contradiction allow their smallest invest.
#[rstest]
fn the_smallest_invest_is_allowed(
    #[values(0, 1, 7, 100, 1_000)] minimum: i64,
    #[values(0, 1, 3, 100, 1_000)] unit: i64,
    #[values(0, 7, 100, 999, 1_000)] limit: i64,
) {
    let terms = terms(minimum, unit, limit);
    if terms.contradictions(won(1_000), window()).is_empty() {
        let smallest = Amount::try_from(terms.smallest_invest()).unwrap().won();
        let decided = decide(vec![opened_with(1_000, terms)], invest(1, "kim", smallest));
        assert_eq!(decided, Ok(vec![reserved(1, "kim", smallest)]));
    }
}

/// A log has such payloads: neither shape ever changes.
#[test]
fn terms_are_written_where_there_are_any_under_a_version_of_their_own() {
    let json = |event: &ProductEvent| serde_json::to_string(event).unwrap();
    let without = r#"{"ProductOpened":{"productId":1,"title":"apples","totalInvestingAmount":1000,"startedAt":"2026-03-01T00:00:00Z","finishedAt":"2026-03-01T01:00:00Z"}}"#;
    assert_eq!(
        (json(&opened(1_000)).as_str(), opened(1_000).version()),
        (without, "1.0.0")
    );
    let with = opened_with(1_000, terms(100, 0, 300));
    let tail = r#""finishedAt":"2026-03-01T01:00:00Z","terms":{"minInvestAmount":100,"maxAmountPerUser":300}}}"#;
    assert!(json(&with).ends_with(tail), "{}", json(&with));
    assert_eq!(with.version(), "2.0.0");
    let returning = opened_with(1_000, returnable(60, 300));
    let tail = r#""terms":{"targetAmount":300,"withdrawableUntil":"2026-03-01T00:01:00Z"}}}"#;
    assert!(json(&returning).ends_with(tail), "{}", json(&returning));
    // Whoever knows only 2.0.0 would not heed them.
    assert_eq!(returning.version(), "3.0.0");
    for event in [opened(1_000), with, returning] {
        assert_eq!(
            serde_json::from_str::<ProductEvent>(&json(&event)).unwrap(),
            event
        );
    }
}

/// The state grows with the users only where a limit asks for them.
#[test]
fn a_users_sum_is_kept_only_for_a_limit() {
    use cqrs_es::Aggregate as _;
    for (limit, kept) in [(0, 0), (300, 200)] {
        let mut product = domain::Product::default();
        for event in [
            opened_with(1_000, terms(0, 0, limit)),
            reserved(1, "kim", 200),
        ] {
            product.apply(event);
        }
        assert_eq!(
            (product.taken_by(&user("kim")), product.limited_users()),
            (kept, usize::from(limit > 0))
        );
    }
}
