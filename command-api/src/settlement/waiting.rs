//! Reservations that wait for their first call, and whose turn is next.
//!
//! The newest and the oldest have every second turn each. So a lone new reservation is called at once, however many wait
//! that came to nothing; and one that has waited long is not put off by those who come.

use super::Due;
use chrono::{DateTime, Utc};
use std::collections::VecDeque;

/// How many may wait that were handed over; the rest waits in the channel.
const MAX_HANDED_OVER: usize = 8_192;
/// How many may wait that were taken from the list. Where the provider is too slow for so many, those that are due for
/// another before their turn comes are taken again.
pub(super) const MAX_TAKEN: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// In the order in which they were reserved.
    handed_over: VecDeque<Due>,
    /// All older than those, mostly: they were handed over to somebody once.
    taken: VecDeque<Due>,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Turn {
    #[default]
    Newest,
    Oldest,
}

impl Waiting {
    /// How many may be handed over now.
    pub(super) fn room(&self) -> usize {
        MAX_HANDED_OVER.saturating_sub(self.handed_over.len())
    }

    pub(super) fn handed_over(&mut self, new: impl IntoIterator<Item = Due>) {
        self.handed_over.extend(new);
    }

    pub(super) fn taken(&mut self, due: Due) {
        self.taken.push_back(due);
    }

    /// How many wait that were taken from the list.
    pub(super) fn taken_count(&self) -> usize {
        self.taken.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.handed_over.is_empty() && self.taken.is_empty()
    }

    pub(super) fn turn(&self) -> Turn {
        self.turn
    }

    /// Somebody else had this turn.
    pub(super) fn pass_turn(&mut self) {
        self.turn = match self.turn {
            Turn::Newest => Turn::Oldest,
            Turn::Oldest => Turn::Newest,
        };
    }

    /// Whose turn is next; who waited so long that another may have taken it by `now` is left to that one.
    pub(super) fn next(&mut self, now: DateTime<Utc>) -> Option<Due> {
        self.forget_overdue(now);
        let next = match self.turn {
            Turn::Newest => self.handed_over.pop_back().or_else(|| self.taken.pop_front()),
            Turn::Oldest => self.taken.pop_front().or_else(|| self.handed_over.pop_front()),
        }?;
        self.pass_turn();
        Some(next)
    }

    pub(super) fn forget_overdue(&mut self, now: DateTime<Utc>) {
        for waiting in [&mut self.handed_over, &mut self.taken] {
            while waiting.front().is_some_and(|due| due.taken_until <= now) {
                waiting.pop_front();
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

    /// Of those that were handed over at these seconds, and taken from the list at those.
    fn waiting(handed_over: &[i64], taken: &[i64]) -> Waiting {
        let at = |second: &i64| due(*second as u128, START + TimeDelta::seconds(15 + second));
        let mut waiting = Waiting::default();
        waiting.handed_over(handed_over.iter().map(at));
        taken.iter().map(at).for_each(|due| waiting.taken(due));
        waiting
    }

    fn order(mut waiting: Waiting, now: i64) -> Vec<u128> {
        let next = || waiting.next(START + TimeDelta::seconds(now));
        std::iter::from_fn(next).map(|due| due.invest_id.0.as_u128()).collect()
    }

    #[test]
    fn the_newest_and_the_oldest_take_turns() {
        assert_eq!(order(waiting(&[10, 11, 12, 13], &[1, 2, 3]), 14), [13, 1, 12, 2, 11, 3, 10]);
        assert_eq!(order(waiting(&[10, 11, 12, 13], &[]), 14), [13, 10, 12, 11]);
        assert_eq!(order(waiting(&[], &[1, 2, 3]), 14), [1, 2, 3]);
    }

    #[test]
    fn who_is_due_for_another_is_left_to_that_one() {
        assert_eq!(order(waiting(&[10, 11], &[1, 2]), 16), [11, 2, 10]);
        assert_eq!(order(waiting(&[10, 11], &[1, 2]), 26), [0; 0]);
    }
}
