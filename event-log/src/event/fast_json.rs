//! A fast path for JSON exactly as this release writes it: nearly all events of a long log are reservations and settlements, with always
//! the same bytes around their values. Anything else, even one more blank, is left to the parser, which decides what is valid. So what is
//! read here must be what the parser would read; the test tries every near miss.

use super::Metadata;
use chrono::{DateTime, NaiveDate, Utc};
use domain::{Amount, InvestId, ProductEvent, UserId};
use uuid::Uuid;

/// Characters of a uuid.
const UUID_CHARS: usize = 36;
/// Characters of a time up to its seconds.
const SECONDS_CHARS: usize = 19;

/// The event of `payload`, if it is one of the two, in this very form.
pub(super) fn event(payload: &str) -> Option<ProductEvent> {
    let payload = payload.strip_suffix("}}")?;
    if let Some(settled) = payload.strip_prefix(r#"{"InvestSettled":{"investId":""#) {
        let (invest_id, user_id, amount) = invest(settled)?;
        return Some(ProductEvent::InvestSettled {
            invest_id,
            user_id,
            amount: won(amount)?,
        });
    }
    let (invest_id, user_id, rest) =
        invest(payload.strip_prefix(r#"{"InvestReserved":{"investId":""#)?)?;
    let (amount, expires_at) = rest.strip_suffix('"')?.split_once(r#","expiresAt":""#)?;
    Some(ProductEvent::InvestReserved {
        invest_id,
        user_id,
        amount: won(amount)?,
        expires_at: time(expires_at)?,
    })
}

/// What both have; and what begins with the amount.
fn invest(fields: &str) -> Option<(InvestId, UserId, &str)> {
    let (invest_id, rest) = fields.split_at_checked(UUID_CHARS)?;
    // No user id holds what JSON would escape.
    let (user_id, rest) = rest.strip_prefix(r#"","userId":""#)?.split_once('"')?;
    let user_id = UserId::try_from(user_id.to_owned()).ok()?;
    Some((
        InvestId(Uuid::try_parse(invest_id).ok()?),
        user_id,
        rest.strip_prefix(r#","amount":"#)?,
    ))
}

fn won(amount: &str) -> Option<Amount> {
    // Numbers may begin with a plus or a zero in Rust, not in JSON.
    let first = amount.bytes().next()?;
    if !(b'1'..=b'9').contains(&first) {
        return None;
    }
    Amount::try_from(amount.parse::<i64>().ok()?).ok()
}

/// `2026-03-01T03:10:00Z`, with 0, 3, 6 or 9 digits of a second's fraction.
fn time(text: &str) -> Option<DateTime<Utc>> {
    let (seconds, fraction) = text
        .strip_suffix('Z')?
        .as_bytes()
        .split_at_checked(SECONDS_CHARS)?;
    if [4, 7, 10, 13, 16].map(|at| seconds[at]) != *b"--T::" {
        return None;
    }
    let two = |at: usize| number(&seconds[at..at + 2]);
    let nanoseconds = match fraction {
        [] => 0,
        [b'.', digits @ ..] if matches!(digits.len(), 3 | 6 | 9) => {
            number(digits)? * 10_u32.pow(9 - u32::try_from(digits.len()).ok()?)
        }
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(number(&seconds[..4])?.cast_signed(), two(5)?, two(8)?)?;
    Some(
        date.and_hms_nano_opt(two(11)?, two(14)?, two(17)?, nanoseconds)?
            .and_utc(),
    )
}

/// Of at most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u32::from(digit - b'0'))
    })
}

/// The metadata of `text`, if it is in this very form and has nothing that JSON escapes.
pub(super) fn metadata(text: &str) -> Option<Metadata> {
    // Without an early exit, so that it is one vectorised pass.
    if !text
        .bytes()
        .fold(true, |plain, byte| plain & (byte >= b' ') & (byte != b'\\'))
    {
        return None;
    }
    let (correlation_id, rest) = text
        .strip_prefix(r#"{"correlationId":""#)?
        .split_once('"')?;
    let (causation_id, rest) = field(rest, r#","causationId":""#)?;
    let (traceparent, rest) = field(rest, r#","traceparent":""#)?;
    // What an operator caused is rare, and is read the long way.
    (rest == "}").then(|| Metadata {
        correlation_id: correlation_id.into(),
        causation_id,
        traceparent,
        ..Metadata::default()
    })
}

/// The field that begins with `name`, if it is there, and what follows.
fn field<'a>(text: &'a str, name: &str) -> Option<(Option<String>, &'a str)> {
    let Some(rest) = text.strip_prefix(name) else {
        return Some((None, text));
    };
    rest.split_once('"')
        .map(|(value, rest)| (Some(value.into()), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;

    const PAYLOADS: [&str; 6] = [
        r#"{"InvestSettled":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"user1","amount":10}}"#,
        r#"{"InvestSettled":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"A.b_c-9","amount":1000000000000}}"#,
        r#"{"InvestReserved":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"u","amount":1,"expiresAt":"2026-03-01T03:10:00Z"}}"#,
        r#"{"InvestReserved":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"u","amount":99,"expiresAt":"2028-02-29T23:59:59.123Z"}}"#,
        r#"{"InvestReserved":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"u","amount":5,"expiresAt":"2026-12-31T03:10:00.123456Z"}}"#,
        r#"{"InvestReserved":{"investId":"01991f5e-7c3a-7b60-9a52-3f0f6ed1a001","userId":"u","amount":5,"expiresAt":"9999-12-31T03:10:00.123456789Z"}}"#,
    ];
    const METADATA: [&str; 5] = [
        r#"{"correlationId":"c"}"#,
        r#"{"correlationId":"","causationId":""}"#,
        r#"{"correlationId":"한국어 {}:,","traceparent":"t"}"#,
        r#"{"correlationId":"c","causationId":"d","traceparent":"t"}"#,
        "{\"correlationId\":\"\u{1f9e7}\",\"causationId\":\"\u{7f}\u{80}\"}",
    ];
    const BYTES: &[u8] = b"\"\\{}[]:,+-.0169aEnTtzZ \n\x01";

    /// Every text that is one byte away: another, one less, one more, and one twice.
    fn near_misses(text: &str) -> impl Iterator<Item = String> {
        let bytes = text.as_bytes();
        let spliced = move |range: std::ops::Range<usize>, new: &[u8]| {
            let mut missed = bytes.to_vec();
            missed.splice(range, new.iter().copied());
            String::from_utf8(missed).ok()
        };
        (0..bytes.len()).flat_map(move |at| {
            let changed = BYTES
                .iter()
                .flat_map(move |new| [spliced(at..at + 1, &[*new]), spliced(at..at, &[*new])]);
            changed
                .chain([spliced(at..at + 1, b""), spliced(at..at, &bytes[at..=at])])
                .flatten()
        })
    }

    #[test]
    fn what_is_plainly_written_is_read_without_the_parser() {
        for payload in PAYLOADS {
            assert_eq!(
                event(payload),
                Some(serde_json::from_str(payload).unwrap()),
                "{payload}"
            );
            assert_eq!(serde_json::to_string(&event(payload)).unwrap(), payload);
        }
        for text in METADATA {
            assert_eq!(
                metadata(text),
                Some(serde_json::from_str(text).unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn nothing_is_read_that_the_parser_would_read_otherwise() {
        let mut read = 0;
        for missed in PAYLOADS.into_iter().flat_map(near_misses) {
            if let Some(event) = event(&missed) {
                assert_eq!(
                    serde_json::from_str::<ProductEvent>(&missed).ok(),
                    Some(event),
                    "{missed}"
                );
                read += 1;
            }
        }
        for missed in METADATA.into_iter().flat_map(near_misses) {
            if let Some(metadata) = metadata(&missed) {
                assert_eq!(
                    serde_json::from_str::<Metadata>(&missed).ok(),
                    Some(metadata),
                    "{missed}"
                );
                read += 1;
            }
        }
        assert!(read > 1_000, "only {read} could be read at all");
    }
}
