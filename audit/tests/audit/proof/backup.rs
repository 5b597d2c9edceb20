//! A backup is older than the seals, or it was changed.

use super::acts;
use super::app::*;
use audit::proof::VerifyError;
use audit::proof::verify_backup;
use proof::backup::BackupReport;
use proof::position_range::PositionRange;
use proof::report::{Problem, Verdict};
use proof::seals_file;
use rstest::rstest;

/// Both partitions are sealed up to 42, then up to 44, and the record of acts up to 6.
async fn sealed() -> TestApp {
    let app = acts::sealed().await;
    app.invests(21..=21).await;
    app.seal("seals").await;
    app
}

async fn found(app: &TestApp) -> BackupReport {
    tried(app).await.unwrap()
}

async fn tried(app: &TestApp) -> Result<BackupReport, VerifyError> {
    let seals = seals_file::read(&app.file("seals")).unwrap();
    let act_seals = seals_file::read_acts(&app.file("seals.acts")).unwrap();
    verify_backup(&app.pool, (seals, act_seals), &public()).await
}

fn range(first: i64, last: i64) -> Option<PositionRange> {
    Some(PositionRange { first, last })
}

/// What is there is whole; of each partition, what came later, and what no Merkle root proves.
#[rstest]
#[case::all_of_it("select", None, None)]
#[case::without_its_seals("delete from seals", None, None)]
#[case::up_to_a_seal(
    "delete from seals where seal > 2; delete from events where position > 42",
    range(43, 44),
    None
)]
#[case::up_to_a_seal_not_yet_made(
    "delete from seals; delete from events where position > 42",
    range(43, 44),
    None
)]
#[case::within_a_segment(
    "delete from seals where seal > 2; delete from events where position > 43",
    range(44, 44),
    range(43, 43)
)]
#[case::within_the_first_one(
    "delete from seals; delete from events where position > 30",
    range(31, 44),
    range(1, 30)
)]
#[case::nothing("delete from seals; delete from events", range(1, 44), None)]
#[tokio::test]
async fn an_older_one_is_whole(
    #[case] set_back: &str,
    #[case] later: Option<PositionRange>,
    #[case] by_prefix: Option<PositionRange>,
) {
    let app = sealed().await;
    app.tamper(set_back).await;
    let found = found(&app).await;
    assert_eq!(found.report.verdict, Verdict::Whole, "{found:?}");
    let partitions: Vec<_> = later.iter().flat_map(|_| [0, 1]).collect();
    assert_eq!(
        found
            .later_events
            .iter()
            .map(|events| events.partition)
            .collect::<Vec<_>>(),
        partitions
    );
    for events in &found.later_events {
        assert_eq!(
            (range(events.first, events.last), events.by_prefix),
            (later, by_prefix)
        );
    }
    let is_empty = found.report.events == 0;
    assert_eq!(
        found.later_seconds.is_some_and(|seconds| seconds > 0.0),
        later.is_some() && !is_empty
    );
    assert!(found.ends_at.iter().all(|end| end.is_none() == is_empty));
    assert_eq!(found.later_acts, None);
}

/// The first bad position of partition 0.
#[rstest]
#[case::its_seals_go_further("delete from events where partition = 0 and position > 42".into(), 43, Problem::CutOff)]
#[case::one_of_its_seals_goes_further("delete from seals where seal > 2; delete from events where partition = 0 and position > 30".into(), 31, Problem::CutOff)]
#[case::changed(format!("delete from seals; delete from events where position > 30; {AMOUNT}"), 9, Problem::Changed)]
#[case::rewritten_in_a_cut_segment(format!("delete from seals; delete from events where position > 30; {AMOUNT}; {}", rehashed(0, 9)), 9, Problem::Rewritten)]
#[case::rewritten_at_its_end(format!("delete from seals; delete from events where position > 9; {AMOUNT}; {}", rehashed(0, 9)), 9, Problem::Rewritten)]
#[case::without_one("delete from seals; delete from events where position > 30 or partition = 0 and position = 7".into(), 7, Problem::Missing)]
#[tokio::test]
async fn a_changed_one_is_not(
    #[case] damage: String,
    #[case] position: i64,
    #[case] problem: Problem,
) {
    let app = sealed().await;
    app.tamper(&damage).await;
    let found = found(&app).await;
    let bad = bad(&found.report, 0).unwrap();
    assert_eq!(
        (found.report.verdict, bad.position, bad.problem),
        (Verdict::Broken, position, problem),
        "{found:?}"
    );
}

#[tokio::test]
async fn a_seal_that_differs_from_the_files_is_named() {
    let app = sealed().await;
    app.tamper(
        "update seals set root = sha256('x') where seal = 2; delete from seals where seal > 2",
    )
    .await;
    let found = found(&app).await;
    assert_eq!(
        (found.report.verdict, found.report.bad_seal.unwrap().seal),
        (Verdict::Broken, 2)
    );
}

#[rstest]
#[case::older(
    "delete from acts where number > 4; delete from act_seals where seal > 4",
    Verdict::Whole,
    range(5, 6)
)]
#[case::cut_off("delete from acts where number > 4", Verdict::Broken, None)]
#[tokio::test]
async fn of_acts_an_older_record_is_whole(
    #[case] damage: &str,
    #[case] verdict: Verdict,
    #[case] later: Option<PositionRange>,
) {
    let app = sealed().await;
    app.tamper(damage).await;
    let found = found(&app).await;
    assert_eq!(
        (found.report.verdict, found.later_acts),
        (verdict, later),
        "{found:?}"
    );
}

#[tokio::test]
async fn one_without_a_record_of_acts_is_no_older_one() {
    let app = sealed().await;
    app.execute("drop table acts cascade").await;
    assert!(matches!(tried(&app).await, Err(VerifyError::NoActs)));
}
