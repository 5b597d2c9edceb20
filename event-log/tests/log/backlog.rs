//! Consumers that are far behind read the log together, and each applies all of it once.

use crate::support::*;
use connection_pool::Connection;
use event_log::RecordedEvent;
use event_log::consume::{ApplyError, Consumer, Projection};
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

    async fn apply(&self, transaction: &mut Connection, events: &[RecordedEvent]) -> Result<(), ApplyError> {
        let positions: Vec<_> = events.iter().map(|event| event.position).collect();
        let noted = sqlx::query("insert into applied (consumer, position) select $1, unnest($2::bigint[])");
        noted.bind(Self::NAME).bind(positions).execute(transaction).await?;
        Ok(())
    }
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
    test.execute("create table applied (consumer text not null, position bigint not null)").await;
    let process = test.another_process().await;
    let _polled = poll_heads(&process);
    let shutdown = CancellationToken::new();
    let _stop = shutdown.clone().drop_guard();
    let pool = &test.pool;
    tokio::spawn(Consumer::new(process.clone(), pool.clone(), Arc::new(Applied::<0>), 0).run(shutdown.clone()));
    tokio::spawn(Consumer::new(process.clone(), pool.clone(), Arc::new(Applied::<1>), 0).run(shutdown.clone()));
    tokio::spawn(Consumer::new(process.clone(), pool.clone(), Arc::new(Applied::<2>), 0).run(shutdown.clone()));
    let mut writer = test.writer().await;
    for sequence in BACKLOG + 1..=BACKLOG + 50 {
        commit(&mut writer, vec![new_event(product(1), sequence, nth_event(sequence))]).await;
    }

    let all = BACKLOG + 50;
    let expected = format!("first {all} {all}, second {all} {all}, third {all} {all}");
    let applied = async || sqlx::query_scalar::<_, String>(APPLIED).fetch_one(&test.pool).await.unwrap();
    until("all is applied", async || applied().await == expected).await;
}
