//! How many refusals may be kept: anybody can be refused as often as he likes, and each that is kept is a row.

use edge::{Exhausted, OverRate, Rate, TokenBuckets};
use std::num::NonZeroU32;

/// Refusals that may be kept, of each user and in all, by this process.
#[derive(Debug)]
pub(crate) struct RefusalBudget {
    per_user: TokenBuckets,
    in_all: TokenBuckets,
}

/// Refusals each hour, and as many more at once.
pub(crate) struct RefusalRates {
    per_user: (u32, u32),
    in_all: (u32, u32),
}

/// For refusals that are recorded for auditors, some 600 bytes each, for 30 days: a rush of a million at once, and 16 GB at most.
pub(crate) const RECORDED: RefusalRates = RefusalRates {
    per_user: (60, 1_000),
    in_all: (36_000, 1_000_000),
};
/// For refusals that are stored with an idempotency key, some 1 KB each, for a day: 3.4 GB at most.
pub(crate) const KEYED: RefusalRates = RefusalRates {
    per_user: (60, 100),
    in_all: (100_000, 1_000_000),
};

impl RefusalBudget {
    /// A whole budget.
    pub(crate) fn new(RefusalRates { per_user, in_all }: RefusalRates) -> Self {
        Self {
            per_user: buckets(per_user),
            in_all: buckets(in_all),
        }
    }

    /// One more of `user` is kept.
    ///
    /// # Errors
    /// It may not be.
    pub(crate) fn take(&self, user: &str) -> Result<(), OverRate> {
        let over = |whose, buckets: &TokenBuckets, Exhausted { wait }| OverRate {
            whose,
            rate: buckets.rate(),
            wait,
        };
        self.per_user
            .take(&user)
            .map_err(|exhausted| over("user", &self.per_user, exhausted))?;
        self.in_all
            .take(&())
            .map_err(|exhausted| over("all", &self.in_all, exhausted))
    }
}

fn buckets((hourly, burst): (u32, u32)) -> TokenBuckets {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    TokenBuckets::new(Rate::per_hour(at_least_one(hourly), at_least_one(burst)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: RefusalRates = RefusalRates {
        per_user: (1, 2),
        in_all: (1, 3),
    };

    #[test]
    fn neither_one_user_nor_all_can_have_more_kept_than_is_allowed() {
        let budget = RefusalBudget::new(RATES);
        let taken = |user: &str| (0..5).filter(|_| budget.take(user).is_ok()).count();
        assert_eq!(taken("ann"), 2);
        assert!(budget.take("ann").is_err_and(|over| over.whose == "user"));
        assert_eq!(taken("bob"), 1);
        assert!(budget.take("eve").is_err_and(|over| over.whose == "all"));
    }
}
