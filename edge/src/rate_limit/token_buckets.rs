//! A token bucket for each of very many callers, in bounded memory.
//!
//! The generic cell rate algorithm (ITU-T I.371): of a bucket only the time is kept at which it is full again. One that is full is
//! forgotten where room is needed.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use super::Rate;

/// Locks that the buckets are spread over: callers on all cores seldom meet.
const SHARDS: usize = 16;
/// Buckets that are not full, some 32 bytes each. Past it newcomers are not limited: whoever makes up so many names is limited by
/// the address, and many addresses by what all may do together.
const MAX_BUCKETS: usize = 1_000_000;
/// How often a part that has no room is searched for buckets that are full again.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Buckets of one rate, by whatever is counted together.
#[derive(Debug)]
pub struct TokenBuckets {
    rate: Rate,
    max_per_shard: usize,
    /// Callers choose their names, but not which of them share a bucket.
    hasher: RandomState,
    started: Instant,
    shards: [Mutex<Shard>; SHARDS],
}

/// The bucket is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// How long until it has a token.
    pub wait: Duration,
}

/// Times since the start.
#[derive(Debug, Default)]
struct Shard {
    full_at: HashMap<u64, Duration>,
    swept_at: Duration,
}

impl TokenBuckets {
    /// Full buckets.
    pub fn new(rate: Rate) -> Self {
        Self::bounded(rate, MAX_BUCKETS)
    }

    fn bounded(rate: Rate, max_buckets: usize) -> Self {
        let (hasher, started) = (RandomState::new(), Instant::now());
        Self {
            rate,
            max_per_shard: max_buckets.div_ceil(SHARDS),
            hasher,
            started,
            shards: Default::default(),
        }
    }

    /// How fast they fill, and how much they hold.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes a token from the bucket of `key`.
    ///
    /// # Errors
    /// It is empty.
    pub fn take(&self, key: &impl Hash) -> Result<(), Exhausted> {
        let (hash, now) = (self.hasher.hash_one(key), self.started.elapsed());
        let mut shard = self.shard(hash);
        let full_at = self.next(&shard, hash, now)?;
        shard.keep(hash, full_at, now, self.max_per_shard);
        Ok(())
    }

    /// Whether the bucket of `key` has a token, which stays in it.
    ///
    /// # Errors
    /// It is empty.
    pub fn peek(&self, key: &impl Hash) -> Result<(), Exhausted> {
        let hash = self.hasher.hash_one(key);
        self.next(&self.shard(hash), hash, self.started.elapsed())
            .map(|_| ())
    }

    /// When the bucket would be full again after one more token is taken.
    fn next(&self, shard: &Shard, hash: u64, now: Duration) -> Result<Duration, Exhausted> {
        let full_at = shard
            .full_at
            .get(&hash)
            .map_or(now, |full_at| now.max(*full_at))
            + self.rate.interval();
        match full_at.checked_sub(now + self.rate.window()) {
            None | Some(Duration::ZERO) => Ok(full_at),
            Some(wait) => Err(Exhausted { wait }),
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        self.shards[index]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn keep(&mut self, hash: u64, full_at: Duration, now: Duration, most: usize) {
        if self.full_at.len() >= most && now.saturating_sub(self.swept_at) >= SWEEP_INTERVAL {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.swept_at = now;
        }
        if self.full_at.len() < most || self.full_at.contains_key(&hash) {
            self.full_at.insert(hash, full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn buckets(rate: &str, max: usize) -> TokenBuckets {
        TokenBuckets::bounded(rate.parse().unwrap(), max)
    }

    fn taken(buckets: &TokenBuckets, key: &str, tries: usize) -> usize {
        (0..tries).filter(|_| buckets.take(&key).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_bucket_gives_its_burst_and_then_its_rate() {
        let buckets = buckets("10/s:3", MAX_BUCKETS);
        assert_eq!(taken(&buckets, "ann", 5), 3);
        assert_eq!(
            buckets.take(&"ann"),
            Err(Exhausted {
                wait: Duration::from_millis(100)
            })
        );
        assert_eq!(
            taken(&buckets, "bob", 5),
            3,
            "others have buckets of their own"
        );
        advance(Duration::from_millis(99)).await;
        assert_eq!(
            buckets.take(&"ann"),
            Err(Exhausted {
                wait: Duration::from_millis(1)
            })
        );
        advance(Duration::from_millis(1)).await;
        assert_eq!(taken(&buckets, "ann", 5), 1);
        advance(Duration::from_secs(60)).await;
        assert_eq!(
            taken(&buckets, "ann", 5),
            3,
            "it holds no more than its burst"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_looks_takes_nothing() {
        let buckets = buckets("1/m:1", MAX_BUCKETS);
        assert_eq!(
            [
                buckets.peek(&"ann"),
                buckets.peek(&"ann"),
                buckets.take(&"ann")
            ],
            [Ok(()); 3]
        );
        assert_eq!(
            buckets.peek(&"ann"),
            Err(Exhausted {
                wait: Duration::from_secs(60)
            })
        );
    }

    #[tokio::test(start_paused = true)]
    async fn made_up_names_take_no_more_memory_than_is_allowed() {
        let buckets = buckets("1/s:1", 32);
        let kept = || {
            buckets
                .shards
                .iter()
                .map(|shard| shard.lock().unwrap().full_at.len())
                .sum::<usize>()
        };
        (0..10_000).for_each(|name| assert_eq!(buckets.take(&name), Ok(())));
        assert_eq!(kept(), 32);
        advance(Duration::from_secs(2)).await;
        (0..10_000).for_each(|name| assert_eq!(buckets.take(&name), Ok(())));
        assert_eq!(kept(), 32, "those that are full again have made room");
        let limited = (0..10_000)
            .filter(|name| buckets.take(name).is_err())
            .count();
        assert_eq!(
            limited, 32,
            "who was there before the memory was full stays limited"
        );
    }
}
