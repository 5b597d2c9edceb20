//! The loop that feeds a stream: while somebody listens it polls how far the read model is, and reads and publishes what has
//! changed, at a pace that costs little however many listen.

use connection_pool::outage::POSTGRESQL;
use sqlx::Result;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::consistency::ReadModel;

/// How often the positions of the read model are polled while somebody listens.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// From one publication to the next at least, so that nobody gets more than five states of a product in a second: the fifth of the
/// interval that is to spare is for what a network delays.
const MIN_PUBLICATION_INTERVAL: Duration = Duration::from_millis(250);
/// Publications are further apart the more listen, so that so many sends to one listener each are made in a second for each core. During
/// a rush a send costs some 30 µs, most of it in the kernel, so all together a fortieth of the machine.
const MAX_SENDS_PER_SECOND_AND_CORE: u32 = 750;
/// A read is followed by a rest of so many times as long: it takes a twentieth of one connection's time.
const REST_PER_READ: u32 = 19;
/// The rest after a read that failed.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What is read and published.
pub(super) trait Feed: Send {
    /// Admits listeners that need something read of their own.
    fn welcome(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Whether something has changed without an event.
    fn is_due(&self) -> bool {
        false
    }

    /// To how many of those who listen a publication of so many items is sent.
    fn sends(&self, _items: usize, listeners: u32) -> u32 {
        listeners
    }

    /// Reads what has changed and publishes it.
    fn publish(&mut self) -> impl Future<Output = Result<Published>> + Send;
}

/// What was published.
pub(super) struct Published {
    /// The read model's positions: everything up to there is published.
    pub(super) positions: Vec<i64>,
    /// How many items had changed.
    pub(super) items: usize,
}

/// Who listens to a stream, and how far it is published.
#[derive(Clone)]
pub(super) struct Audience {
    name: &'static str,
    listeners: watch::Sender<u32>,
    /// `None` while nobody reads what changes.
    published: watch::Sender<Option<Arc<[i64]>>>,
}

/// One of those who listen, until it is dropped.
pub(super) struct Listening(Audience);

impl Audience {
    pub(super) fn new(name: &'static str) -> Self {
        let audience = Self {
            name,
            listeners: watch::Sender::new(0),
            published: watch::Sender::new(None),
        };
        // So that the gauge is there before anybody listens.
        audience.count(|_| ());
        audience
    }

    /// One more listens: from now on the stream is fed.
    pub(super) fn join(&self) -> Listening {
        self.count(|listeners| *listeners += 1);
        Listening(self.clone())
    }

    /// The positions up to which everything is published.
    pub(super) fn published(&self) -> watch::Receiver<Option<Arc<[i64]>>> {
        self.published.subscribe()
    }

    fn count(&self, change: impl FnOnce(&mut u32)) {
        self.listeners.send_modify(change);
        metrics::gauge!("moa_stream_listeners", "stream" => self.name)
            .set(f64::from(*self.listeners.borrow()));
    }

    /// Feeds the stream for ever, with a feed of `start` whenever somebody listens again.
    pub(super) async fn feed<F: Feed>(self, model: Arc<ReadModel>, start: impl Fn() -> F) {
        let (mut listeners, mut feed) = (self.listeners.subscribe(), start());
        let mut is_failing = false;
        while listeners.wait_for(|listeners| *listeners > 0).await.is_ok() {
            let Err(error) = self
                .feed_listeners(&model, &mut feed, &mut is_failing)
                .await
            else {
                continue;
            };
            if !POSTGRESQL.explains_failures() && !std::mem::replace(&mut is_failing, true) {
                tracing::warn!(%error, stream = self.name, "a stream is not fed; it is tried again");
            }
            metrics::counter!("moa_stream_faults_total", "stream" => self.name).increment(1);
            // After a fault the database may be another state of itself: everything is read and compared.
            feed = start();
            self.published.send_replace(None);
            sleep(RETRY_DELAY).await;
        }
    }

    /// Until nobody listens, or something fails.
    async fn feed_listeners(
        &self,
        model: &ReadModel,
        feed: &mut impl Feed,
        is_failing: &mut bool,
    ) -> Result<()> {
        let mut next_read = Instant::now();
        while *self.listeners.borrow() > 0 {
            feed.welcome().await?;
            if Instant::now() >= next_read && self.has_changed(model, feed).await? {
                let began = Instant::now();
                let published = feed.publish().await?;
                let sends = feed.sends(published.items, *self.listeners.borrow());
                next_read =
                    Instant::now() + self.rest_after(began.elapsed(), published.items, sends);
                self.published
                    .send_replace(Some(published.positions.into()));
                *is_failing = false;
            }
            sleep(POLL_INTERVAL).await;
        }
        self.published.send_replace(None);
        Ok(())
    }

    async fn has_changed(&self, model: &ReadModel, feed: &impl Feed) -> Result<bool> {
        let positions = model.poll().await?;
        let is_published = self
            .published
            .borrow()
            .as_ref()
            .is_some_and(|published| **published == *positions);
        Ok(!is_published || feed.is_due())
    }

    fn rest_after(&self, read: Duration, items: usize, sends: u32) -> Duration {
        if items == 0 {
            return read * REST_PER_READ;
        }
        metrics::counter!("moa_stream_publications_total", "stream" => self.name).increment(1);
        let sending = Duration::from_secs(1) * sends / (MAX_SENDS_PER_SECOND_AND_CORE * cores());
        MIN_PUBLICATION_INTERVAL
            .max(sending)
            .max(read * REST_PER_READ)
    }
}

fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1))
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.count(|listeners| *listeners -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_further_apart_the_more_listen_and_the_longer_a_read_takes() {
        let audience = Audience::new("test");
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(100));
        let one = audience.join();
        assert_eq!(audience.rest_after(short, 1, 1), MIN_PUBLICATION_INTERVAL);
        assert_eq!(audience.rest_after(short, 0, 1), short * REST_PER_READ);
        assert_eq!(audience.rest_after(long, 1, 1), long * REST_PER_READ);
        let sends = 3 * MAX_SENDS_PER_SECOND_AND_CORE * cores();
        assert_eq!(audience.rest_after(short, 1, sends), Duration::from_secs(3));
        drop(one);
        assert_eq!(*audience.listeners.borrow(), 0);
    }
}
