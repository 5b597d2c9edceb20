//! What a sealer seals, and where the seals are.

use super::app::*;
use audit::proof::sealer::{self, SealError};
use proof::position_range::PositionRange;
use proof::report::Verdict;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;
use testbed::until;
use tokio_util::sync::CancellationToken;

async fn in_database(app: &TestApp) -> i64 {
    sqlx::query_scalar("select count(*) from seals")
        .fetch_one(&app.pool)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_new_is_sealed_and_then_nothing_is() {
    let app = TestApp::with_history().await;
    let mut sealer = app.sealer("seals").await.unwrap();
    assert_eq!(
        sealer.seal_once().await.unwrap(),
        2,
        "one for each partition"
    );
    assert_eq!(sealer.seal_once().await.unwrap(), 0, "nothing is new");
    app.invests(21..=22).await;
    assert_eq!(sealer.seal_once().await.unwrap(), 2);
    assert_eq!((app.lines("seals").len(), in_database(&app).await), (4, 4));
    let report = app.verified("seals").await;
    assert_eq!(
        (report.verdict, report.events, report.seals),
        (Verdict::Whole, 92, 4)
    );
    assert!(
        report
            .partitions
            .iter()
            .all(|found| found.unsealed.is_none() && found.sealed_upto == 46)
    );
}

#[tokio::test]
async fn what_is_not_sealed_yet_is_told() {
    let app = TestApp::sealed().await;
    app.append(vec![(2, 22, settled(2, 1))]).await;
    let report = app.verified("seals").await;
    assert_eq!(report.verdict, Verdict::Whole);
    let unsealed: Vec<_> = report
        .partitions
        .iter()
        .map(|found| found.unsealed)
        .collect();
    assert_eq!(
        unsealed,
        [
            Some(PositionRange {
                first: 43,
                last: 43
            }),
            None
        ]
    );
}

#[tokio::test]
async fn a_sealer_goes_on_where_another_ended() {
    let app = TestApp::with_history().await;
    assert_eq!(app.seal("seals").await, 2);
    app.invests(21..=21).await;
    assert_eq!(app.seal("seals").await, 2);
    assert_eq!(app.seal("seals").await, 0);
    assert_eq!(app.lines("seals").len(), 4);
    assert_eq!(app.verified("seals").await.verdict, Verdict::Whole);
}

/// More events than one seal may cover are sealed by several.
#[tokio::test]
async fn a_long_stretch_takes_several_seals() {
    let app = TestApp::with_history().await;
    for first in [21, 3_021, 6_021] {
        let events = |product| {
            (first..first + 3_000)
                .map(move |number| (product, number + 1, settled(product, number)))
        };
        app.append(events(2).collect()).await;
    }
    assert_eq!(app.seal("seals").await, 3);
    let report = app.verified("seals").await;
    assert_eq!(
        (report.verdict, report.partitions[0].sealed_upto),
        (Verdict::Whole, 9_042)
    );
}

#[tokio::test]
async fn a_line_that_was_not_written_to_its_end_is_taken_away() {
    let app = TestApp::sealed().await;
    let whole = app.lines("seals");
    let mut file = OpenOptions::new()
        .append(true)
        .open(app.file("seals"))
        .unwrap();
    file.write_all(&whole[1].as_bytes()[..200]).unwrap();
    app.invests(21..=21).await;
    assert_eq!(app.seal("seals").await, 2);
    assert_eq!(app.lines("seals")[..2], whole, "what was whole stays");
    assert_eq!(app.lines("seals").len(), 4);
    // Also when the torn one is the last one of the database.
    let text = std::fs::read_to_string(app.file("seals")).unwrap();
    std::fs::write(app.file("seals"), &text[..text.len() - 1]).unwrap();
    app.seal("seals").await;
    assert_eq!(std::fs::read_to_string(app.file("seals")).unwrap(), text);
}

#[tokio::test]
async fn two_instances_make_one_chain_and_two_whole_files() {
    let app = TestApp::with_history().await;
    let (mut first, mut second) = (
        app.sealer("first").await.unwrap(),
        app.sealer("second").await.unwrap(),
    );
    assert_eq!(
        (
            first.seal_once().await.unwrap(),
            second.seal_once().await.unwrap()
        ),
        (2, 0),
        "one has the lease"
    );
    assert_eq!(
        app.lines("first"),
        app.lines("second"),
        "and the other keeps up"
    );
    app.invests(21..=21).await;
    assert_eq!(second.seal_once().await.unwrap(), 0);
    assert_eq!(first.seal_once_and_release().await.unwrap(), 2);
    app.invests(22..=22).await;
    assert_eq!(second.seal_once().await.unwrap(), 2, "it takes over");
    assert_eq!(first.seal_once().await.unwrap(), 0);
    assert_eq!(app.lines("first").len(), 6);
    assert_eq!(app.lines("first"), app.lines("second"));
    assert_eq!(app.verified("second").await.verdict, Verdict::Whole);
}

#[tokio::test]
async fn a_file_has_one_sealer() {
    let app = TestApp::with_history().await;
    let _first = app.sealer("seals").await.unwrap();
    match app.sealer("seals").await.err() {
        Some(SealError::Unavailable(why)) => assert!(why.contains("another sealer"), "{why}"),
        other => panic!("{other:?}"),
    }
}

/// Steps: a sealer runs by itself and seals; told to stop, it seals what is new and lets the lease go.
#[tokio::test]
async fn a_running_sealer_seals_the_rest_when_it_is_stopped() {
    let app = TestApp::with_history().await;
    let stop = CancellationToken::new();
    let running = sealer::run(
        app.log.clone(),
        app.pool.clone(),
        app.sealing("seals"),
        stop.clone(),
    );
    let running = tokio::spawn(running);
    until("both partitions are sealed", async || {
        in_database(&app).await >= 2
    })
    .await;
    app.invests(21..=21).await;
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .unwrap()
        .unwrap();
    assert!(
        app.verified("seals")
            .await
            .partitions
            .iter()
            .all(|found| found.unsealed.is_none())
    );
    assert_eq!(
        app.sealer("seals")
            .await
            .unwrap()
            .seal_once()
            .await
            .unwrap(),
        0,
        "the lease is free"
    );
}
