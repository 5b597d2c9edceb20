//! A window's edges are decided by the time that is recorded, not by when a request came.

use crate::app::{Decision, TestApp, hours_from_now, invest_command};
use crate::write_side::{WriteSide, soon};
use chrono::{DateTime, TimeDelta, Utc};
use command_api::processor::PartitionProcessors;
use domain::{ProductId, Refusal, Window};
use rstest::rstest;
use std::time::Instant;
use tokio::task::JoinSet;

#[derive(Debug)]
struct Told {
    sent: Instant,
    told: Instant,
    answer: Decision,
}

/// Invests again and again, from before the edge until the answer is `until` a good while.
async fn hammers(
    processors: PartitionProcessors,
    product: ProductId,
    user: String,
    until: Decision,
) -> Vec<Told> {
    let (mut journal, mut enough) = (Vec::new(), 0);
    while enough < 20 {
        let sent = Instant::now();
        let answer = processors
            .submit(invest_command(product, &user, 1))
            .await
            .unwrap()
            .decision;
        enough += usize::from(answer == until);
        journal.push(Told {
            sent,
            told: Instant::now(),
            answer,
        });
        tokio::task::yield_now().await;
    }
    journal
}

async fn all_hammer(apps: &[&TestApp], product: ProductId, until: Decision) -> Vec<Told> {
    let mut crowd = JoinSet::new();
    for client in 0..8 {
        crowd.spawn(hammers(
            apps[client % apps.len()].processors.clone(),
            product,
            format!("user{client}"),
            until,
        ));
    }
    soon(crowd.join_all()).await.into_iter().flatten().collect()
}

/// Who was sent after another had been told `after` was not told `before` any more.
fn never_goes_back(journal: &[Told], before: Decision, after: Decision) {
    let changed = journal
        .iter()
        .filter(|told| told.answer == after)
        .map(|told| told.told)
        .min()
        .unwrap();
    for late in journal.iter().filter(|told| told.sent > changed) {
        assert_ne!(late.answer, before, "the edge had passed");
    }
    assert!(
        journal.iter().any(|told| told.answer == before),
        "it began too late to see the edge"
    );
}

fn in_a_moment() -> DateTime<Utc> {
    Utc::now() + TimeDelta::milliseconds(600)
}

#[rstest]
#[case::the_opening(Err(Refusal::NotStarted), Ok(()))]
#[case::the_end(Ok(()), Err(Refusal::Finished))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn across_an_edge_everything_recorded_is_inside(
    #[case] before: Decision,
    #[case] after: Decision,
    #[values(1, 2)] instances: usize,
) {
    let test = WriteSide::with_one_partition().await;
    let apps = [test.app().await, test.app().await];
    let apps: Vec<_> = apps.iter().take(instances).collect();
    let (edge, opens) = (in_a_moment(), after == Ok(()));
    let window = if opens {
        Window::new(edge, hours_from_now(1))
    } else {
        Window::new(hours_from_now(-1), edge)
    };
    let product = apps[0].opens_for(1_000_000, window.unwrap()).await;
    let journal = all_hammer(&apps, product, after).await;
    never_goes_back(&journal, before, after);

    let reservations = test.reservations().await;
    assert!(
        reservations
            .iter()
            .all(|reserved| (reserved.recorded_at >= edge) == opens)
    );
    assert_eq!(
        reservations.len(),
        journal.iter().filter(|told| told.answer == Ok(())).count()
    );
    test.everything_adds_up().await;
}

/// 1. The product is about to finish, and somebody holds the append lock.
/// 2. An invest is decided in time; its append waits for the append lock.
/// 3. The product has finished, the append lock is free: the append is recorded with the time it was decided at.
#[tokio::test]
async fn what_was_decided_in_time_is_recorded_in_time() {
    let (test, app) = WriteSide::with_app(1).await;
    let ends = in_a_moment();
    let product = app
        .opens_for(100, Window::new(hours_from_now(-1), ends).unwrap())
        .await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    let in_time = tokio::spawn({
        let (processors, envelope) = (app.processors.clone(), invest_command(product, "user1", 1));
        async move { processors.submit(envelope).await }
    });
    test.until_waiting_for_append_lock(1).await;
    test.until_there_is(&format!(
        "(select where clock_timestamp() > '{}') passed",
        ends.to_rfc3339()
    ))
    .await;
    holder.release().await;
    assert_eq!(soon(in_time).await.unwrap().unwrap().decision, Ok(()));
    assert!(test.reservations().await[0].recorded_at < ends);
    app.invest(product, 1)
        .sent()
        .await
        .is_refused(200, "FINISHED", "Product is finished : ");
}
