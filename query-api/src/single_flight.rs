//! Single flight: readers who want the same wait for the same read. What a reader gets was read after it asked, so nothing is stale, and
//! a thousand waiting readers cost one statement.

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// Reads that run at the same time; further ones gather readers meanwhile.
const MAX_CONCURRENT_READS: usize = 2;
/// Reads that nobody waits for any more are forgotten when there are so many.
const MAX_WAITING_READS: usize = 256;

type Read<V> = BoxFuture<'static, Option<V>>;
type Waiting<K, V> = Mutex<HashMap<K, WeakShared<Read<V>>>>;

/// Shares reads of `V` by key.
pub(crate) struct SingleFlight<K, V: Clone> {
    /// Reads that have not begun; the first of their readers that is polled begins them.
    waiting: Arc<Waiting<K, V>>,
    turns: Arc<Semaphore>,
}

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> SingleFlight<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Arc::default(),
            turns: Arc::new(Semaphore::new(MAX_CONCURRENT_READS)),
        }
    }

    /// What `read` returns for `key`, or another reader's `read` that begins from now on; `None` when it returns nothing.
    pub(crate) async fn get(
        &self,
        key: K,
        read: impl Future<Output = Option<V>> + Send + 'static,
    ) -> Option<V> {
        self.join(key, read).await
    }

    fn join(
        &self,
        key: K,
        read: impl Future<Output = Option<V>> + Send + 'static,
    ) -> Shared<Read<V>> {
        let mut waiting = lock(&self.waiting);
        if let Some(joined) = waiting.get(&key).and_then(WeakShared::upgrade) {
            return joined;
        }
        if waiting.len() >= MAX_WAITING_READS {
            waiting.retain(|_, waiting| waiting.upgrade().is_some());
        }
        let (of_all, turns, own) = (self.waiting.clone(), self.turns.clone(), key.clone());
        let begins = async move {
            let _turn = turns.acquire().await.ok()?;
            // Who asks from now on may not get what is read now.
            lock(&of_all).remove(&own);
            read.await
        };
        let begins = begins.boxed().shared();
        // A future that was never polled to its end can be downgraded.
        waiting.extend(begins.downgrade().map(|begins| (key, begins)));
        begins
    }
}

fn lock<T>(waiting: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was locked left a complete map.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail where it stands")]
mod tests {
    use super::*;
    use futures::future::join_all;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Reads a number that grows with every read, once it is let go.
    fn read(
        count: &Arc<AtomicU32>,
        go: &Arc<Semaphore>,
    ) -> impl Future<Output = Option<u32>> + Send + 'static {
        let (count, go) = (count.clone(), go.clone());
        async move {
            let number = count.fetch_add(1, Ordering::SeqCst);
            go.acquire().await.ok()?.forget();
            Some(number)
        }
    }

    #[tokio::test]
    async fn who_asks_while_reads_run_shares_the_next_one() {
        let (flight, count, go) = (
            SingleFlight::new(),
            Arc::default(),
            Arc::new(Semaphore::new(0)),
        );
        let mut readers = Vec::new();
        for _ in 0..102 {
            let reader = flight.join("page", read(&count, &go));
            // The first two begin at once.
            assert_eq!(reader.clone().now_or_never(), None);
            readers.push(reader);
        }
        assert_eq!(count.load(Ordering::SeqCst), 2);
        go.add_permits(3);
        let answers = join_all(readers).await;
        assert_eq!(answers[..2], [Some(0), Some(1)]);
        assert!(
            answers[2..].iter().all(|answer| *answer == Some(2)),
            "a hundred readers, one read"
        );
    }

    #[tokio::test]
    async fn a_read_that_nobody_waits_for_does_not_hinder_the_next() {
        let (flight, count, go) = (
            SingleFlight::new(),
            Arc::default(),
            Arc::new(Semaphore::new(1)),
        );
        for key in 0..1_000 {
            drop(flight.join(key, read(&count, &go)));
        }
        assert!(lock(&flight.waiting).len() <= MAX_WAITING_READS);
        assert_eq!(flight.get(0, read(&count, &go)).await, Some(0));
        let begun = flight.join(0, read(&count, &go));
        assert_eq!(begun.clone().now_or_never(), None);
        drop(begun);
        go.add_permits(1);
        assert_eq!(flight.get(0, read(&count, &go)).await, Some(2));
    }

    #[tokio::test]
    async fn different_keys_are_read_apart() {
        let flight = SingleFlight::new();
        let (one, two) = tokio::join!(
            flight.get(1, async { Some("one") }),
            flight.get(2, async { None })
        );
        assert_eq!((one, two), (Some("one"), None));
    }
}
