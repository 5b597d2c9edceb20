//! Which hash stays when two consumers write one.

use super::*;
use crate::counters::read::Product;
use redis::AsyncCommands;

/// Two writers of the same counters in the tests' Redis, of a log that does not exist.
async fn two_writers() -> [Counters; 2] {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let connection = Connection::new(redis::Client::open(url).unwrap());
    let key = format!("moa:test:{}", Uuid::now_v7());
    [1, 2].map(|me| Counters::new(connection.clone(), key.clone(), Uuid::from_u128(me)))
}

fn snapshot(position: Position, products: std::ops::Range<i64>) -> ProductSnapshot {
    ProductSnapshot {
        position,
        event_hash: format!("{position:064x}"),
        products: products
            .map(|id| Product::new(id, position, 1, 0))
            .collect(),
    }
}

async fn is_removed(counters: &Counters) {
    let key = &counters.key;
    let _: () = counters
        .connection
        .ask(async |redis| redis.del(key).await)
        .await
        .unwrap();
}

async fn state(counters: &Counters) -> Option<State> {
    counters
        .state_text()
        .await
        .unwrap()
        .and_then(|text| counters.read_state(&text))
}

async fn position(counters: &Counters) -> Option<Position> {
    state(counters).await.map(|state| state.position)
}

/// 1. One reads the state, and finds none. 2. It is frozen while the other replaces the hash and advances it. 3. Thawed, it
/// replaces the hash with what it had read: that is older, so it gets the hash's state, and nothing changes.
#[tokio::test]
async fn an_older_hash_never_replaces_a_newer_one() {
    let [one, other] = two_writers().await;
    let seen = one.state_text().await.unwrap();
    let placed = other.replace(None, &snapshot(5, 0..3)).await.unwrap();
    let SwapResult::Replaced(at_5) = placed else {
        panic!("nothing else was there")
    };
    assert!(
        other
            .advance(&at_5, &snapshot(9, 1..2), None)
            .await
            .unwrap()
            .is_ok()
    );
    let newer = one.replace(seen, &snapshot(7, 0..3)).await.unwrap();
    assert!(matches!(newer, SwapResult::Newer(Some(state)) if state.position == 9));
    assert_eq!(position(&one).await, Some(9));
    assert!(
        one.advance(&at_5, &snapshot(7, 0..3), None)
            .await
            .unwrap()
            .is_err()
    );
    assert_eq!(position(&one).await, Some(9));
    is_removed(&one).await;
}

#[tokio::test]
async fn a_newer_hash_replaces_and_a_wrong_state_is_replaced() {
    let [one, other] = two_writers().await;
    assert!(matches!(
        one.replace(None, &snapshot(5, 0..3)).await.unwrap(),
        SwapResult::Replaced(_)
    ));
    assert!(matches!(
        other.replace(None, &snapshot(6, 0..3)).await.unwrap(),
        SwapResult::Replaced(_)
    ));
    let seen = one.state_text().await.unwrap();
    assert!(
        state(&one)
            .await
            .is_some_and(|state| other.wrote(&state) && !one.wrote(&state))
    );
    assert!(matches!(
        one.replace(seen, &snapshot(2, 0..3)).await.unwrap(),
        SwapResult::Replaced(_)
    ));
    assert_eq!(position(&one).await, Some(2));
    is_removed(&one).await;
}

/// Nothing of the old hash is left, and no field is lost between two commands.
#[tokio::test]
async fn many_fields_are_replaced_at_once() {
    let [one, _] = two_writers().await;
    let many = 3 * MAX_FIELDS_PER_COMMAND as i64;
    assert!(matches!(
        one.replace(None, &snapshot(1, 0..7)).await.unwrap(),
        SwapResult::Replaced(_)
    ));
    assert!(matches!(
        one.replace(None, &snapshot(2, 7..many)).await.unwrap(),
        SwapResult::Replaced(_)
    ));
    let key = &one.key;
    let fields: Vec<String> = one
        .connection
        .ask(async |redis| redis.hkeys(key).await)
        .await
        .unwrap();
    let mut ids: Vec<i64> = fields
        .iter()
        .filter_map(|field| field.parse().ok())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (7..many).collect::<Vec<_>>());
    is_removed(&one).await;
}

/// Two copies of one log at the same position: the event's hash decides, not the position.
#[tokio::test]
async fn a_state_of_another_event_is_not_advanced_from() {
    let [one, other] = two_writers().await;
    let SwapResult::Replaced(at_5) = one.replace(None, &snapshot(5, 0..3)).await.unwrap() else {
        panic!("nothing was there")
    };
    let elsewhere = ProductSnapshot {
        event_hash: "another".into(),
        ..snapshot(5, 0..3)
    };
    let seen = other.state_text().await.unwrap();
    assert!(matches!(
        other.replace(seen, &elsewhere).await.unwrap(),
        SwapResult::Replaced(_)
    ));
    let found = one.advance(&at_5, &snapshot(6, 1..2), None).await.unwrap();
    assert!(found.is_err_and(|state| state.is_some_and(|state| state.event_hash == "another")));
    is_removed(&one).await;
}
