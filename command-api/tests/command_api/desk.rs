//! One desk: what waits is decided in order and committed together.

use crate::house::{House, soon};
use crate::moa::{Opens, invest_order, product, window_of_hours};
use command_api::desk::{Answer as Decision, NoVerdict, Order, Request, Verdict};
use domain::{InvestId, Refusal};
use event_log::Metadata;
use futures::future::join_all;
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

fn answers(verdicts: &[Result<Verdict, NoVerdict>]) -> Vec<Decision> {
    verdicts.iter().map(|verdict| verdict.as_ref().unwrap().answer).collect()
}

/// A batch is decided at one time, so reservations of one commit have the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_invests_at_once_need_few_commits() {
    const INVESTS: usize = 1_000;
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(1_000_000).await;
    let commits = async || -> i64 {
        house.sql("select pg_stat_force_next_flush()").await;
        let row = "select xact_commit from pg_stat_database where datname = current_database()";
        sqlx::query_scalar(row).fetch_one(&house.pool).await.unwrap()
    };
    let before = commits().await;
    let mut invests = tokio::task::JoinSet::new();
    for n in 0..INVESTS {
        let (desks, order) = (moa.desks.clone(), invest_order(product, &format!("user{n}"), 1));
        invests.spawn(async move { desks.submit(order).await });
    }
    let verdicts = soon(invests.join_all()).await;
    assert!(verdicts.iter().all(|verdict| verdict.as_ref().is_ok_and(|verdict| verdict.answer == Decision::Accepted)));

    let reservations = house.reservations().await;
    let batches: BTreeSet<_> = reservations.iter().map(|reserved| reserved.recorded_at).collect();
    assert_eq!(reservations.len(), INVESTS);
    assert!(batches.len() <= INVESTS / 10, "{} commits", batches.len());
    let committed = commits().await - before;
    assert!(committed <= INVESTS as i64 / 10, "{committed} commits by the database's count");
}

#[tokio::test]
async fn orders_are_decided_as_they_came_and_the_log_has_them_so() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(1_000).await;
    let verdicts = soon(join_all((0..50).map(|n| {
        let order = invest_order(product, &format!("user{n}"), 1 + n % 7);
        moa.desks.submit(order)
    })))
    .await;
    let told: Vec<_> = verdicts.iter().map(|verdict| verdict.as_ref().unwrap()).collect();
    let reservations = house.reservations().await;
    assert_eq!(reservations.len(), 50);
    for (verdict, reserved) in told.iter().zip(&reservations) {
        let payload = serde_json::to_value(&reserved.event).unwrap();
        let invest_id = verdict.invest_id.unwrap().to_string();
        assert_eq!(payload["InvestReserved"]["investId"].as_str(), Some(&*invest_id));
        assert_eq!(verdict.position, (reserved.partition, reserved.position));
    }
}

/// Each is decided on what the ones before it left, of several products, in one commit.
#[tokio::test]
async fn a_batch_may_hold_every_kind_of_verdict() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let [one, two] = [moa.opens(10).await, moa.opens(10).await];
    let over = moa.opens_for(10, window_of_hours(-2, -1)).await;
    let coming = moa.opens_for(10, window_of_hours(1, 2)).await;
    let verdicts = soon(join_all(
        [(one, 7), (one, 4), (two, 10), (one, 3), (one, 1), (two, 1), (over, 1), (coming, 1)]
            .map(|(product, amount)| moa.desks.submit(invest_order(product, "user1", amount))),
    ))
    .await;
    assert_eq!(
        answers(&verdicts),
        [
            Decision::Accepted,
            Decision::SoldOut { remaining: 3 },
            Decision::Accepted,
            Decision::Accepted,
            Decision::SoldOut { remaining: 0 },
            Decision::SoldOut { remaining: 0 },
            Decision::Finished,
            Decision::Refused(Refusal::NotStarted),
        ]
    );
    let times: BTreeSet<_> = house.reservations().await.iter().map(|reserved| reserved.recorded_at).collect();
    assert_eq!(times.len(), 1, "one commit");
    house.everything_adds_up().await;
}

