//! Who asks.

/// One in so many requests is by a user who has asked before: 1 %.
const REQUESTS_PER_REPEAT: u64 = 100;

/// Spreads neighbours far apart. Prime, so that every user comes once before any comes again.
const STEP: u64 = 2_147_483_647;

/// The users `user1` to `userN`, each of whom asks once, but for the repeaters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Users {
    /// How many there are. A load with more requests begins again with the first.
    pub(crate) count: u64,
    /// Whose turn it is first: loads in a row on one log begin at different places.
    pub(crate) first: u64,
}

impl Users {
    /// The number of the user who sends a request, from 1.
    pub(crate) fn of(self, ticket: u64) -> u64 {
        // Of a repeater: the middle one of a hundred, about half as long ago as the load has gone on.
        let middle =
            ticket / (2 * REQUESTS_PER_REPEAT) * REQUESTS_PER_REPEAT + REQUESTS_PER_REPEAT / 2;
        let first_of_its_user = if Self::repeats(ticket) {
            middle
        } else {
            ticket
        };
        first_of_its_user.wrapping_add(self.first) % self.count * STEP % self.count + 1
    }

    /// How many different users send the first requests of a load.
    pub(crate) fn distinct(self, requests: u64) -> u64 {
        (requests - requests / REQUESTS_PER_REPEAT).min(self.count)
    }

    fn repeats(ticket: u64) -> bool {
        ticket % REQUESTS_PER_REPEAT == REQUESTS_PER_REPEAT - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn one_in_a_hundred_requests_is_by_a_user_who_has_asked_before() {
        let users = Users {
            count: 1_000_000,
            first: 0,
        };
        let asked: HashSet<_> = (0..50_000).map(|ticket| users.of(ticket)).collect();
        assert_eq!(asked.len(), 49_500);
        assert_eq!(users.distinct(50_000), 49_500);
        assert!(asked.iter().all(|user| (1..=1_000_000).contains(user)));
    }

    #[test]
    fn all_users_come_before_one_comes_again() {
        let users = Users {
            count: 7_000,
            first: 77,
        };
        let asked: HashSet<_> = (0..7_000)
            .filter(|ticket| !Users::repeats(*ticket))
            .map(|ticket| users.of(ticket))
            .collect();
        assert_eq!(asked.len(), 6_930);
    }
}
