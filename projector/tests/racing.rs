//! Several instances at the same partition apply each event once, for every read model.

use crate::support::{Happened, TestApp, failed, opened, reserved, settled};
use connection_pool::Pool;
use event_log::Position;
use event_log::consume::{Consumer, Projection, Step};
use projector::{PROJECTIONS, with_model};
use std::sync::Arc;
use testbed::soon;
use tokio::sync::{Barrier, mpsc};

const INVESTS: u128 = 60;

fn history() -> Vec<Happened> {
    let invests = (1..=INVESTS).flat_map(|n| {
        let user = ["kim", "lee", "park"][(n % 3) as usize];
        let fate = if n.is_multiple_of(4) { failed } else { settled };
        [reserved(n, user, 1, n as i64), fate(n, user, 1, n as i64)]
    });
    [opened(1, "apples", 100_000)]
        .into_iter()
        .chain(invests)
        .collect()
}

/// Steps until it is at `end`, and returns the positions it moved to. After its first move it says so, and waits until the other has moved, too.
async fn chase<P: Projection>(
    consumer: Consumer<P>,
    end: Position,
    moved: mpsc::Sender<()>,
    both_moved: Arc<Barrier>,
) -> Vec<Position> {
    let mut moves = Vec::new();
    loop {
        match consumer.step(&[]).await.unwrap() {
            Step::Moved(position) => {
                moves.push(position);
                if moves.len() == 1 {
                    moved.send(()).await.unwrap();
                    both_moved.wait().await;
                }
            }
            Step::Idle(position) if position == end => return moves,
            Step::Idle(_) | Step::NotOwned => tokio::task::yield_now().await,
        }
    }
}

/// 1. One instance folds a history alone: the rows to compare with.
/// 2. In a second database two instances, each with its own pool, chase the same history over the same checkpoint. Once one has applied the
///    first event the others are appended, and it waits until the other instance has moved, too.
/// 3. No position was moved to twice, and the rows are those of the first database.
async fn two_instances_end_up_as_one<P: Projection + Copy>(projection: P) {
    let history = history();
    let mut alone = TestApp::fresh().await;
    alone.append(&history).await;
    alone.drain(&projection).await;

    let mut raced = TestApp::fresh().await;
    let other_pool = Pool::from(sqlx::PgPool::connect_lazy_with(
        (*raced.pool.inner().connect_options()).clone(),
    ));
    let (moved, mut first_move) = mpsc::channel(2);
    let both_moved = Arc::new(Barrier::new(2));
    let (begun, rest) = history.split_at(1);
    raced.append(begun).await;
    let [one, other] = [raced.pool.clone(), other_pool].map(|pool| {
        let consumer = Consumer::new(raced.log.clone(), pool, Arc::new(projection), 1);
        tokio::spawn(chase(
            consumer,
            history.len() as Position,
            moved.clone(),
            both_moved.clone(),
        ))
    });
    soon(first_move.recv()).await.unwrap();
    raced.append(rest).await;

    let (one, other) = (soon(one).await.unwrap(), soon(other).await.unwrap());
    let mut moves = [one, other].concat();
    moves.sort_unstable();
    assert!(
        moves.windows(2).all(|pair| pair[0] < pair[1]),
        "a position was moved to twice: {moves:?}"
    );
    assert_eq!(
        raced.everything_of(P::NAME).await,
        alone.everything_of(P::NAME).await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_of_a_read_model_apply_each_event_once() {
    for projection in PROJECTIONS {
        with_model!(
            projection.name,
            Model => two_instances_end_up_as_one(Model::default()).await,
            _ => unreachable!("it is in the list"),
        );
    }
}