#[tokio::test]
async fn a_product_may_be_opened_and_taken_in_one_batch() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let open = || crate::moa::open_order(product(7), 10, window_of_hours(-1, 1));
    let close = Order::new(product(7), Request::Close, Metadata::default());
    let invest = |amount| invest_order(product(7), "user1", amount);
    let orders = [invest(1), open(), invest(10), open(), invest(1), close, invest(1)];
    let verdicts = soon(join_all(orders.map(|order| moa.desks.submit(order)))).await;
    assert_eq!(
        answers(&verdicts),
        [
            Decision::Refused(Refusal::NotExist),
            Decision::Accepted,
            Decision::Accepted,
            Decision::Refused(Refusal::AlreadyOpened),
            Decision::SoldOut { remaining: 0 },
            Decision::Accepted,
            Decision::Closed,
        ]
    );
    house.everything_adds_up().await;
}

#[tokio::test]
async fn an_invest_has_one_fate_whatever_comes_together() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(10).await;
    let invest_id = moa.decides(invest_order(product, "user1", 10)).await.unwrap().invest_id.unwrap();
    let reason = domain::FailReason::new("DECLINED", "no funds").unwrap();
    let fates = [
        Request::Expire(invest_id),
        Request::Fail(invest_id, reason),
        Request::Settle(invest_id),
        Request::Settle(InvestId(Uuid::now_v7())),
    ];
    let order = |fate| moa.desks.submit(Order::new(product, fate, Metadata::default()));
    let verdicts = soon(join_all(fates.map(order))).await;
    assert_eq!(
        answers(&verdicts),
        [
            Decision::Refused(Refusal::NotExpired),
            Decision::Accepted,
            Decision::Refused(Refusal::NotOpen),
            Decision::Refused(Refusal::NotOpen),
        ]
    );
    moa.invest(product, 10).sent().await.is_ok();
    house.everything_adds_up().await;
}

/// A is answered before B is sent: A's sequence is lower, over all clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_before_another_was_sent_is_before_it_in_the_log() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(1_000_000).await;
    let clients = (0..16).map(|client| {
        let desks = moa.desks.clone();
        tokio::spawn(async move {
            let mut journal = Vec::new();
            for _ in 0..20 {
                let sent = std::time::Instant::now();
                let verdict = desks.submit(invest_order(product, &format!("user{client}"), 1)).await.unwrap();
                journal.push((sent, std::time::Instant::now(), verdict.position.1));
            }
            journal
        })
    });
    let journals = soon(join_all(clients)).await;
    let journal: Vec<_> = journals.into_iter().flat_map(Result::unwrap).collect();
    for (_, answered, position) in &journal {
        assert!(journal.iter().all(|(sent, _, later)| sent < answered || later > position));
    }
    assert_eq!(journal.iter().map(|(_, _, position)| position).collect::<BTreeSet<_>>().len(), 320);
}

/// 1. A reservation that is to last longer than there is time: a bug, which panics in the partition's processor.
/// 2. Whoever asked is told that the outcome is unknown, never that nothing happened.
/// 3. It is known that the processor broke down, so that the process can end; later orders are refused at once.
#[tokio::test]
async fn a_processor_that_panics_is_known() {
    let house = House::with_one_partition().await;
    let moa = house.moa_that(Opens { reservation: Duration::MAX, ..Opens::default() }).await;
    let product = moa.opens(100).await;
    assert!(!moa.desks.broken_down().is_cancelled());
    let told = soon(moa.desks.submit(invest_order(product, "user1", 1))).await;
    assert_eq!(told, Err(NoVerdict::OutcomeUnknown));
    soon(moa.desks.broken_down().cancelled()).await;
    let later = soon(moa.desks.submit(invest_order(product, "user1", 1))).await;
    assert_eq!(later, Err(NoVerdict::Overloaded));
    assert_eq!(house.reservations().await, []);
}
