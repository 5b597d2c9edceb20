//! A rate, as a setting says it.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// The most calls that a rate may allow, in a period or at once.
const MAX_CALLS: u32 = 1_000_000;

/// So many calls in a period, and so many at once after a rest: `10/s`, `600/m`, `10/s:50`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    calls: NonZeroU32,
    period: Period,
    burst: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Period {
    Second,
    Minute,
    Hour,
}

/// Not a rate. Says what would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a rate such as 10/s, 600/m or 36000/h, with the most at once behind a colon if that is another number, such as 10/s:50; or off"
)]
pub struct InvalidRateError;

impl Rate {
    /// `calls` each second, and `burst` at once.
    pub const fn per_second(calls: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            calls,
            period: Period::Second,
            burst,
        }
    }

    /// `calls` each hour, and `burst` at once.
    pub const fn per_hour(calls: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            calls,
            period: Period::Hour,
            burst,
        }
    }

    /// The most calls at once, after a rest.
    pub fn burst(self) -> u32 {
        self.burst.get()
    }

    /// The time in which one more call becomes allowed.
    pub fn interval(self) -> Duration {
        self.period.duration() / self.calls.get()
    }

    /// The time in which an exhausted allowance is whole again.
    pub fn window(self) -> Duration {
        self.interval() * self.burst.get()
    }
}

impl Period {
    fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
        })
    }

    fn letter(self) -> char {
        match self {
            Self::Second => 's',
            Self::Minute => 'm',
            Self::Hour => 'h',
        }
    }
}

impl FromStr for Rate {
    type Err = InvalidRateError;

    fn from_str(text: &str) -> Result<Self, InvalidRateError> {
        let (rate, burst) = text
            .split_once(':')
            .map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let (calls, period) = rate.split_once('/').ok_or(InvalidRateError)?;
        let period = match period {
            "s" => Period::Second,
            "m" => Period::Minute,
            "h" => Period::Hour,
            _ => return Err(InvalidRateError),
        };
        let calls = number(calls)?;
        Ok(Self {
            calls,
            period,
            burst: burst.map_or(Ok(calls), number)?,
        })
    }
}

fn number(text: &str) -> Result<NonZeroU32, InvalidRateError> {
    // Not what `parse` takes besides digits: a plus.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text
        .parse()
        .ok()
        .filter(|number: &NonZeroU32| number.get() <= MAX_CALLS);
    number.filter(|_| digits).ok_or(InvalidRateError)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.calls, self.period.letter(), self.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("10/s", "10/s:10", 100)]
    #[case("10/s:50", "10/s:50", 100)]
    #[case("600/m", "600/m:600", 100)]
    #[case("1/h:3", "1/h:3", 3_600_000)]
    fn a_rate_is_calls_in_a_period_and_at_once(
        #[case] text: &str,
        #[case] whole: &str,
        #[case] interval_ms: u64,
    ) {
        let rate: Rate = text.parse().unwrap();
        assert_eq!(
            (rate.to_string().as_str(), rate.interval()),
            (whole, Duration::from_millis(interval_ms))
        );
    }

    #[rstest]
    fn anything_else_is_no_rate(
        #[values(
            "",
            "10",
            "10/",
            "/s",
            "0/s",
            "10/s:0",
            "10/d",
            "+1/s",
            "-1/s",
            "1.5/s",
            "10/s:",
            "1000001/s",
            "10 /s"
        )]
        text: &str,
    ) {
        assert_eq!(text.parse::<Rate>(), Err(InvalidRateError));
    }
}
