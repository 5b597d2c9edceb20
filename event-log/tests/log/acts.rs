//! The record of operators' acts: before they take effect, in one order, and never changed.

use connection_pool::Pool;
use event_log::acts::{self, ActBy, ActError, ActOutcome, Acts, NewAct, StoredAct};
use futures::future::join_all;
use serde_json::json;
use sqlx::postgres::PgPoolOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use testbed::{TestLog, until};
use tokio::sync::Notify;

fn act(subject: &str) -> NewAct {
    let by = ActBy::Operator("ann".into());
    NewAct {
        by,
        act: "PAUSE",
        subject: subject.into(),
        parameters: json!({"a": "b\n"}),
        correlation_id: Some("c".into()),
    }
}

fn done<T>(_: &T) -> ActOutcome {
    ActOutcome::Done(json!({"generation": 2}))
}

async fn recorded(test: &TestLog) -> Vec<StoredAct> {
    acts::read_after(&test.pool, i64::MIN, 1_000).await.unwrap()
}

#[tokio::test]
async fn an_act_is_there_before_it_takes_effect_and_then_its_outcome() {
    let test = TestLog::with_one_partition().await;
    let (acts, pool) = (Acts::new(test.pool.clone()), test.pool.clone());
    let looking = async move { acts::read_after(&pool, 0, 10).await.unwrap() };
    let before = acts.perform(act("holdings"), looking, done).await.unwrap();
    let rows = recorded(&test).await;
    assert_eq!((before.as_slice(), rows.len()), (&rows[..1], 2));
    let [begun, ended] = [&rows[0], &rows[1]];
    assert_eq!(
        (begun.number, begun.outcome_of, begun.outcome.as_deref()),
        (1, None, None)
    );
    assert_eq!(
        (ended.number, ended.outcome_of, ended.outcome.as_deref()),
        (2, Some(1), Some("DONE"))
    );
    assert_eq!(
        (&*begun.parameters, &*ended.parameters),
        (r#"{"a":"b\n"}"#, r#"{"generation":2}"#)
    );
    for row in &rows {
        let text = |text: &str| text.to_owned();
        let expected = [
            text("ann"),
            text("OPERATOR"),
            text("PAUSE"),
            text("holdings"),
            text("postgres"),
        ];
        let said = [&row.actor, &row.role, &row.act, &row.subject, &row.login];
        assert_eq!(
            (said, row.correlation_id.as_deref()),
            (expected.each_ref(), Some("c"))
        );
    }
    assert!(begun.at <= ended.at && begun.hash.len() == 32 && begun.hash != ended.hash);
}

#[tokio::test]
async fn what_came_of_it_is_recorded_with_its_code() {
    let test = TestLog::with_one_partition().await;
    let acts = Acts::new(test.pool.clone());
    for outcome in [
        ActOutcome::Refused("CLOSED".into()),
        ActOutcome::Failed("500".into()),
    ] {
        acts.perform(act("product 1"), async {}, |()| outcome)
            .await
            .unwrap();
    }
    let outcomes =
        test.says("select outcome || ' ' || parameters::text from acts where outcome is not null order by number");
    assert_eq!(
        outcomes.await,
        [r#"REFUSED {"code":"CLOSED"}"#, r#"FAILED {"code":"500"}"#]
    );
}

/// The name of whoever has no token is that of the database's login.
#[tokio::test]
async fn a_command_in_the_database_itself_is_known_by_its_login() {
    let test = TestLog::with_one_partition().await;
    let direct = NewAct {
        by: ActBy::Direct,
        correlation_id: None,
        ..act("queue q")
    };
    Acts::new(test.pool.clone())
        .perform(direct, async {}, done)
        .await
        .unwrap();
    assert_eq!(
        test.says("select actor || ' ' || role from acts").await,
        ["postgres DIRECT", "postgres DIRECT"]
    );
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let test = TestLog::with_one_partition().await;
    test.execute("alter table acts add check (actor <> 'ann')")
        .await;
    let touched = Arc::new(AtomicBool::new(false));
    let touch = touched.clone();
    let work = async move { touch.store(true, Ordering::Release) };
    let refused = Acts::new(test.pool.clone())
        .perform(act("holdings"), work, done)
        .await;
    assert!(matches!(refused, Err(ActError::Database(_))), "{refused:?}");
    assert!(!touched.load(Ordering::Acquire));
    assert_eq!(recorded(&test).await, []);
}

/// Steps: the work waits; its caller goes away; the work goes on, and its outcome is recorded.
#[tokio::test]
async fn an_act_is_done_to_its_end_when_its_caller_goes_away() {
    let test = TestLog::with_one_partition().await;
    let acts = Acts::new(test.pool.clone());
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (begun.clone(), go_on.clone());
    let work = async move {
        begins.notify_one();
        waits.notified().await;
    };
    let caller = tokio::spawn(async move { acts.perform(act("holdings"), work, done).await });
    begun.notified().await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    go_on.notify_one();
    until("the outcome is recorded", async || {
        recorded(&test).await.len() == 2
    })
    .await;
}

#[tokio::test]
async fn an_act_whose_work_panics_stands_without_an_outcome() {
    let test = TestLog::with_one_partition().await;
    let work = async { panic!("planted") };
    let broken = Acts::new(test.pool.clone())
        .perform(act("holdings"), work, |(): &()| unreachable!())
        .await;
    assert!(matches!(broken, Err(ActError::Broken(_))), "{broken:?}");
    let rows = recorded(&test).await;
    assert_eq!(
        rows.iter().map(|row| row.outcome_of).collect::<Vec<_>>(),
        [None]
    );
}

/// Many at once, over connections of their own: numbers without a gap, time that never falls, one outcome each.
#[tokio::test]
async fn acts_at_once_get_numbers_without_a_gap() {
    let test = TestLog::with_one_partition().await;
    let pool = PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(Duration::from_secs(30));
    let acts = Acts::new(Pool::from(pool.connect_with(test.options()).await.unwrap()));
    let all = (0..40).map(|n| acts.perform(act(&format!("product {n}")), async {}, done));
    assert!(join_all(all).await.into_iter().all(|act| act.is_ok()));
    let rows = recorded(&test).await;
    assert_eq!(
        rows.iter().map(|row| row.number).collect::<Vec<_>>(),
        (1..=80).collect::<Vec<_>>()
    );
    assert!(rows.is_sorted_by_key(|row| row.at));
    for outcome in rows
        .iter()
        .filter_map(|row| Some((row.outcome_of?, &row.subject)))
    {
        let begun = rows.iter().find(|row| row.number == outcome.0).unwrap();
        assert_eq!((begun.outcome_of, &begun.subject), (None, outcome.1));
    }
}

#[tokio::test]
async fn a_second_outcome_and_an_unknown_word_are_refused() {
    let test = TestLog::with_one_partition().await;
    Acts::new(test.pool.clone())
        .perform(act("holdings"), async {}, done)
        .await
        .unwrap();
    for (role, outcome_of, outcome) in [
        ("OPERATOR", "1", "'DONE'"),
        ("OPERATOR", "7", "'DONE'"),
        ("OPERATOR", "2", "'FINE'"),
        ("AUDITOR", "null", "null"),
        ("OPERATOR", "null", "'DONE'"),
    ] {
        let statement = format!(
            "select moa_record_act('ann', '{role}', 'PAUSE', 'x', '{{}}', null, {outcome_of}, {outcome})"
        );
        assert!(
            sqlx::query(&statement).fetch_one(&test.pool).await.is_err(),
            "{statement}"
        );
    }
    assert_eq!(recorded(&test).await.len(), 2);
}

#[tokio::test]
async fn nothing_of_the_record_is_changed_or_removed() {
    let test = TestLog::with_one_partition().await;
    Acts::new(test.pool.clone())
        .perform(act("holdings"), async {}, done)
        .await
        .unwrap();
    for statement in [
        "update acts set actor = 'bob'",
        "delete from acts",
        "truncate acts",
        "delete from act_seals",
        "truncate act_seals",
    ] {
        let refused = sqlx::query(statement)
            .execute(&test.pool)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("the record of acts is append-only"),
            "{statement}: {refused}"
        );
    }
}
