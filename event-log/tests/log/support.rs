//! The words the tests are written in, beside the test kit's.

use event_log::{Appended, IdempotencyRecord, LogError, RecordedEvent, Writer};
pub use testbed::events::{
    batch, commit, new_event, nth_event, opened, opened_as, reserved, settled,
};
pub use testbed::values::{at, invest, product, user, won};
pub use testbed::{TestLog, poll_heads, soon, until};

/// [`TestLog::with_events`], and a writer that has seen them.
pub async fn with_writer(events: i64) -> (TestLog, Writer) {
    let test = TestLog::with_events(events).await;
    let writer = test.writer().await;
    (test, writer)
}

pub fn record(user_id: &str, key: &str, answer: &str) -> IdempotencyRecord {
    let [user_id, key, answer] = [user_id, key, answer].map(str::to_owned);
    IdempotencyRecord {
        fingerprint: format!("asked for {key}"),
        user_id,
        key,
        answer,
    }
}

pub fn committed(appended: Result<Appended, LogError>) -> Vec<RecordedEvent> {
    match appended {
        Ok(Appended::Committed(events)) => events.to_vec(),
        other => panic!("it should be committed, but: {other:?}"),
    }
}

/// Acquires the append lock, however long the tail, and hands back what was missed.
pub async fn acquire_append_lock(writer: &mut Writer) -> Vec<RecordedEvent> {
    let mut missed = writer.acquire_append_lock().await.unwrap();
    while !writer.holds_append_lock() {
        missed.extend(writer.acquire_append_lock().await.unwrap());
    }
    missed
}

pub fn positions(events: &[RecordedEvent]) -> Vec<i64> {
    events.iter().map(|event| event.position).collect()
}
