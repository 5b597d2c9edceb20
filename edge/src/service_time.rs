//! Local times in the service's zone.

use chrono::{DateTime, FixedOffset, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use std::str::FromStr;

/// How a local date-time begins, digit by digit: chrono alone would take signs, spaces and short fields.
const SHAPE: &[u8] = b"0000-00-00T00:00:00";
/// The database keeps microseconds; a finer time would come back changed.
const MAX_FRACTION_DIGITS: usize = 6;
const NANOS_PER_SECOND: u32 = 1_000_000_000;
const NANOS_PER_MICRO: u32 = 1_000;
const SECONDS_PER_MINUTE: i32 = 60;
/// The first time that may come in, and the first after the last, in seconds since 1970: 0001-01-02 and 9999-12-31, UTC. No
/// zone is a day away from UTC, so every one of them shows these in a year of four digits.
const FIRST_SECOND: i64 = -62_135_510_400;
const END_SECOND: i64 = 253_402_214_400;

/// The service's time zone: times go out local, without an offset unless that is asked for, and come in local or with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceTime {
    zone: Tz,
    with_offset: bool,
}

/// A zone or time that cannot be read. Says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTimeError(&'static str);

impl FromStr for ServiceTime {
    type Err = InvalidTimeError;

    /// A zone by its IANA name.
    fn from_str(name: &str) -> Result<Self, InvalidTimeError> {
        let zone = name
            .parse()
            .map_err(|_| InvalidTimeError("must be the name of a time zone, such as Asia/Seoul"))?;
        Ok(Self {
            zone,
            with_offset: false,
        })
    }
}

impl ServiceTime {
    /// The same zone, whose times go out as RFC 3339 has them, with their offset.
    pub fn with_offset(self) -> Self {
        Self {
            with_offset: true,
            ..self
        }
    }

    /// The zone's IANA name.
    pub fn zone_name(&self) -> &'static str {
        self.zone.name()
    }

    /// `2021-09-27T03:08:23.115211`, or without a fraction when it is zero; `2021-09-27T03:08:23.115211+09:00` with an offset.
    pub fn format(&self, at: DateTime<Utc>) -> String {
        if self.with_offset {
            return format_with_offset(at.with_timezone(&self.zone).fixed_offset());
        }
        format_local(at.with_timezone(&self.zone).naive_local())
    }

    /// A date-time with up to six fraction digits, local or with an offset (`Z`, `+09:00`). A local time in a gap is an
    /// error, an ambiguous one is the earlier.
    pub fn parse(&self, text: &str) -> Result<DateTime<Utc>, InvalidTimeError> {
        const MALFORMED: InvalidTimeError = InvalidTimeError(
            "must be a date-time such as 2021-10-17T00:00:00 or ...T00:00:00+09:00",
        );
        let (local, offset) = split(text).ok_or(MALFORMED)?;
        let local = naive(local).ok_or(MALFORMED)?;
        let at = match offset {
            "" => self.at_local(local),
            _ => at_offset(local, offset).ok_or(MALFORMED),
        }?;
        within_bounds(at)
    }

    fn at_local(&self, local: NaiveDateTime) -> Result<DateTime<Utc>, InvalidTimeError> {
        let at = self.zone.from_local_datetime(&local).earliest();
        at.map(|at| at.to_utc()).ok_or(InvalidTimeError(
            "must be a local time that exists: the clocks skip this one",
        ))
    }
}

fn format_local(local: NaiveDateTime) -> String {
    // By hand: chrono would parse a format each time, and a page has dozens of times.
    let (date, micros) = (local.date(), local.nanosecond() / NANOS_PER_MICRO);
    let (hour, minute, second) = (local.hour(), local.minute(), local.second());
    let whole = format!("{date}T{hour:02}:{minute:02}:{second:02}");
    if micros == 0 {
        whole
    } else {
        format!("{whole}.{micros:06}")
    }
}

/// Offsets of RFC 3339 have whole minutes. Some zones had others long ago: such a time is in UTC.
fn format_with_offset(at: DateTime<FixedOffset>) -> String {
    let is_whole = at.offset().local_minus_utc() % SECONDS_PER_MINUTE == 0;
    let at = if is_whole {
        at
    } else {
        at.to_utc().fixed_offset()
    };
    format!("{}{}", format_local(at.naive_local()), at.offset())
}

