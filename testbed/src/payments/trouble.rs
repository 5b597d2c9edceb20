//! What may go wrong with a call.

use std::collections::HashMap;
use std::time::Duration;

use super::Call;
use crate::Random;

/// What may go wrong with a call. What is done is done even if the caller is gone by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Neither done nor answered.
    Silent,
    /// Done, and never answered.
    DoneAndSilent,
    /// Not done, and the connection closed.
    Dropped,
    /// Done, and the connection closed.
    DoneAndDropped,
    /// Not done before that time is over, and answered then.
    Late(Duration),
    /// Not done: status 500.
    Fails,
    /// Done: status 500 all the same.
    DoneAndFails,
    /// Not done: sent elsewhere, to a page that says all is well.
    Moved,
    /// Done: the body is no JSON.
    DoneAndGarbled,
    /// Done: the body ends half way.
    DoneAndCut,
    /// Done: the body never ends.
    DoneAndEndless,
    /// Done: the answer names another payment.
    DoneForAnother,
    /// Done: the status says that it is not decided, whatever the body says.
    DoneAndContradicted,
}

impl Trouble {
    /// Those that a share of the calls meets.
    const SOME: [Self; 9] = [
        Self::Silent,
        Self::DoneAndSilent,
        Self::DoneAndDropped,
        Self::Fails,
        Self::DoneAndFails,
        Self::Moved,
        Self::DoneAndGarbled,
        Self::DoneAndCut,
        Self::DoneForAnother,
    ];

    /// Whether the call has its effect.
    pub fn is_done(self) -> bool {
        !matches!(
            self,
            Self::Silent | Self::Dropped | Self::Fails | Self::Moved
        )
    }
}

#[derive(Debug, Default)]
pub(super) struct Troubles {
    pub delay: Duration,
    pub of: HashMap<Call, Trouble>,
    /// Of every call about a payment of this user's.
    pub of_user: HashMap<String, Trouble>,
    pub percent: u64,
}

impl Troubles {
    /// What the `nth` call meets, about a payment of this user's.
    pub(super) fn met(&self, call: Call, user: Option<&str>, nth: usize) -> Option<Trouble> {
        if let Some(trouble) = user.and_then(|user| self.of_user.get(user)) {
            return Some(*trouble);
        }
        let drawn = Random::new(nth as u64).next_u64();
        let some = Trouble::SOME[(drawn / 100 % Trouble::SOME.len() as u64) as usize];
        self.of
            .get(&call)
            .copied()
            .or_else(|| (drawn % 100 < self.percent).then_some(some))
    }
}
