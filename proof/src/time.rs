//! Times as seals, proofs and exports write them: RFC 3339 in UTC with six digits of a second's fraction and `Z`, such as
//! `2026-03-01T03:10:00.123456Z`. Each time is written in exactly one way, and only that is read.

use chrono::{DateTime, Datelike as _, NaiveDate, SecondsFormat, Utc};

/// Characters of a time.
const TIME_BYTES: usize = 27;

/// `at`, in whole microseconds.
pub fn format(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The time `micros` after 1970. Outside of the years 1 to 9999, which Moa never writes, it is only the number: [`parse_micros`]
/// refuses that.
pub fn format_micros(micros: i64) -> String {
    let at =
        DateTime::<Utc>::from_timestamp_micros(micros).filter(|at| (1..=9999).contains(&at.year()));
    at.map_or_else(|| micros.to_string(), format)
}

/// The time that `text` says; `None` unless [`format()`] writes it so.
pub fn parse(text: &str) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(parse_micros(text)?)
}

/// The same, in microseconds since 1970.
pub fn parse_micros(text: &str) -> Option<i64> {
    let bytes: &[u8; TIME_BYTES] = text.as_bytes().try_into().ok()?;
    if [4, 7, 10, 13, 16, 19, 26].map(|at| bytes[at]) != *b"--T::.Z" {
        return None;
    }
    let part = |from: usize, upto: usize| digits(&bytes[from..upto]);
    let year = part(0, 4).filter(|year| *year > 0)?;
    let day = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, part(5, 7)?, part(8, 10)?)?;
    let at = day.and_hms_micro_opt(part(11, 13)?, part(14, 16)?, part(17, 19)?, part(20, 26)?)?;
    Some(at.and_utc().timestamp_micros())
}

/// Of at most nine digits.
fn digits(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u32::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_written_and_in_no_other_way() {
        let written = "2026-03-01T03:10:00.123456Z";
        assert_eq!(parse(written).map(format).as_deref(), Some(written));
        assert_eq!(
            parse_micros(written).map(format_micros).as_deref(),
            Some(written)
        );
        assert_eq!(format_micros(i64::MAX), i64::MAX.to_string());
        for (text, micros) in [
            ("1970-01-01T00:00:00.000001Z", Some(1)),
            ("2024-02-29T23:59:59.999999Z", Some(1_709_251_199_999_999)),
            ("2023-02-29T00:00:00.000000Z", None),
            ("2023-12-31T23:59:60.000000Z", None),
            ("2023-12-31T24:00:00.000000Z", None),
            ("0000-01-01T00:00:00.000000Z", None),
            ("2023-12-31t00:00:00.000000z", None),
            ("2023-12-31T00:00:00.00000Z", None),
            ("2023-12-31T00:00:00.000000+00:00", None),
            ("+023-12-31T00:00:00.000000Z", None),
            ("", None),
        ] {
            assert_eq!(parse_micros(text), micros, "{text}");
        }
    }
}