/// The time, if every zone shows it in a year from 0001 to 9999. For what is read elsewhere than by [`ServiceTime::parse`].
pub fn within_bounds(at: DateTime<Utc>) -> Result<DateTime<Utc>, InvalidTimeError> {
    let is_shown = (FIRST_SECOND..END_SECOND).contains(&at.timestamp());
    is_shown.then_some(at).ok_or(InvalidTimeError(
        "must be a time from 0001-01-02 to 9999-12-30, in UTC",
    ))
}

/// The local part, which has the right shape, and the offset, which may be anything.
fn split(text: &str) -> Option<(&str, &str)> {
    let fits = |(&given, &shape): (&u8, &u8)| {
        if shape == b'0' {
            given.is_ascii_digit()
        } else {
            given == shape
        }
    };
    let whole = text.get(..SHAPE.len())?;
    let fraction = match text[SHAPE.len()..].strip_prefix('.') {
        Some(rest) => 1 + rest.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    let shaped = whole.as_bytes().iter().zip(SHAPE).all(fits)
        && fraction != 1
        && fraction <= 1 + MAX_FRACTION_DIGITS;
    shaped.then(|| text.split_at(SHAPE.len() + fraction))
}

fn naive(local: &str) -> Option<NaiveDateTime> {
    let parsed = NaiveDateTime::parse_from_str(local, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
    // chrono reads second 60 as a second of two; the database has none.
    (parsed.nanosecond() < NANOS_PER_SECOND).then_some(parsed)
}

fn at_offset(local: NaiveDateTime, offset: &str) -> Option<DateTime<Utc>> {
    let shaped = offset == "Z" || (offset.len() == "+00:00".len() && offset.as_bytes()[3] == b':');
    let offset: FixedOffset = offset
        .replace('Z', "+00:00")
        .parse()
        .ok()
        .filter(|_| shaped)?;
    Some(local.and_local_timezone(offset).single()?.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const SEOUL: &str = "Asia/Seoul";
    const NEW_YORK: &str = "America/New_York";

    fn utc(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[rstest]
    #[case(
        "Asia/Seoul",
        "2021-09-26T18:08:23.115211Z",
        "2021-09-27T03:08:23.115211"
    )]
    #[case("Asia/Seoul", "2021-10-16T15:00:00Z", "2021-10-17T00:00:00")]
    #[case("Asia/Seoul", "2021-10-16T15:00:00.1Z", "2021-10-17T00:00:00.100000")]
    #[case("Asia/Seoul", "2021-10-16T15:00:00.000000999Z", "2021-10-17T00:00:00")]
    #[case("America/New_York", "2021-11-07T05:30:00Z", "2021-11-07T01:30:00")]
    #[case("America/New_York", "2021-11-07T06:30:00Z", "2021-11-07T01:30:00")]
    fn times_go_out_local(#[case] zone: ServiceTime, #[case] at: &str, #[case] text: &str) {
        assert_eq!(zone.format(utc(at)), text);
    }

    #[rstest]
    #[case("Asia/Seoul", "2021-10-17T00:00:00", "2021-10-16T15:00:00Z")]
    #[case(
        "Asia/Seoul",
        "2021-09-27T03:08:23.115211",
        "2021-09-26T18:08:23.115211Z"
    )]
    #[case("Asia/Seoul", "2021-10-17T00:00:00.5", "2021-10-16T15:00:00.5Z")]
    #[case("Asia/Seoul", "2021-10-17T00:00:00Z", "2021-10-17T00:00:00Z")]
    #[case(
        "Asia/Seoul",
        "2021-10-17T00:00:00.25-05:30",
        "2021-10-17T05:30:00.25Z"
    )]
    #[case("America/New_York", "2021-03-14T01:59:59", "2021-03-14T06:59:59Z")]
    #[case("America/New_York", "2021-03-14T03:00:00", "2021-03-14T07:00:00Z")]
    // Twice on this night: the earlier is still in summer time.
    #[case("America/New_York", "2021-11-07T01:30:00", "2021-11-07T05:30:00Z")]
    // What the clocks skip exists where the offset says so.
    #[case(
        "America/New_York",
        "2021-03-14T02:30:00-05:00",
        "2021-03-14T07:30:00Z"
    )]
    fn times_come_in_local_or_with_an_offset(
        #[case] zone: ServiceTime,
        #[case] text: &str,
        #[case] at: &str,
    ) {
        assert_eq!(zone.parse(text), Ok(utc(at)));
    }

    #[rstest]
    #[case("")]
    #[case("2021-10-17")]
    #[case("2021-10-17 00:00:00")]
    #[case("2021-10-17T00:00")]
    #[case("2021-10-17T00:00:00.")]
    #[case("2021-10-17T00:00:00.1234567")]
    #[case("2021-10-17T00:00:60")]
    #[case("2021-10-17T24:00:00")]
    #[case("2021-02-29T00:00:00")]
    #[case("2021-10-17T00:00:00z")]
    #[case("2021-10-17T00:00:00+9")]
    #[case("2021-10-17T00:00:00+0900")]
    #[case("2021-10-17T00:00:00+99:00")]
    #[case("2021-10-17T00:00:00ZZ")]
    #[case("+2021-10-17T00:00:00")]
    #[case("2021-10-17T00:00:00 ")]
    #[case("2021-10-17T00:00:00é+é")]
    #[case("２021-10-17T00:00:00")]
    fn malformed_times_are_refused(#[case] text: &str) {
        let zone: ServiceTime = SEOUL.parse().unwrap();
        assert!(
            zone.parse(text)
                .unwrap_err()
                .to_string()
                .starts_with("must be a date-time")
        );
    }

    #[rstest]
    #[case("0001-01-02T00:00:00Z", true)]
    #[case("0001-01-01T23:59:59.999999Z", false)]
    #[case("0001-01-02T08:59:59+09:00", false)]
    #[case("0001-01-01T00:00:00Z", false)]
    #[case("0000-12-31T23:59:59Z", false)]
    #[case("0000-01-01T00:00:00", false)]
    #[case("9999-12-30T23:59:59.999999Z", true)]
    #[case("9999-12-31T00:00:00Z", false)]
    #[case("9999-12-31T08:59:59+09:00", true)]
    #[case("9999-12-31T23:59:59Z", false)]
    #[case("9999-12-31T23:59:59", false)]
    #[case("9999-12-30T23:59:59-00:01", false)]
    fn times_that_some_zone_shows_in_a_longer_or_no_year_are_refused(
        #[case] text: &str,
        #[case] good: bool,
        #[values(
            "Asia/Seoul",
            "Pacific/Kiritimati",
            "Asia/Manila",
            "America/Metlakatla"
        )]
        zone: ServiceTime,
    ) {
        match zone.parse(text) {
            Ok(at) => {
                let shown = zone.format(at);
                assert_eq!(shown.find('-'), Some(4), "{shown}");
                assert_ne!(&shown[..4], "0000", "{shown}");
                assert!(good, "{text}");
            }
            Err(error) => {
                assert_eq!(
                    error.to_string(),
                    "must be a time from 0001-01-02 to 9999-12-30, in UTC"
                );
                assert!(!good, "{text}");
            }
        }
    }

    #[test]
    fn a_local_time_in_a_gap_is_refused() {
        let zone: ServiceTime = NEW_YORK.parse().unwrap();
        assert!(
            zone.parse("2021-03-14T02:30:00")
                .unwrap_err()
                .to_string()
                .contains("clocks skip")
        );
    }

    #[test]
    fn a_zone_has_a_name() {
        assert!("Mars/Olympus".parse::<ServiceTime>().is_err());
    }

    #[rstest]
    #[case(
        SEOUL,
        "2021-09-26T18:08:23.115211Z",
        "2021-09-27T03:08:23.115211+09:00"
    )]
    #[case(NEW_YORK, "2021-07-01T00:00:00Z", "2021-06-30T20:00:00-04:00")]
    #[case(NEW_YORK, "2021-12-01T00:00:00Z", "2021-11-30T19:00:00-05:00")]
    #[case("UTC", "2021-12-01T00:00:00Z", "2021-12-01T00:00:00+00:00")]
    #[case("Asia/Kolkata", "2021-12-01T00:00:00Z", "2021-12-01T05:30:00+05:30")]
    #[case::a_local_mean_time(SEOUL, "1900-01-01T00:00:00Z", "1900-01-01T00:00:00+00:00")]
    fn a_time_with_its_offset_is_the_same_time(
        #[case] zone: &str,
        #[case] at: &str,
        #[case] shown: &str,
    ) {
        let time = zone.parse::<ServiceTime>().unwrap().with_offset();
        assert_eq!(time.format(utc(at)), shown);
        assert_eq!(DateTime::parse_from_rfc3339(shown).unwrap(), utc(at));
        assert_eq!(time.parse(shown).unwrap(), utc(at));
    }
}
