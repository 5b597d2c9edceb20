//! The record of operators' acts: sealed, tampered with, found.

use super::app::*;
use audit::proof::act_sealer::ActSealer;
use audit::proof::sealer::SealError;
use event_log::Acceptance;
use event_log::acts::{ActBy, ActOutcome, Acts, NewAct};
use proof::report::{ActsReport, Problem, Verdict};
use rstest::rstest;
use serde_json::json;

const FILE: &str = "seals.acts";

async fn performed(app: &TestApp, acts: i64) {
    let recording = Acts::new(app.pool.clone());
    for n in 1..=acts {
        let by = ActBy::Operator("ann".into());
        let correlation_id = Some(format!("request-{n}"));
        let act = NewAct {
            by,
            act: "PAUSE",
            subject: "holdings".into(),
            parameters: json!({"n": n, "text": "\"안나\" \\"}),
            correlation_id,
        };
        recording
            .perform(act, async {}, |()| ActOutcome::Done(json!({})))
            .await
            .unwrap();
    }
}

async fn sealer(app: &TestApp) -> Result<ActSealer, SealError> {
    ActSealer::begin(&app.log, &app.pool, &app.sealing("seals")).await
}

/// Six rows, all sealed.
pub async fn sealed() -> TestApp {
    let app = TestApp::sealed().await;
    performed(&app, 3).await;
    assert_eq!(sealer(&app).await.unwrap().seal_once().await.unwrap(), 6);
    app
}

async fn found(app: &TestApp) -> (Verdict, ActsReport) {
    let report = app.verified("seals").await;
    (report.verdict, report.acts.unwrap())
}

fn refused(trouble: Option<SealError>) -> String {
    match trouble {
        Some(SealError::Conflict(why)) => why,
        other => panic!("it should refuse: {other:?}"),
    }
}

/// Everything from `first` on hashed again, by somebody who has no key.
fn rehashed(first: i64) -> String {
    format!(
        "do $$
         declare
             row acts;
             before bytea := coalesce((select hash from acts where number = {first} - 1), decode(repeat('00', 32), 'hex'));
         begin
             for row in select * from acts where number >= {first} order by number loop
                 before := sha256(convert_to(format(
                     E'moa-act-1\\nlog %s\\nnumber %s\\nat %s\\nlogin %s\\nactor %s\\nrole %s\\nact %s\\nsubject %s\\nparameters %s\\n'
                     'correlation %s\\noutcome-of %s\\noutcome %s\\nprevious %s\\n',
                     (select log_id from log_identity), row.number,
                     to_char(row.at at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), row.login, row.actor, row.role,
                     row.act, row.subject, row.parameters, row.correlation_id, row.outcome_of, row.outcome,
                     encode(before, 'hex')), 'UTF8'));
                 update acts set hash = before where number = row.number;
             end loop;
         end
         $$"
    )
}

#[tokio::test]
async fn each_row_is_sealed_in_the_database_and_in_the_file() {
    let app = sealed().await;
    let (verdict, acts) = found(&app).await;
    assert_eq!(
        (verdict, acts.acts, acts.seals, acts.sealed_upto),
        (Verdict::Whole, 6, 6, 6)
    );
    assert_eq!(
        (app.lines(FILE).len(), app.count("act_seals").await),
        (6, 6)
    );
    performed(&app, 1).await;
    let (verdict, acts) = found(&app).await;
    assert_eq!(
        (
            verdict,
            acts.acts,
            acts.unsealed.map(|range| (range.first, range.last))
        ),
        (Verdict::Whole, 8, Some((7, 8)))
    );
    assert_eq!(sealer(&app).await.unwrap().seal_once().await.unwrap(), 2);
    assert_eq!(found(&app).await.1.unsealed, None);
}

#[rstest]
#[case::actor("update acts set actor = 'bob' where number = 3", 3, Problem::Changed)]
#[case::time(
    "update acts set at = at - interval '1 microsecond' where number = 1",
    1,
    Problem::Changed
)]
#[case::outcome(
    "update acts set outcome = 'REFUSED' where number = 4",
    4,
    Problem::Changed
)]
#[case::parameters(
    "update acts set parameters = '{}' where number = 5",
    5,
    Problem::Changed
)]
#[case::no_actor(
    "alter table acts alter actor drop not null; update acts set actor = null where number = 2",
    2,
    Problem::Changed
)]
#[case::deleted("delete from acts where number = 2", 2, Problem::Missing)]
#[case::first_deleted("delete from acts where number = 1", 1, Problem::Missing)]
#[case::tail_deleted("delete from acts where number > 4", 5, Problem::CutOff)]
#[case::all_deleted("delete from acts", 1, Problem::CutOff)]
#[case::put_in(
    "update acts set number = number + 1000 where number > 2; update acts set number = number - 999 where number > 1000;
     insert into acts select 3, at, login, actor, role, act, subject, parameters, correlation_id, null, null, hash from acts where number = 2",
    3,
    Problem::Changed
)]
#[tokio::test]
async fn what_was_done_to_the_record_is_found_at_its_act(
    #[case] damage: &str,
    #[case] act: i64,
    #[case] problem: Problem,
) {
    let app = sealed().await;
    app.tamper(damage).await;
    let (verdict, acts) = found(&app).await;
    assert_eq!(
        (verdict, acts.bad.map(|bad| (bad.act, bad.problem))),
        (Verdict::Broken, Some((act, problem)))
    );
}

