//! What users read of their own gets a bounded share of the connections, and each user a smaller one (bulkheads): so no user keeps
//! the others waiting, and all of them together never keep the products.
//!
//! Who finds no turn waits for one, in order, for a bounded time. It is not refused at once: a client that asks again without a pause
//! is slowed down by its own waiting, and costs nothing meanwhile.

use edge::Problem;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Statements of one user that run at the same time.
const MAX_READS_PER_USER: usize = 2;
/// How long a read waits for its turn: longer than a statement takes whose connection fell silent and which is tried on another, so that
/// nobody is refused for that.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(4);

/// The turns of all users.
pub(crate) struct UserReads {
    users: Users,
    of_all: Semaphore,
}

/// A read's turn, until it is dropped.
pub(crate) struct Turn<'a> {
    _of_user: UserTurn,
    _of_all: SemaphorePermit<'a>,
}

/// A user's turn, until it is dropped.
pub(crate) struct UserTurn {
    _permit: OwnedSemaphorePermit,
    _present: Present,
}

/// Those who read or wait, with how many times each does. Who does neither takes no memory.
type Users = Arc<Mutex<HashMap<String, (Arc<Semaphore>, usize)>>>;

/// A user's entry, as long as there is a read of theirs.
struct Present {
    users: Users,
    user_id: String,
    turns: Arc<Semaphore>,
}

impl UserReads {
    /// Two thirds of so many connections are for what users read of their own.
    pub(crate) fn within(connections: u32) -> Self {
        let connections = usize::try_from(connections).unwrap_or(usize::MAX);
        Self {
            users: Users::default(),
            of_all: Semaphore::new((connections * 2 / 3).max(1)),
        }
    }

    /// A turn to run one statement for the user. A user who has too many waits and is refused with [`Problem::RateLimited`]; where all
    /// together have too many it is [`Problem::Overloaded`].
    pub(crate) async fn turn(&self, user_id: &str) -> Result<Turn<'_>, Problem> {
        let end = Instant::now() + TURN_TIMEOUT;
        Ok(Turn {
            _of_user: self.turn_of_user(user_id, end).await?,
            _of_all: self.turn_of_all(end).await?,
        })
    }

    /// A turn among the user's own reads, where a statement is shared by several users.
    pub(crate) async fn turn_of_user(
        &self,
        user_id: &str,
        end: Instant,
    ) -> Result<UserTurn, Problem> {
        let present = Present::new(&self.users, user_id);
        match timeout_at(end, present.turns.clone().acquire_owned()).await {
            Ok(Ok(_permit)) => Ok(UserTurn {
                _permit,
                _present: present,
            }),
            _ => Err(refused("user", Problem::RateLimited)),
        }
    }

    /// A turn to run one statement that several users share, whenever it comes. The semaphore is never closed.
    pub(crate) async fn next_turn_of_all(&self) -> Option<SemaphorePermit<'_>> {
        self.of_all.acquire().await.ok()
    }

    /// A turn among the statements of all users.
    pub(crate) async fn turn_of_all(&self, end: Instant) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout_at(end, self.of_all.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(refused("all", Problem::Overloaded)),
        }
    }
}

impl Present {
    fn new(users: &Users, user_id: &str) -> Self {
        let mut all = lock(users);
        let (turns, count) = all
            .entry(user_id.to_owned())
            .or_insert_with(|| (Arc::new(Semaphore::new(MAX_READS_PER_USER)), 0));
        *count += 1;
        Self {
            users: users.clone(),
            user_id: user_id.to_owned(),
            turns: turns.clone(),
        }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        let mut all = lock(&self.users);
        if let Some((_, count)) = all.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.user_id);
            }
        }
    }
}

fn lock<T>(users: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was locked left a complete map.
    users.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a read that waited for its turn in vain.
pub(crate) fn refused(whose: &'static str, problem: Problem) -> Problem {
    metrics::counter!("moa_user_reads_refused_total", "limit" => whose).increment(1);
    problem
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    /// Six connections: four turns for all.
    fn reads() -> UserReads {
        UserReads::within(6)
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_has_two_turns_and_waits_for_more_in_vain() {
        let reads = reads();
        let held = [
            reads.turn("ann").await.unwrap(),
            reads.turn("ann").await.unwrap(),
        ];
        assert!(matches!(
            reads.turn("ann").await.err(),
            Some(Problem::RateLimited)
        ));
        assert!(
            reads
                .turn("bob")
                .now_or_never()
                .is_some_and(|turn| turn.is_ok()),
            "others have turns of their own"
        );
        let waiting = reads.turn("ann");
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().is_some_and(|turn| turn.is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_have_two_thirds() {
        let reads = reads();
        let held = [
            reads.turn("a").await,
            reads.turn("a").await,
            reads.turn("b").await,
            reads.turn("c").await,
        ];
        assert!(held.iter().all(Result::is_ok));
        assert!(matches!(
            reads.turn("d").await.err(),
            Some(Problem::Overloaded)
        ));
        drop(held);
        assert!(
            reads
                .turn("d")
                .now_or_never()
                .is_some_and(|turn| turn.is_ok())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_neither_reads_nor_waits_takes_no_memory() {
        let reads = reads();
        let held = [
            reads.turn("ann").await.unwrap(),
            reads.turn("ann").await.unwrap(),
        ];
        let waits = reads.turn("ann").now_or_never();
        assert!(waits.is_none());
        assert_eq!(
            lock(&reads.users)["ann"].1,
            2,
            "who has left does not count"
        );
        assert!(reads.turn("ann").await.is_err());
        drop(held);
        assert!(lock(&reads.users).is_empty());
    }
}
