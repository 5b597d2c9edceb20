//! What this process has validated lately. Every consumer of a process gets every message: the first decodes it and verifies it
//! against the log, and the others take its events.

use event_log::{Partition, RecordedEvent};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// Messages that are remembered, for consumers that lag behind others by a second under load; the relay's have
/// about 256 KiB and 500 events at most.
const MAX_REMEMBERED_MESSAGES: usize = 64;

/// A longer body is validated by each consumer for itself: it is not the relay's, and 64 of the longest would fill the memory.
const MAX_REMEMBERED_BODY_BYTES: usize = 512 * 1024;

/// The events of one valid message.
pub(crate) type ValidEvents = Arc<[RecordedEvent]>;

/// The valid messages of a process; the newest last.
#[derive(Default)]
pub(crate) struct ValidatedMessages {
    recent: Mutex<VecDeque<Arc<Message>>>,
}

struct Message {
    /// The partition that it is valid for.
    partition: Partition,
    body: Box<[u8]>,
    events: OnceCell<ValidEvents>,
}

impl ValidatedMessages {
    /// The events of a message with this body. `validate` makes them, unless it did so before; when it fails, the next caller tries
    /// again. Who asks while it runs waits for it.
    ///
    /// That the log had these events once does not mean that it still has them: a consumer's step looks for the last one.
    pub(crate) async fn get_or_validate<E>(
        &self,
        partition: Partition,
        body: &[u8],
        validate: impl Future<Output = Result<ValidEvents, E>>,
    ) -> Result<ValidEvents, E> {
        if body.len() > MAX_REMEMBERED_BODY_BYTES {
            return validate.await;
        }
        let message = self.message(partition, body);
        message.events.get_or_try_init(|| validate).await.cloned()
    }

    fn message(&self, partition: Partition, body: &[u8]) -> Arc<Message> {
        // Nothing panics while it is locked.
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = |known: &&Arc<Message>| known.partition == partition && *known.body == *body;
        if let Some(known) = recent.iter().rev().find(is_known) {
            return known.clone();
        }
        if recent.len() == MAX_REMEMBERED_MESSAGES {
            recent.pop_front();
        }
        let new = Arc::new(Message {
            partition,
            body: body.into(),
            events: OnceCell::new(),
        });
        recent.push_back(new.clone());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_message_is_validated_once_for_all_and_again_after_a_failure() {
        let (messages, calls) = (ValidatedMessages::default(), AtomicUsize::new(0));
        let ask = async |partition, body: &[u8], outcome: Result<(), &'static str>| {
            let validate = async {
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                outcome.map(|()| ValidEvents::from([]))
            };
            messages
                .get_or_validate(partition, body, validate)
                .await
                .map(drop)
        };
        assert_eq!(
            ask(0, b"a", Err("the log is away")).await,
            Err("the log is away")
        );
        let (one, two) = tokio::join!(ask(0, b"a", Ok(())), ask(0, b"a", Ok(())));
        assert_eq!(
            (one, two, calls.load(Ordering::Relaxed)),
            (Ok(()), Ok(()), 2)
        );
        assert_eq!(
            ask(1, b"a", Err("another partition")).await,
            Err("another partition")
        );
        assert_eq!(ask(0, b"b", Err("another body")).await, Err("another body"));
    }

    #[tokio::test]
    async fn a_bounded_number_of_messages_is_remembered() {
        let messages = ValidatedMessages::default();
        let ask = async |number: usize, outcome: Result<(), ()>| {
            let validate = async { outcome.map(|()| ValidEvents::from([])) };
            messages
                .get_or_validate(0, &number.to_be_bytes(), validate)
                .await
                .map(drop)
        };
        for number in 0..=MAX_REMEMBERED_MESSAGES {
            assert_eq!(ask(number, Ok(())).await, Ok(()));
        }
        assert_eq!(ask(0, Err(())).await, Err(()), "it is forgotten");
        assert_eq!(ask(2, Err(())).await, Ok(()), "it is known");
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_not_remembered() {
        let messages = ValidatedMessages::default();
        let ask = async |bytes: usize, outcome: Result<(), ()>| {
            let validate = async { outcome.map(|()| ValidEvents::from([])) };
            messages
                .get_or_validate(0, &vec![b' '; bytes], validate)
                .await
                .map(drop)
        };
        for (bytes, again) in [
            (MAX_REMEMBERED_BODY_BYTES, Ok(())),
            (MAX_REMEMBERED_BODY_BYTES + 1, Err(())),
        ] {
            assert_eq!(ask(bytes, Ok(())).await, Ok(()));
            assert_eq!(ask(bytes, Err(())).await, again);
        }
        assert_eq!(
            messages.recent.lock().map(|recent| recent.len()).ok(),
            Some(1)
        );
    }
}
