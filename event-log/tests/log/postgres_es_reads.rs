//! postgres-es's own repository reads our table, and cannot write to it.

use crate::by_hand::failed_in_the_old_shape;
use crate::support::*;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{AggregateContext, EventStore};
use domain::Product;
use postgres_es::PostgresEventRepository;

fn store_of_the_crate(test: &TestLog) -> PersistedEventStore<PostgresEventRepository, Product> {
    let repository = PostgresEventRepository::new(test.pool.inner().clone());
    PersistedEventStore::new_event_store(repository).with_upcasters(domain::upcasters())
}

#[tokio::test]
async fn the_crate_loads_a_product_as_we_do_an_old_event_included() {
    let test = TestLog::with_events(4).await;
    commit(
        &mut test.writer().await,
        vec![new_event(product(1), 5, settled(3, 2))],
    )
    .await;
    failed_in_the_old_shape(invest(2), 1, "NO_MONEY : none")
        .write(&test)
        .await;

    let ours = test.log.load_product(product(1)).await.unwrap();
    let store = store_of_the_crate(&test);
    let mut theirs = store.load_aggregate("1").await.unwrap();
    assert_eq!(theirs.aggregate(), &ours.product);
    assert_eq!(theirs.current_sequence as i64, ours.sequence);

    let (events, envelopes) = (test.events().await, store.load_events("1").await.unwrap());
    assert_eq!(envelopes.len(), events.len());
    for (envelope, event) in envelopes.iter().zip(&events) {
        assert_eq!(
            (&envelope.payload, envelope.sequence as i64),
            (&event.event, event.sequence)
        );
        assert_eq!(
            envelope.metadata["correlationId"],
            event.metadata.correlation_id
        );
    }
}

#[tokio::test]
async fn the_crates_own_append_is_refused() {
    let test = TestLog::with_events(2).await;
    let store = store_of_the_crate(&test);
    let context = store.load_aggregate("1").await.unwrap();
    let refused = store.commit(
        vec![nth_event(3)],
        context,
        [("correlationId".into(), "past the optimistic check".into())].into(),
    );
    refused
        .await
        .expect_err("a row without position and hash must not get in");
    assert_eq!(test.count("events").await, 2);
}
