//! The file and the database, compared.

use super::app::*;
use audit::proof::prove;
use audit::proof::sealer::{self, SealError};
use event_log::Acceptance;
use proof::inclusion::check;
use proof::report::{Report, Verdict};
use testbed::until;
use tokio_util::sync::CancellationToken;

fn refused(trouble: Option<SealError>) -> String {
    match trouble {
        Some(SealError::Conflict(why)) => why,
        other => panic!("it should refuse: {other:?}"),
    }
}

async fn with_four_seals() -> TestApp {
    let app = TestApp::sealed().await;
    app.invests(21..=21).await;
    app.seal("seals").await;
    app
}

#[tokio::test]
async fn what_the_file_lacks_is_copied_into_it() {
    let app = with_four_seals().await;
    let lines = app.lines("seals");
    std::fs::write(app.file("seals"), format!("{}\n", lines[0])).unwrap();
    assert_eq!(app.seal("seals").await, 0);
    assert_eq!(app.lines("seals"), lines);
    app.seal("another").await;
    assert_eq!(app.lines("another"), lines);
}

#[tokio::test]
async fn a_database_that_was_set_back_is_refused_and_found() {
    let app = with_four_seals().await;
    app.tamper("delete from seals where seal > 2; delete from events where position > 42")
        .await;
    let why = refused(app.sealer("seals").await.err());
    assert_eq!(
        why,
        "the file has seal 3, and the database ends at seal 2: the database was set back"
    );
    let report = app.verified("seals").await;
    assert_eq!(report.verdict, Verdict::Broken);
    assert_eq!(report.bad_seal.as_ref().unwrap().seal, 3);
    assert_eq!(
        (
            bad(&report, 0).unwrap().position,
            bad(&report, 1).unwrap().position
        ),
        (43, 43)
    );
    // Not even when the database went on since.
    app.invests(21..=21).await;
    assert!(refused(app.sealer("seals").await.err()).contains("set back"));
}

/// Of a report: seal, partition, and the first and last lost position.
fn losses(report: &Report) -> Vec<(i64, i32, i64, i64)> {
    report
        .losses
        .iter()
        .map(|lost| (lost.seal, lost.partition, lost.first, lost.last))
        .collect()
}

