//! The file and the database, compared.

use super::app::*;
use audit::proof::sealer::SealError;
use proof::report::Verdict;

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
    app.tamper("delete from seals where seal > 2; delete from events where position > 42").await;
    let why = refused(app.sealer("seals").await.err());
    assert_eq!(why, "the file has seal 3, and the database ends at seal 2: the database was set back");
    let report = app.verified("seals").await;
    assert_eq!(report.verdict, Verdict::Broken);
    assert_eq!(report.bad_seal.as_ref().unwrap().seal, 3);
    assert_eq!((bad(&report, 0).unwrap().position, bad(&report, 1).unwrap().position), (43, 43));
    // Not even when the database went on since.
    app.invests(21..=21).await;
    assert!(refused(app.sealer("seals").await.err()).contains("set back"));
}

#[tokio::test]
async fn a_database_that_is_set_back_under_a_sealer_is_refused() {
    let app = TestApp::with_history().await;
    let mut sealer = app.sealer("seals").await.unwrap();
    sealer.seal_once().await.unwrap();
    app.tamper("delete from seals where seal = 2").await;
    let why = refused(sealer.seal_once().await.err());
    assert!(why.contains("does not have seal 2 any more as it was"), "{why}");
}

#[tokio::test]
async fn a_line_that_differs_is_refused_and_found() {
    let app = with_four_seals().await;
    let text = std::fs::read_to_string(app.file("seals")).unwrap();
    std::fs::write(app.file("seals"), text.replacen("\"seal\":2", "\"seal\":9", 1)).unwrap();
    assert!(refused(app.sealer("seals").await.err()).contains("seal 2 in the file is not the database's"));
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
        assert!(refused(app.sealer("seals").await.err()).contains("seal 3 "), "{change}");
        assert!(refused(app.sealer("new").await.err()).contains("seal 3 "), "{change}, without the file");
        assert_eq!(app.verified("seals").await.bad_seal.unwrap().seal, 3, "{change}");
    }
}

/// Who has the database and a key of his own can seal what he wrote: the auditor's key finds it.
#[tokio::test]
async fn seals_of_another_key_are_not_believed() {
    let app = TestApp::with_history().await;
    let mut sealing = app.sealing("forged");
    sealing.key = proof::key::SigningKey::from_bytes(&[8; 32]);
    let mut forger = audit::proof::sealer::Sealer::begin(&app.log, &app.pool, &sealing).await.unwrap();
    forger.seal_once_and_release().await.unwrap();
    assert!(refused(app.sealer("seals").await.err()).contains("seal 1 in the database is not valid"));
    let report = app.verified("forged").await;
    assert_eq!((report.verdict, report.bad_seal.unwrap().seal), (Verdict::Unverifiable, 1));
}

#[tokio::test]
async fn seals_cannot_be_changed_past_the_trigger() {
    let app = TestApp::sealed().await;
    for statement in ["update seals set seal = 9 where seal = 2", "delete from seals", "truncate seals"] {
        let refused = sqlx::query(statement).execute(&app.pool).await.unwrap_err().to_string();
        assert!(refused.contains("seals are append-only"), "{refused}");
    }
}
