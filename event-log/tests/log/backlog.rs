//! Consumers that are far behind read the log together, and each applies all of it once.

use crate::support::*;
use connection_pool::Connection;
use event_log::consume::{ApplyError, Consumer, EventSource as _, MAX_EVENTS_PER_STEP, Projection};
use event_log::{LocalSubscription, Position, RecordedEvent};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// More than two steps.
const BACKLOG: i64 = 9_500;

/// Notes the positions that it is given, and how many at once.
struct Applied<const N: usize>;

impl<const N: usize> Applied<N> {
    const NAMES: [&'static str; 3] = ["first", "second", "third"];
}

impl<const N: usize> Projection for Applied<N> {
    const NAME: &'static str = Self::NAMES[N];

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        let positions: Vec<_> = events.iter().map(|event| event.position).collect();
        let noted =
            sqlx::query("insert into applied (consumer, position) select $1, unnest($2::bigint[])");
        noted
            .bind(Self::NAME)
            .bind(positions)
            .execute(transaction)
            .await?;
        Ok(())
    }
}

async fn positions_of_backlog(of: &mut LocalSubscription, after: Position) -> Vec<Position> {
    let mut events = Vec::new();
    of.take_backlog(after, &mut events).await;
    events.iter().map(|event| event.position).collect()
}

/// 1. One consumer reads a step of its backlog. 2. The database loses those events, so that whoever reads them again finds others. 3. Another
/// consumer still gets what the first has read, until a fault makes it distrust that: then it gets nothing, and reads the log itself.
#[tokio::test]
async fn what_one_consumer_has_read_the_others_are_given_until_a_fault() {
    let test = TestLog::with_events(BACKLOG).await;
    let process = test.another_process().await;
    let (mut first, mut second) = (process.subscribe(0).unwrap(), process.subscribe(0).unwrap());
    let mut third = process.subscribe(0).unwrap();
    let polled = poll_heads(&process);
    soon(first.head_past(BACKLOG - 1)).await;
    // It forgets what is old, and a test may be slow.
    drop(polled);
    let step = MAX_EVENTS_PER_STEP as Position;
    assert_eq!(
        positions_of_backlog(&mut first, 0).await,
        (1..=step).collect::<Vec<_>>()
    );
    test.tamper(&format!("delete from events where position <= {step}"))
        .await;

    assert_eq!(
        positions_of_backlog(&mut second, step - 3).await,
        [step - 2, step - 1, step]
    );
    second.distrust();
    assert!(positions_of_backlog(&mut second, 0).await.is_empty());
    assert_eq!(
        positions_of_backlog(&mut third, 0).await.first(),
        Some(&(step + 1)),
        "nothing is kept after a fault"
    );
    assert!(
        positions_of_backlog(&mut third, BACKLOG - 10)
            .await
            .is_empty(),
        "it is no step behind"
    );
}

/// What each consumer has applied: how often, up to where, and whether that is every position.
const APPLIED: &str =
    "select coalesce(string_agg(format('%s %s %s', consumer, events, last), ', ' order by consumer), '')
     from (select consumer, count(*) as events, max(position) as last, count(distinct position) as positions
             from applied group by consumer) as each
    where events = positions";

/// 1. Another process has appended a backlog of several steps. 2. Three consumers of this one begin, and more is appended meanwhile. 3. Each
/// applies every event once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_with_the_same_backlog_each_apply_all_of_it_once() {
    let test = TestLog::with_events(BACKLOG).await;
    test.execute("create table applied (consumer text not null, position bigint not null)")
        .await;
    let process = test.another_process().await;
    let _polled = poll_heads(&process);
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let pool = &test.pool;
    tokio::spawn(
        Consumer::new(process.clone(), pool.clone(), Arc::new(Applied::<0>), 0)
            .run(shutdown.clone()),
    );
    tokio::spawn(
        Consumer::new(process.clone(), pool.clone(), Arc::new(Applied::<1>), 0)
            .run(shutdown.clone()),
    );
    tokio::spawn(
        Consumer::new(process.clone(), pool.clone(), Arc::new(Applied::<2>), 0)
            .run(shutdown.clone()),
    );
    let mut writer = test.writer().await;
    for sequence in BACKLOG + 1..=BACKLOG + 50 {
        commit(
            &mut writer,
            vec![new_event(product(1), sequence, nth_event(sequence))],
        )
        .await;
    }

    let all = BACKLOG + 50;
    let expected = format!("first {all} {all}, second {all} {all}, third {all} {all}");
    let applied = async || {
        sqlx::query_scalar::<_, String>(APPLIED)
            .fetch_one(&test.pool)
            .await
            .unwrap()
    };
    until("all is applied", async || applied().await == expected).await;
}
