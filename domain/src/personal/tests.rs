use super::{PersonalData, personal_data, resident_number};
use PersonalData::{Card, Email, Phone, ResidentNumber};
use rstest::rstest;

#[rstest]
#[case("kim@example.com", Email)]
#[case("문의: kim.min-su+1@mail.example.co.kr.", Email)]
#[case("<a_b%c@x-y.io>", Email)]
#[case("김@example.com", Email)]
#[case("kim＠example.com", Email)]
#[case("900101-1234567", ResidentNumber)]
#[case("홍길동900229-8000000님", ResidentNumber)]
#[case("id 001231-4999999.", ResidentNumber)]
#[case("９００１０１－１２３４５６７", ResidentNumber)]
#[case("900101–1234567", ResidentNumber)]
#[case("1-900101-1234567-1", ResidentNumber)]
#[case("010-1234-5678", Phone)]
#[case("call 011-123-4567 now", Phone)]
#[case("010 1234 5678", Phone)]
#[case("010.1234.5678", Phone)]
#[case("전화01012345678", Phone)]
#[case("+82-10-1234-5678", Phone)]
#[case("+82 10 1234 5678", Phone)]
#[case("４111-1111-1111-1111", Card)]
#[case("5555 5555 5555 4444", Card)]
#[case("card 9490-0000-0000-0008 expired", Card)]
fn personal_data_is_seen(#[case] text: &str, #[case] seen: PersonalData) {
    assert_eq!(personal_data(text), Some(seen));
}

#[rstest]
#[case::empty("")]
#[case::title("강남 오피스텔 3차 2026-01-01 ~ 2026-12-31")]
#[case::amounts("1,000,000 won of 5,000,000")]
#[case::product("P-2026-0001-0002")]
#[case::rate("연 12.5% @ 10 months")]
#[case::handle("@moa.official")]
#[case::no_host("kim@example")]
#[case::a_number_after_at("3@1.5")]
#[case::a_short_last_label("kim@example.c")]
#[case::month_13("901301-1234567")]
#[case::month_0("900001-1234567")]
#[case::day_32("900132-1234567")]
#[case::day_0("900100-1234567")]
#[case::february_30("900230-1234567")]
#[case::april_31("900431-1234567")]
#[case::born_before_1900("900101-9234567")]
#[case::no_sex("900101-0234567")]
#[case::a_digit_less("900101-123456")]
#[case::a_digit_more("900101-12345678")]
#[case::a_digit_before("1900101-1234567")]
#[case::no_hyphen("9001011234567")]
#[case::a_space("900101 1234567")]
#[case::no_mobile_prefix("012-1234-5678")]
#[case::a_landline("02-1234-5678")]
#[case::a_middle_of_five("010-12345-5678")]
#[case::a_middle_of_two("010-12-5678")]
#[case::two_separators("010-1234 5678")]
#[case::part_of_something_longer("110-010-1234-5678")]
#[case::goes_on("010-1234-5678-90")]
#[case::twelve_digits("010123456789")]
#[case::another_eleven("20260101123")]
#[case::a_country_without_plus("82-10-1234-5678")]
#[case::another_country("+81-10-1234-5678")]
#[case::fails_luhn("4111-1111-1111-1112")]
#[case::nothing("0000-0000-0000-0000")]
#[case::a_group_more("4111-1111-1111-1111-1111")]
#[case::a_group_less("4111-1111-1111")]
#[case::two_separators_of_groups("4111-1111 1111-1111")]
#[case::commas("4111,1111,1111,1111")]
#[case::a_year_range("2021 2022 2023 2024")]
fn what_only_resembles_it_passes(#[case] text: &str) {
    assert_eq!(personal_data(text), None);
}

#[rstest]
#[case("900101-1234567", true)]
#[case("user.900101-1234567", true)]
#[case("kim900101-1234567x", true)]
#[case("900101-9234567", false)]
#[case("901301-1234567", false)]
#[case("20900101-1234567", false)]
#[case("9001011234567", false)]
#[case("900101_1234567", false)]
#[case("010-1234-5678", false)]
#[case("019a2b0e-6a52-7c3e-9d0b-0c6f0f2f7a11", false)]
#[case("00900101-1234-7123-8456-123456789012", false)]
#[case("user1", false)]
fn in_ids_only_resident_numbers_are_seen(#[case] id: &str, #[case] seen: bool) {
    assert_eq!(resident_number(id), seen);
}

#[test]
fn any_text_can_be_looked_at() {
    for text in [
        "-",
        "@",
        "1",
        "-1-",
        "@.",
        "a@.",
        "+82",
        "010-",
        "٣٤",
        "\u{10ffff}1-2",
        "1-1-1-1-1-1-1",
    ] {
        assert_eq!(personal_data(text), None);
    }
}