/// Whoever hashes again what he changed has a whole chain, which is not the one that was sealed.
#[rstest]
#[case::changed("update acts set actor = 'bob' where number = 3", 3)]
#[case::swapped("update acts set subject = 'x' where number = 6", 6)]
#[case::deleted(
    "delete from acts where number = 1; update acts set outcome_of = null, outcome = null where number = 2;
     update acts set number = number + 1000, outcome_of = outcome_of - 1; update acts set number = number - 1001",
    1
)]
#[tokio::test]
async fn what_was_hashed_again_is_found_by_its_seal(#[case] damage: &str, #[case] act: i64) {
    let app = sealed().await;
    app.tamper(&format!("{damage}; {}", rehashed(act))).await;
    let (verdict, acts) = found(&app).await;
    assert_eq!(
        (verdict, acts.bad.map(|bad| (bad.act, bad.problem))),
        (Verdict::Broken, Some((act, Problem::Rewritten)))
    );
    let why = refused(sealer(&app).await.err());
    assert!(
        why.contains("does not have act 6 as it was sealed"),
        "{why}"
    );
}

/// The database's own seals may be changed with the record; the file outside it may not.
#[tokio::test]
async fn seals_that_were_changed_in_the_database_contradict_the_file() {
    let app = sealed().await;
    app.tamper("update act_seals set hash = sha256('x') where seal = 4")
        .await;
    let (verdict, acts) = found(&app).await;
    assert_eq!(
        (verdict, acts.bad_seal.map(|bad| bad.seal)),
        (Verdict::Broken, Some(4))
    );
    let why = refused(sealer(&app).await.err());
    assert_eq!(
        why,
        "seal of acts 4 in the file is not the database's: one of them was changed"
    );
}

#[tokio::test]
async fn what_the_file_lacks_is_copied_into_it() {
    let app = sealed().await;
    let lines = app.lines(FILE);
    std::fs::write(app.file(FILE), format!("{}\n{}", lines[0], &lines[1][..40])).unwrap();
    assert_eq!(sealer(&app).await.unwrap().seal_once().await.unwrap(), 0);
    assert_eq!(app.lines(FILE), lines);
}

/// Two with files of their own: whoever seals, both files have all.
#[tokio::test]
async fn two_sealers_have_the_same_seals() {
    let app = sealed().await;
    let mut other = ActSealer::begin(&app.log, &app.pool, &app.sealing("other"))
        .await
        .unwrap();
    let mut one = sealer(&app).await.unwrap();
    performed(&app, 3).await;
    let (first, second) = tokio::join!(one.seal_once(), other.seal_once());
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    one.seal_once().await.unwrap();
    assert_eq!(
        (app.lines(FILE).len(), app.lines("other.acts")),
        (12, app.lines(FILE))
    );
    assert_eq!(found(&app).await.0, Verdict::Whole);
}

/// What does not follow from the row before is never signed.
#[tokio::test]
async fn a_row_that_does_not_follow_is_not_sealed() {
    let app = sealed().await;
    performed(&app, 1).await;
    app.tamper("update acts set actor = 'bob' where number = 7")
        .await;
    let why = refused(sealer(&app).await.unwrap().seal_once().await.err());
    assert_eq!(why, "act 7 does not follow from the one before");
    assert_eq!(app.count("act_seals").await, 6);
}

/// Steps: the database is set back by two acts, which is refused; an operator accepts the loss, which is an act; sealing goes on, and the
/// report says what was lost.
#[tokio::test]
async fn a_database_that_was_set_back_is_sealed_on_when_that_was_accepted() {
    let app = sealed().await;
    app.tamper("delete from act_seals where seal > 4; delete from acts where number > 4")
        .await;
    let why = refused(sealer(&app).await.err());
    assert!(
        why.starts_with("the file has seals of acts that the database lacks"),
        "{why}"
    );
    assert_eq!(found(&app).await.0, Verdict::Broken);
    app.log.accept(Acceptance::Loss).await.unwrap();
    performed(&app, 1).await;
    assert_eq!(sealer(&app).await.unwrap().seal_once().await.unwrap(), 2);
    let (verdict, acts) = found(&app).await;
    assert_eq!(
        (verdict, acts.acts, acts.seals, acts.sealed_upto),
        (Verdict::Whole, 6, 8, 6)
    );
    assert_eq!(
        acts.lost
            .iter()
            .map(|range| (range.first, range.last))
            .collect::<Vec<_>>(),
        [(5, 6)]
    );
    assert_eq!(app.lines(FILE).len(), 8);
    app.tamper("update acts set hash = sha256('x') where number = 6")
        .await;
    assert!(
        refused(sealer(&app).await.err()).contains("act 6"),
        "what was accepted once is not accepted for ever"
    );
}
