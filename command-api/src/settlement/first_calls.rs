//! The queue of reservations that wait for their first call.
//!
//! It picks the newest and the oldest in turn. So a lone new reservation is called at once, however many wait, and one that has waited
//! long is not overtaken for ever.

use super::OpenInvestTask;
use chrono::{DateTime, Utc};
use std::collections::VecDeque;

/// Reservations of the fast path in the queue; the rest waits in the channel.
const MAX_NEW_WAITING: usize = 8_192;
/// Reservations in the queue that were claimed from the list. When the provider is too slow for them, their claims end, and they are
/// claimed again.
pub(super) const MAX_CLAIMED_WAITING: usize = 256;

#[derive(Debug, Default)]
pub(super) struct FirstCalls {
    /// In the order in which they were reserved.
    new: VecDeque<OpenInvestTask>,
    /// Mostly older than those: they have been sent over a fast path once.
    claimed: VecDeque<OpenInvestTask>,
    pick: Pick,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pick {
    #[default]
    Newest,
    Oldest,
}

impl FirstCalls {
    /// How many more of the fast path it takes.
    pub(super) fn free_slots(&self) -> usize {
        MAX_NEW_WAITING.saturating_sub(self.new.len())
    }

    pub(super) fn push_new(&mut self, new: impl IntoIterator<Item = OpenInvestTask>) {
        self.new.extend(new);
    }

    pub(super) fn push_claimed(&mut self, due: OpenInvestTask) {
        self.claimed.push_back(due);
    }

    /// How many were claimed from the list.
    pub(super) fn claimed_count(&self) -> usize {
        self.claimed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.new.is_empty() && self.claimed.is_empty()
    }

    pub(super) fn pick(&self) -> Pick {
        self.pick
    }

    /// Counts a probe for a payment in trouble as this pick.
    pub(super) fn pass_pick(&mut self) {
        self.pick = match self.pick {
            Pick::Newest => Pick::Oldest,
            Pick::Oldest => Pick::Newest,
        };
    }

    /// The next reservation; one whose claim has ended by `now` is left to another process.
    pub(super) fn next(&mut self, now: DateTime<Utc>) -> Option<OpenInvestTask> {
        self.forget_overdue(now);
        let next = match self.pick {
            Pick::Newest => self.new.pop_back().or_else(|| self.claimed.pop_front()),
            Pick::Oldest => self.claimed.pop_front().or_else(|| self.new.pop_front()),
        }?;
        self.pass_pick();
        Some(next)
    }

    pub(super) fn forget_overdue(&mut self, now: DateTime<Utc>) {
        for queue in [&mut self.new, &mut self.claimed] {
            while queue.front().is_some_and(|due| due.claimed_until <= now) {
                queue.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settlement::tests::due;
    use chrono::TimeDelta;

    const START: DateTime<Utc> = DateTime::UNIX_EPOCH;

    /// With reservations of the fast path at these seconds, and ones claimed from the list at those.
    fn queue(new: &[i64], claimed: &[i64]) -> FirstCalls {
        let at = |second: &i64| due(*second as u128, START + TimeDelta::seconds(15 + second));
        let mut queue = FirstCalls::default();
        queue.push_new(new.iter().map(at));
        claimed
            .iter()
            .map(at)
            .for_each(|due| queue.push_claimed(due));
        queue
    }

    fn order(mut queue: FirstCalls, now: i64) -> Vec<u128> {
        let next = || queue.next(START + TimeDelta::seconds(now));
        std::iter::from_fn(next)
            .map(|due| due.invest_id.0.as_u128())
            .collect()
    }

    #[test]
    fn the_newest_and_the_oldest_take_turns() {
        assert_eq!(
            order(queue(&[10, 11, 12, 13], &[1, 2, 3]), 14),
            [13, 1, 12, 2, 11, 3, 10]
        );
        assert_eq!(order(queue(&[10, 11, 12, 13], &[]), 14), [13, 10, 12, 11]);
        assert_eq!(order(queue(&[], &[1, 2, 3]), 14), [1, 2, 3]);
    }

    #[test]
    fn who_is_due_for_another_is_left_to_that_one() {
        assert_eq!(order(queue(&[10, 11], &[1, 2]), 16), [11, 2, 10]);
        assert_eq!(order(queue(&[10, 11], &[1, 2]), 26), [0; 0]);
    }
}