#[tokio::test]
async fn once_an_operator_accepts_a_loss_it_is_sealed_and_sealing_goes_on() {
    let app = with_four_seals().await;
    let before = app.lines("seals");
    app.tamper("delete from seals where seal > 2; delete from events where position > 42")
        .await;
    app.log.accept(Acceptance::Loss).await.unwrap();
    app.invests(21..=21).await;
    assert_eq!(app.seal("seals").await, 2);
    let report = app.verified("seals").await;
    assert_eq!(
        (report.verdict, report.seals),
        (Verdict::Whole, 8),
        "{report:?}"
    );
    assert_eq!(losses(&report), [(5, 0, 43, 44), (6, 1, 43, 44)]);
    assert!(
        report
            .partitions
            .iter()
            .all(|found| found.sealed_upto == 44)
    );
    let lines = app.lines("seals");
    assert_eq!(lines[..4], before);
    assert!(lines[4].starts_with(r#"{"format":2,"#) && lines[5].starts_with(r#"{"format":2,"#));
    app.seal("another").await;
    assert_eq!(app.lines("another"), lines);
    let proof = prove(&app.log, &app.pool, invest(2, 21)).await.unwrap();
    assert_eq!(
        check(&serde_json::to_string(&proof).unwrap(), &public())
            .unwrap()
            .events[0]
            .seal,
        7
    );
}

/// A segment that lost its end is sealed again from its beginning: its seal cannot prove what is left of it.
#[tokio::test]
async fn what_is_left_of_a_segment_is_sealed_again() {
    let app = TestApp::sealed().await;
    app.tamper("delete from seals where seal > 1; delete from events where partition = 1 and position > 30").await;
    app.log.accept(Acceptance::Loss).await.unwrap();
    let mut sealer = app.sealer("seals").await.unwrap();
    let report = app.verified("seals").await;
    assert_eq!(
        (report.verdict, losses(&report)),
        (Verdict::Whole, vec![(3, 1, 31, 42)])
    );
    assert_eq!(
        (
            report.partitions[0].sealed_upto,
            report.partitions[1].sealed_upto
        ),
        (42, 0)
    );
    sealer.seal_once_and_release().await.unwrap();
    assert_eq!(app.verified("seals").await.partitions[1].sealed_upto, 30);
}

/// What an operator accepted once is not accepted for ever.
#[tokio::test]
async fn a_second_loss_needs_a_second_word() {
    let app = with_four_seals().await;
    app.tamper("delete from seals where seal > 2; delete from events where position > 42")
        .await;
    app.log.accept(Acceptance::Loss).await.unwrap();
    app.invests(21..=21).await;
    app.seal("seals").await;
    app.tamper("delete from seals where seal > 6; delete from events where position > 42")
        .await;
    assert!(refused(app.sealer("seals").await.err()).contains("set back"));
    app.log.accept(Acceptance::Loss).await.unwrap();
    app.seal("seals").await;
    let report = app.verified("seals").await;
    assert_eq!(
        losses(&report),
        [
            (5, 0, 43, 44),
            (6, 1, 43, 44),
            (9, 0, 43, 44),
            (10, 1, 43, 44)
        ]
    );
    assert_eq!(report.verdict, Verdict::Whole);
}

/// Steps: a loss of nothing that was sealed is accepted; more is sealed; the database is set back to the moment after the acceptance.
#[tokio::test]
async fn an_acceptance_from_before_the_lost_seals_is_of_another_loss() {
    let app = TestApp::sealed().await;
    app.log.accept(Acceptance::Loss).await.unwrap();
    app.invests(21..=21).await;
    app.seal("seals").await;
    app.tamper("delete from seals where seal > 2; delete from events where position > 42")
        .await;
    assert!(refused(app.sealer("seals").await.err()).contains("set back"));
    assert_eq!(app.count("seals").await, 2);
    app.log.accept(Acceptance::Loss).await.unwrap();
    app.seal("seals").await;
    assert_eq!(
        losses(&app.verified("seals").await),
        [(5, 0, 43, 44), (6, 1, 43, 44)]
    );
}

/// Steps: the database is set back under a sealer, which refuses; an operator accepts; the same sealer goes on.
#[tokio::test]
async fn a_sealer_that_refuses_goes_on_once_the_loss_is_accepted() {
    let app = with_four_seals().await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(sealer::run(
        app.log.clone(),
        app.pool.clone(),
        app.sealing("seals"),
        shutdown.clone(),
    ));
    app.until_there_is("leases where name = 'sealer' and until > clock_timestamp()")
        .await;
    app.tamper("delete from seals where seal > 2; delete from events where position > 42")
        .await;
    until("it refuses", async || {
        app.log.readiness().failed() == ["sealer"]
    })
    .await;
    app.log.accept(Acceptance::Loss).await.unwrap();
    app.until_there_is("seals where seal = 6 and lost_first = 43")
        .await;
    until("it is ready", async || {
        app.log.readiness().failed().is_empty()
    })
    .await;
    shutdown.cancel();
    running.await.unwrap();
    assert_eq!(app.verified("seals").await.verdict, Verdict::Whole);
}

#[tokio::test]
async fn seals_of_the_file_that_are_not_valid_do_not_come_back() {
    let app = with_four_seals().await;
    app.tamper("delete from seals where seal > 2; delete from events where position > 42")
        .await;
    app.log.accept(Acceptance::Loss).await.unwrap();
    let text = std::fs::read_to_string(app.file("seals")).unwrap();
    std::fs::write(
        app.file("seals"),
        text.replacen("\"last\":44", "\"last\":45", 1),
    )
    .unwrap();
    assert!(refused(app.sealer("seals").await.err()).contains("seal 3 in the file is not valid"));
    assert_eq!(app.count("seals").await, 2);
}

#[tokio::test]
async fn a_database_that_is_set_back_under_a_sealer_is_refused() {
    let app = TestApp::with_history().await;
    let mut sealer = app.sealer("seals").await.unwrap();
    sealer.seal_once().await.unwrap();
    app.tamper("delete from seals where seal = 2").await;
    let why = refused(sealer.seal_once().await.err());
    assert!(
        why.contains("does not have seal 2 any more as it was"),
        "{why}"
    );
}

#[tokio::test]
async fn a_line_that_differs_is_refused_and_found() {
    let app = with_four_seals().await;
    let text = std::fs::read_to_string(app.file("seals")).unwrap();
    std::fs::write(
        app.file("seals"),
        text.replacen("\"seal\":2", "\"seal\":9", 1),
    )
    .unwrap();
    assert!(
        refused(app.sealer("seals").await.err())
            .contains("seal 2 in the file is not the database's")
    );
    assert_eq!(app.verified("seals").await.bad_seal.unwrap().seal, 2);
}

#[tokio::test]
async fn a_seal_that_was_changed_in_the_database_is_refused_and_found() {
    for change in [
        "update seals set root = sha256('x') where seal = 3",
        "update seals set marks = overlay(marks placing '\\x00000001' from 1) where seal = 3",
        "update seals set signature = overlay(signature placing '\\x00' from 1) where seal = 3",
        "update seals set at = at + interval '1 microsecond' where seal = 3",
        "update seals set key = '\\x0000000000000000' where seal = 3",
        "delete from seals where seal = 3",
    ] {
        let app = with_four_seals().await;
        app.tamper(change).await;
        assert!(
            refused(app.sealer("seals").await.err()).contains("seal 3 "),
            "{change}"
        );
        assert!(
            refused(app.sealer("new").await.err()).contains("seal 3 "),
            "{change}, without the file"
        );
        assert_eq!(
            app.verified("seals").await.bad_seal.unwrap().seal,
            3,
            "{change}"
        );
    }
}

/// Who has the database and a key of his own can seal what he wrote: the auditor's key finds it.
#[tokio::test]
async fn seals_of_another_key_are_not_believed() {
    let app = TestApp::with_history().await;
    let mut sealing = app.sealing("forged");
    sealing.key = proof::key::SigningKey::from_bytes(&[8; 32]);
    let mut forger = audit::proof::sealer::Sealer::begin(&app.log, &app.pool, &sealing)
        .await
        .unwrap();
    forger.seal_once_and_release().await.unwrap();
    assert!(
        refused(app.sealer("seals").await.err()).contains("seal 1 in the database is not valid")
    );
    let report = app.verified("forged").await;
    assert_eq!(
        (report.verdict, report.bad_seal.unwrap().seal),
        (Verdict::Unverifiable, 1)
    );
}

#[tokio::test]
async fn seals_cannot_be_changed_past_the_trigger() {
    let app = TestApp::sealed().await;
    for statement in [
        "update seals set seal = 9 where seal = 2",
        "delete from seals",
        "truncate seals",
    ] {
        let refused = sqlx::query(statement)
            .execute(&app.pool)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("seals are append-only"), "{refused}");
    }
}
