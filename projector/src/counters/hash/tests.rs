//! Whose hash stays when two write one.

use super::*;
use crate::counters::read::Product;
use redis::AsyncCommands;

/// Counters in the Redis of the tests, of a log that does not exist; two who write them.
async fn two_who_write() -> [Counters; 2] {
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".into());
    let connection = Connection::new(redis::Client::open(url).unwrap());
    let key = format!("moa:test:{}", Uuid::now_v7());
    [1, 2].map(|me| Counters::new(connection.clone(), key.clone(), Uuid::from_u128(me)))
}

fn shown(position: Position, products: std::ops::Range<i64>) -> Shown {
    Shown {
        position,
        event_hash: format!("{position:064x}"),
        products: products.map(|id| Product::new(id, position, 1, false)).collect(),
    }
}

async fn is_removed(counters: &Counters) {
    let key = &counters.key;
    let _: () = counters.connection.ask(async |redis| redis.del(key).await).await.unwrap();
}

async fn state(counters: &Counters) -> Option<State> {
    counters.look().await.unwrap().and_then(|text| counters.read_state(&text))
}

async fn position(counters: &Counters) -> Option<Position> {
    state(counters).await.map(|state| state.position)
}

/// 1. One looks, and finds nothing. 2. It is frozen while the other loads, and goes on. 3. Thawed, it puts what it
/// had read in place: older, so it is told where the counters stand, and nothing changes.
#[tokio::test]
async fn older_never_wins() {
    let [one, other] = two_who_write().await;
    let seen = one.look().await.unwrap();
    let placed = other.place(None, &shown(5, 0..3)).await.unwrap();
    let Placed::There(at_5) = placed else { panic!("nothing else was there") };
    assert!(other.advance(&at_5, &shown(9, 1..2), None).await.unwrap().is_ok());
    let newer = one.place(seen, &shown(7, 0..3)).await.unwrap();
    assert!(matches!(newer, Placed::Newer(Some(state)) if state.position == 9));
    assert_eq!(position(&one).await, Some(9));
    assert!(one.advance(&at_5, &shown(7, 0..3), None).await.unwrap().is_err());
    assert_eq!(position(&one).await, Some(9));
    is_removed(&one).await;
}

#[tokio::test]
async fn newer_wins_and_what_was_seen_to_be_wrong_goes() {
    let [one, other] = two_who_write().await;
    assert!(matches!(one.place(None, &shown(5, 0..3)).await.unwrap(), Placed::There(_)));
    assert!(matches!(other.place(None, &shown(6, 0..3)).await.unwrap(), Placed::There(_)));
    let seen = one.look().await.unwrap();
    assert!(state(&one).await.is_some_and(|state| other.wrote(&state) && !one.wrote(&state)));
    assert!(matches!(one.place(seen, &shown(2, 0..3)).await.unwrap(), Placed::There(_)));
    assert_eq!(position(&one).await, Some(2));
    is_removed(&one).await;
}

/// Of what is put in place nothing of the old is left, and no field is lost between one command and the next.
#[tokio::test]
async fn many_fields_are_put_in_place_at_once() {
    let [one, _] = two_who_write().await;
    let many = 3 * FIELDS as i64;
    assert!(matches!(one.place(None, &shown(1, 0..7)).await.unwrap(), Placed::There(_)));
    assert!(matches!(one.place(None, &shown(2, 7..many)).await.unwrap(), Placed::There(_)));
    let key = &one.key;
    let fields: Vec<String> = one.connection.ask(async |redis| redis.hkeys(key).await).await.unwrap();
    let mut ids: Vec<i64> = fields.iter().filter_map(|field| field.parse().ok()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (7..many).collect::<Vec<_>>());
    is_removed(&one).await;
}

/// Two copies of one log at the same position: whose event it is decides, not the position.
#[tokio::test]
async fn a_state_of_another_event_is_not_gone_on_from() {
    let [one, other] = two_who_write().await;
    let Placed::There(at_5) = one.place(None, &shown(5, 0..3)).await.unwrap() else { panic!("nothing was there") };
    let elsewhere = Shown { event_hash: "another".into(), ..shown(5, 0..3) };
    let seen = other.look().await.unwrap();
    assert!(matches!(other.place(seen, &elsewhere).await.unwrap(), Placed::There(_)));
    let found = one.advance(&at_5, &shown(6, 1..2), None).await.unwrap();
    assert!(found.is_err_and(|state| state.is_some_and(|state| state.event_hash == "another")));
    is_removed(&one).await;
}
