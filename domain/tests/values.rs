//! The values at their bounds, parsed and read back from the log alike.

use crate::support::{microsecond, second};
use domain::{Amount, FailReason, MAX_AMOUNT, ProductId, Title, UserId, Window};
use rstest::rstest;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Whether a value parses, which the log must see the same way.
fn parses<T: DeserializeOwned>(value: Value) -> bool {
    serde_json::from_value::<T>(value).is_ok()
}

#[rstest]
#[case::far_too_small(i64::MIN, false)]
#[case::negative(-1, false)]
#[case::zero(0, false)]
#[case::smallest(1, true)]
#[case::largest(MAX_AMOUNT, true)]
#[case::one_won_too_large(MAX_AMOUNT + 1, false)]
#[case::far_too_large(i64::MAX, false)]
fn an_amount_is_one_to_a_million_million_won(#[case] won: i64, #[case] fits: bool) {
    assert_eq!(
        Amount::try_from(won).map(Amount::won).ok(),
        fits.then_some(won)
    );
    assert_eq!(parses::<Amount>(json!(won)), fits);
}

#[rstest]
fn an_amount_is_a_whole_number(
    #[values(json!(1.0), json!(1.5), json!("1"), json!(true), json!(null))] other: Value,
) {
    assert!(!parses::<Amount>(other));
}

#[test]
fn the_largest_amount_is_the_contracts() {
    assert_eq!(MAX_AMOUNT, 1_000_000_000_000);
}

#[rstest]
#[case::negative(-1, false)]
#[case::zero(0, false)]
#[case::first(1, true)]
#[case::last(i64::MAX, true)]
fn product_ids_begin_at_one(#[case] id: i64, #[case] fits: bool) {
    assert_eq!(
        ProductId::try_from(id).map(ProductId::get).ok(),
        fits.then_some(id)
    );
    assert_eq!(parses::<ProductId>(json!(id)), fits);
}

#[rstest]
#[case::empty("", false)]
#[case::one("a", true)]
#[case::all_kinds("AZaz09._-", true)]
#[case::longest(&"u".repeat(100), true)]
#[case::one_too_long(&"u".repeat(101), false)]
#[case::blank(" ", false)]
#[case::blank_inside("kim lee", false)]
#[case::other_letters("김", false)]
#[case::at_sign("kim@lee", false)]
#[case::slash("kim/lee", false)]
#[case::nul("kim\0", false)]
#[case::line_end("kim\n", false)]
fn a_user_id_is_up_to_a_hundred_plain_characters(#[case] id: &str, #[case] fits: bool) {
    assert_eq!(
        UserId::try_from(id.to_owned()).ok().map(String::from),
        fits.then(|| id.to_owned())
    );
    assert_eq!(parses::<UserId>(json!(id)), fits);
}

#[rstest]
#[case::empty("", false)]
#[case::one("a", true)]
#[case::blank(" ", true)]
#[case::longest(&"t".repeat(500), true)]
#[case::longest_in_other_letters(&"상".repeat(500), true)]
#[case::one_too_long(&"t".repeat(501), false)]
#[case::one_too_long_in_other_letters(&"상".repeat(501), false)]
#[case::nul("a\0", false)]
#[case::line_end("a\n", false)]
#[case::delete("a\u{7f}", false)]
#[case::later_control_characters("a\u{85}", false)]
fn a_title_is_up_to_five_hundred_characters_without_controls(
    #[case] title: &str,
    #[case] fits: bool,
) {
    assert_eq!(
        Title::try_from(title.to_owned()).ok().map(String::from),
        fits.then(|| title.to_owned())
    );
    assert_eq!(parses::<Title>(json!(title)), fits);
}

#[rstest]
#[case::no_code("", "", false)]
#[case::shortest("A", "", true)]
#[case::all_kinds("AZ_09", "a detail, of any kind : 상", true)]
#[case::longest(&"C".repeat(64), &"상".repeat(500), true)]
#[case::code_too_long(&"C".repeat(65), "", false)]
#[case::detail_too_long("C", &"d".repeat(501), false)]
#[case::lower_case_code("declined", "", false)]
#[case::blank_in_the_code("NO FUNDS", "", false)]
#[case::control_in_the_detail("C", "a\nb", false)]
fn a_fail_reason_has_a_code_and_a_detail(
    #[case] code: &str,
    #[case] detail: &str,
    #[case] fits: bool,
) {
    let reason = FailReason::new(code, detail).ok();
    assert_eq!(
        reason
            .as_ref()
            .map(|reason| (reason.code(), reason.detail())),
        fits.then_some((code, detail))
    );
}

#[test]
fn an_expiry_is_a_fail_reason_like_any_other() {
    let expired = FailReason::expired(second(0));
    assert_eq!(
        (expired.code(), expired.detail()),
        ("EXPIRED", "2026-03-01T00:00:00+00:00")
    );
    assert_eq!(
        FailReason::new(expired.code(), expired.detail()),
        Ok(expired.clone())
    );
}

#[test]
fn a_window_holds_at_least_an_instant() {
    let (start, next) = (second(0), second(0) + microsecond());
    let shortest = Window::new(start, next).unwrap();
    assert_eq!(
        (shortest.started_at(), shortest.finished_at()),
        (start, next)
    );
    assert!(Window::new(start, start).is_err());
    assert!(Window::new(next, start).is_err());
}
