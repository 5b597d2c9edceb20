//! A write whose answer is lost may have happened. The append lock waits out whoever is still at it, and then tells the truth.

use crate::support::*;
use event_log::{Appended, Batch, LogError, Writer};
use rstest::rstest;
use testbed::{Fault, FaultKind, Proxy};
use uuid::Uuid;

/// A writer that has already written product 1's first event, with a key, behind a proxy that can be cut: all its
/// statements are known to the database, so each is one request from now on.
async fn writer_behind_a_proxy(test: &TestLog) -> (Proxy, Writer) {
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let mut writer = Writer::open(test.process_with(options).await, 0)
        .await
        .unwrap();
    let mut batch = batch(vec![new_event(product(1), 1, opened(1))]);
    batch.keys = vec![record("user1", "key0", "0")];
    committed(writer.append(batch, writer.now()).await);
    (proxy, writer)
}

const FATAL: &str = "the fatal request";

/// Product 1's second event, by a request that the proxy can be told to look out for.
fn the_fatal_batch() -> Batch {
    let mut event = new_event(product(1), 2, nth_event(2));
    event.metadata.correlation_id = FATAL.into();
    batch(vec![event])
}

fn the_fatal_batch_with_a_key() -> Batch {
    Batch {
        keys: vec![record("user1", "key1", r#""yes""#)],
        ..the_fatal_batch()
    }
}

fn the_insert(kind: FaultKind) -> Fault {
    Fault::at(FATAL, kind)
}

/// Of a batch with keys: the insert is one request, its commit the next.
fn the_commit(kind: FaultKind) -> Fault {
    Fault::at(FATAL, kind).later(1)
}

/// The first event of a batch that may have happened.
async fn the_outcome_is_unknown(writer: &mut Writer, batch: Batch) -> Uuid {
    let lost = soon(writer.append(batch, writer.now())).await;
    assert!(
        writer.is_contested(),
        "it must acquire the append lock to learn what happened"
    );
    match lost {
        Err(LogError::OutcomeUnknown {
            first: Some(first), ..
        }) => first,
        other => panic!("its outcome cannot be known, but: {other:?}"),
    }
}

async fn nothing_is_known_to_have_happened(writer: &mut Writer, batch: Batch) {
    let refused = soon(writer.append(batch, writer.now())).await;
    assert!(
        matches!(refused, Err(LogError::Unavailable(_))),
        "{refused:?}"
    );
}

async fn with_the_append_lock_it_is_found(writer: &mut Writer, first: Uuid) {
    let missed = acquire_append_lock(writer).await;
    assert_eq!(
        missed
            .iter()
            .map(|event| event.event_id)
            .collect::<Vec<_>>(),
        [first]
    );
    assert_eq!(missed[0].metadata.correlation_id, FATAL);
}

async fn with_the_append_lock_it_is_missing_and_can_be_appended_again(
    writer: &mut Writer,
    batch: Batch,
) {
    assert_eq!(acquire_append_lock(writer).await, []);
    committed(writer.append(batch, writer.now()).await);
}

async fn it_is_in_the_log_once(test: &TestLog, writer: &mut Writer) {
    assert_eq!(positions(&test.events().await), [1, 2]);
    commit(writer, vec![new_event(product(1), 3, nth_event(3))]).await;
    assert_eq!(test.log.verify(0).await.unwrap().position, 3);
}

async fn answer_of_key1(test: &TestLog) -> Option<String> {
    let stored = test
        .log
        .idempotency_records(&[("user1".into(), "key1".into())])
        .await
        .unwrap();
    stored.into_iter().next().map(|stored| stored.answer)
}

#[rstest]
#[case::without_keys(the_insert(FaultKind::LosesAnswer), the_fatal_batch(), None)]
#[case::with_its_keys(
    the_commit(FaultKind::LosesAnswer),
    the_fatal_batch_with_a_key(),
    Some(r#""yes""#)
)]
#[tokio::test]
async fn what_was_committed_but_never_answered_is_found_under_the_append_lock(
    #[case] fault: Fault,
    #[case] batch: Batch,
    #[case] answer: Option<&str>,
) {
    let test = TestLog::with_one_partition().await;
    let (proxy, mut writer) = writer_behind_a_proxy(&test).await;
    proxy.stage(fault);
    let first = the_outcome_is_unknown(&mut writer, batch).await;
    with_the_append_lock_it_is_found(&mut writer, first).await;
    assert_eq!(answer_of_key1(&test).await.as_deref(), answer);
    it_is_in_the_log_once(&test, &mut writer).await;
}

#[rstest]
#[case::without_keys(the_insert(FaultKind::LosesRequest), the_fatal_batch())]
#[case::with_its_keys(the_commit(FaultKind::LosesRequest), the_fatal_batch_with_a_key())]
#[tokio::test]
async fn what_never_arrived_is_found_missing_and_can_be_appended_again(
    #[case] fault: Fault,
    #[case] batch: Batch,
) {
    let test = TestLog::with_one_partition().await;
    let (proxy, mut writer) = writer_behind_a_proxy(&test).await;
    proxy.stage(fault);
    the_outcome_is_unknown(&mut writer, batch.clone()).await;
    assert_eq!(answer_of_key1(&test).await, None);
    with_the_append_lock_it_is_missing_and_can_be_appended_again(&mut writer, batch).await;
    it_is_in_the_log_once(&test, &mut writer).await;
}

/// With keys the insert is not yet the commit: when it is lost, nothing can have happened.
#[tokio::test]
async fn an_append_with_keys_that_dies_before_its_commit_is_known_not_to_have_happened() {
    let test = TestLog::with_one_partition().await;
    let (proxy, mut writer) = writer_behind_a_proxy(&test).await;
    proxy.stage(the_insert(FaultKind::LosesAnswer));
    nothing_is_known_to_have_happened(&mut writer, the_fatal_batch_with_a_key()).await;
    with_the_append_lock_it_is_missing_and_can_be_appended_again(
        &mut writer,
        the_fatal_batch_with_a_key(),
    )
    .await;
    it_is_in_the_log_once(&test, &mut writer).await;
}

/// The session is killed while its statement waits for the append lock: it cannot have committed, but that is not for the
/// writer to guess.
#[tokio::test]
async fn an_append_whose_session_is_killed_learns_the_truth_under_the_append_lock() {
    let test = TestLog::with_events(1).await;
    let (mut holder, mut writer) = (test.writer().await, test.writer().await);
    acquire_append_lock(&mut holder).await;
    let killed = tokio::spawn(async move {
        the_outcome_is_unknown(&mut writer, the_fatal_batch()).await;
        writer
    });
    test.until_waiting_for_append_lock(1).await;
    test.kill_session_of_append_lock(false).await;
    let mut writer = soon(killed).await.unwrap();

    holder.release_append_lock().await.unwrap();
    with_the_append_lock_it_is_missing_and_can_be_appended_again(&mut writer, the_fatal_batch())
        .await;
    it_is_in_the_log_once(&test, &mut writer).await;
}

/// 1. Another writer holds the append lock.
/// 2. Ours appends; in the database its statement waits for the append lock.
/// 3. The connection is cut on our side only: the statement waits on, a zombie.
/// 4. Our writer, over a new connection, waits for the append lock behind its zombie.
/// 5. The holder releases the append lock; the zombie gets it first and commits.
/// 6. Our writer gets the append lock and finds its own event.
#[tokio::test]
async fn the_append_lock_waits_for_a_zombie_that_may_still_commit() {
    let test = TestLog::with_one_partition().await;
    let (proxy, mut writer) = writer_behind_a_proxy(&test).await;
    let mut holder = test.writer().await;
    acquire_append_lock(&mut holder).await;

    let appending = tokio::spawn(async move {
        let first = the_outcome_is_unknown(&mut writer, the_fatal_batch()).await;
        (writer, first)
    });
    test.until_waiting_for_append_lock(1).await;
    proxy.cut_clients_off();
    let (mut writer, first) = soon(appending).await.unwrap();

    let asking = tokio::spawn(async move {
        with_the_append_lock_it_is_found(&mut writer, first).await;
        writer
    });
    test.until_waiting_for_append_lock(2).await;
    holder.release_append_lock().await.unwrap();
    it_is_in_the_log_once(&test, &mut soon(asking).await.unwrap()).await;
}

/// 1. Ours has missed an event, and another writer holds the append lock.
/// 2. Ours reads what it missed, then waits for the append lock in vain.
/// 3. Once it gets the append lock it is still told of what it read the first time.
#[tokio::test]
async fn what_was_read_before_the_append_lock_failed_is_returned_with_the_next() {
    let test = TestLog::with_one_partition().await;
    let mut writer = Writer::open(
        test.process_with(test.options().options([("lock_timeout", "50ms")]))
            .await,
        0,
    )
    .await
    .unwrap();
    let mut holder = test.writer().await;
    let missed = commit(&mut holder, vec![new_event(product(1), 1, opened(1))]).await;
    acquire_append_lock(&mut holder).await;

    let failed = writer.acquire_append_lock().await;
    assert!(
        matches!(failed, Err(LogError::Unavailable(_))),
        "{failed:?}"
    );
    holder.release_append_lock().await.unwrap();
    let blind = writer
        .append(
            batch(vec![new_event(product(2), 1, opened(2))]),
            writer.now(),
        )
        .await
        .unwrap();
    assert_eq!(
        blind,
        Appended::Conflict,
        "it decided without what it was not told of"
    );
    assert_eq!(acquire_append_lock(&mut writer).await, missed);
}
