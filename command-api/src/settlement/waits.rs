//! How long settlement waits for a provider over HTTP, and when it tries again.

use chrono::TimeDelta;
use domain::InvestId;
use std::time::Duration;

/// Steps of the jitter that keeps invests from coming back all at once.
const JITTER_STEPS: u32 = 1_024;

/// Every wait there is. The usual ones stand in [`Waits::USUAL`]; only tests shorten them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    /// For a connection: past that nothing was sent.
    pub connect: Duration,
    /// For the whole of an answer; and, before that, for a call's turn.
    pub call: Duration,
    /// For a pending payment to be decided.
    pub pending: Duration,
    /// Before a pending payment is looked at for the first time; doubles each time.
    pub look: Duration,
    /// The most between two looks.
    pub look_most: Duration,
    /// Longer than a payment takes, unless it was pending to the very end at a crowded provider. Then another may take
    /// it meanwhile and ask as well, which the provider answers alike.
    pub taken: Duration,
    /// Before an invest that came to nothing is taken again; doubles with each attempt.
    pub again: Duration,
    /// The most before it is taken again.
    pub again_most: Duration,
    /// Without an answer for so long, and after different payments without one, the circuit opens. From one probe to the
    /// next while it is open: for first calls always this, for payments in trouble doubling each time.
    pub open: Duration,
    /// The most between two probes for payments in trouble.
    pub open_most: Duration,
    /// From one probe for a first call to the next while the provider is there, and only fails.
    pub open_failing: Duration,
}

impl Waits {
    pub(super) const USUAL: Self = Self {
        connect: Duration::from_secs(1),
        call: Duration::from_secs(3),
        pending: Duration::from_secs(6),
        look: Duration::from_millis(100),
        look_most: Duration::from_secs(1),
        taken: Duration::from_secs(15),
        again: Duration::from_millis(500),
        again_most: Duration::from_secs(30),
        open: Duration::from_secs(1),
        open_most: Duration::from_secs(30),
        open_failing: Duration::from_millis(50),
    };

    /// Every wait that many times shorter.
    pub(super) fn in_haste(self, times: u32) -> Self {
        let shorter = |wait: Duration| wait / times.max(1);
        Self {
            connect: shorter(self.connect),
            call: shorter(self.call),
            pending: shorter(self.pending),
            look: shorter(self.look),
            look_most: shorter(self.look_most),
            taken: shorter(self.taken),
            again: shorter(self.again),
            again_most: shorter(self.again_most),
            open: shorter(self.open),
            open_most: shorter(self.open_most),
            open_failing: shorter(self.open_failing),
        }
    }

    pub(super) fn taken_for(&self) -> TimeDelta {
        TimeDelta::from_std(self.taken).unwrap_or(TimeDelta::MAX)
    }

    /// When to try an invest again that was taken `attempts` times: half of the backoff, and by its id, up to all of it.
    pub(super) fn before_again(&self, attempts: i32, invest_id: InvestId) -> Duration {
        let doubled = 2_u32.saturating_pow(attempts.unsigned_abs());
        let most = self.again.saturating_mul(doubled).min(self.again_most);
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
    fn an_invest_comes_back_later_each_time(#[case] attempts: i32, #[case] id: u128, #[case] milliseconds: u128) {
        let invest_id = InvestId(Uuid::from_u128(id));
        assert_eq!(Waits::USUAL.before_again(attempts, invest_id).as_millis(), milliseconds);
    }
}
