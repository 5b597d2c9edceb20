//! How long settlement waits for a provider over HTTP, and when it tries again.

use chrono::TimeDelta;
use domain::InvestId;
use std::time::Duration;

/// Steps of the jitter that keeps invests from coming back all at once.
const JITTER_STEPS: u32 = 1_024;

/// All time-outs and pauses. [`Timeouts::DEFAULT`] has the usual ones; only tests shorten them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    /// For a connection: after that nothing was sent.
    pub connect: Duration,
    /// For a whole answer; and, before that, for a free slot.
    pub call: Duration,
    /// For a pending payment to be decided.
    pub pending: Duration,
    /// Before a pending payment is queried for the first time; doubles each time.
    pub poll: Duration,
    /// Between two queries at most.
    pub max_poll: Duration,
    /// For a claim: longer than a payment takes, unless it was pending to the end at a crowded provider. Then another process may
    /// claim it and ask as well, and the provider gives the same answer.
    pub visibility: Duration,
    /// Before an invest without an answer is claimed again; doubles with each attempt.
    pub retry: Duration,
    /// Before it is claimed again at most.
    pub max_retry: Duration,
    /// Without an answer for so long, and after different payments without one, the circuit opens. While it is open, also the pause
    /// between two probes: for first calls always this one, for payments in trouble doubling each time.
    pub open: Duration,
    /// Between two probes for payments in trouble at most.
    pub max_open: Duration,
    /// Between two probes for first calls while the provider answers, but with errors.
    pub open_failing: Duration,
}

impl Timeouts {
    pub(super) const DEFAULT: Self = Self {
        connect: Duration::from_secs(1),
        call: Duration::from_secs(3),
        pending: Duration::from_secs(6),
        poll: Duration::from_millis(100),
        max_poll: Duration::from_secs(1),
        visibility: Duration::from_secs(15),
        retry: Duration::from_millis(500),
        max_retry: Duration::from_secs(30),
        open: Duration::from_secs(1),
        max_open: Duration::from_secs(30),
        open_failing: Duration::from_millis(50),
    };

    /// Every one of them so many times shorter.
    pub(super) fn scaled_down(self, times: u32) -> Self {
        let shorter = |wait: Duration| wait / times.max(1);
        Self {
            connect: shorter(self.connect),
            call: shorter(self.call),
            pending: shorter(self.pending),
            poll: shorter(self.poll),
            max_poll: shorter(self.max_poll),
            visibility: shorter(self.visibility),
            retry: shorter(self.retry),
            max_retry: shorter(self.max_retry),
            open: shorter(self.open),
            max_open: shorter(self.max_open),
            open_failing: shorter(self.open_failing),
        }
    }

    pub(super) fn visibility_timeout(&self) -> TimeDelta {
        TimeDelta::from_std(self.visibility).unwrap_or(TimeDelta::MAX)
    }

    /// The pause before an invest that was claimed `attempts` times is claimed again: half of the backoff and, by its id, up to all
    /// of it.
    pub(super) fn retry_delay(&self, attempts: i32, invest_id: InvestId) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.unsigned_abs());
        let most = self.retry.saturating_mul(doubled).min(self.max_retry);
        // The low bits of a uuid v7 are random.
        let step = (invest_id.0.as_u128() % u128::from(JITTER_STEPS)) as u32;
        most / 2 + most * step / (2 * JITTER_STEPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use uuid::Uuid;

    #[rstest]
    #[case(0, 0, 250)]
    #[case(0, 1_023, 499)]
    #[case(1, 512, 750)]
    #[case(3, 0, 2_000)]
    #[case(6, 0, 15_000)]
    #[case(6, 1_023, 29_985)]
    #[case(i32::MAX, 0, 15_000)]
    fn an_invest_comes_back_later_each_time(
        #[case] attempts: i32,
        #[case] id: u128,
        #[case] milliseconds: u128,
    ) {
        let invest_id = InvestId(Uuid::from_u128(id));
        assert_eq!(
            Timeouts::DEFAULT
                .retry_delay(attempts, invest_id)
                .as_millis(),
            milliseconds
        );
    }
}
