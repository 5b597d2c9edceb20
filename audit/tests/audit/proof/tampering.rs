//! Every kind of damage is named at its place.

use super::app::*;
use audit::proof::ExternalSeals;
use audit::proof::verify_live::verify_live;
use proof::report::{Problem, Verdict};
use rstest::rstest;

/// What one must do to move everything after a row up or down without a repeat on the way.
fn moved(after: i64, by: i64) -> String {
    format!(
        "update events set position = position + 1000 where partition = 0 and position > {after};
         update events set position = position - 1000 + {by} where partition = 0 and position > 1000"
    )
}

#[rstest]
#[case::amount(AMOUNT.into(), 9, Problem::Changed)]
#[case::blank("update events set payload = replace(payload::text, ':', ': ')::json where partition = 0 and position = 1".into(), 1, Problem::Changed)]
#[case::hash("update events set hash = sha256('x') where partition = 0 and position = 42".into(), 42, Problem::Changed)]
#[case::short_hash("alter table events drop constraint events_hash_check; update events set hash = 'x' where partition = 0 and position = 8".into(), 8, Problem::Unreadable)]
#[case::no_payload("alter table events alter payload drop not null; update events set payload = null where partition = 0 and position = 8".into(), 8, Problem::Unreadable)]
#[case::endless("alter table events drop constraint events_recorded_at_check; update events set recorded_at = 'infinity' where partition = 0 and position = 8".into(), 8, Problem::Unreadable)]
#[case::deleted("delete from events where partition = 0 and position = 7".into(), 7, Problem::Missing)]
#[case::first_deleted("delete from events where partition = 0 and position = 1".into(), 1, Problem::Missing)]
#[case::all_deleted("delete from events where partition = 0".into(), 1, Problem::CutOff)]
#[case::tail_deleted("delete from events where partition = 0 and position > 30".into(), 31, Problem::CutOff)]
#[case::last_deleted("delete from events where partition = 0 and position = 42".into(), 42, Problem::CutOff)]
#[case::moved_up(format!("delete from events where partition = 0 and position = 7; {}", moved(7, -1)), 7, Problem::Changed)]
#[case::put_before("alter table events drop constraint events_position_check;
     insert into events select aggregate_type, aggregate_id, 999, event_type, event_version, payload, metadata, partition, 0,
                               event_id, recorded_at, hash from events where partition = 0 and position = 3".into(), 1, Problem::Changed)]
#[case::put_in(format!("{};
     insert into events select aggregate_type, aggregate_id, 999, event_type, event_version, payload, metadata, partition, 6,
                               event_id, recorded_at, hash from events where partition = 0 and position = 3", moved(5, 1)), 6, Problem::Changed)]
#[case::swapped("update events set position = 1000 where partition = 0 and position = 4;
     update events set position = 4 where partition = 0 and position = 5;
     update events set position = 5 where partition = 0 and position = 1000".into(), 4, Problem::Changed)]
#[case::rewritten(format!("{AMOUNT}; {}", rehashed(0, 9)), 9, Problem::Rewritten)]
#[case::rewritten_at_the_end(format!("update events set metadata = '{{}}' where partition = 0 and position = 42; {}", rehashed(0, 42)), 42, Problem::Rewritten)]
#[case::rewritten_from_the_first(format!("update events set metadata = '{{}}' where partition = 0 and position = 1; {}", rehashed(0, 1)), 1, Problem::Rewritten)]
#[case::rewritten_without_one(format!("delete from events where partition = 0 and position = 7; {}; {}", moved(7, -1), rehashed(0, 7)), 7, Problem::Rewritten)]
#[case::far_away("update events set position = 9000000000000000000 where partition = 0 and position = 42".into(), 42, Problem::Missing)]
#[tokio::test]
async fn sealed_history_is_not_changed_unseen(
    #[case] damage: String,
    #[case] position: i64,
    #[case] problem: Problem,
) {
    let app = TestApp::sealed().await;
    assert_eq!(app.verified("seals").await.verdict, Verdict::Whole);
    app.tamper(&damage).await;
    let report = app.verified("seals").await;
    let found = bad(&report, 0).unwrap();
    assert_eq!(
        (found.position, found.problem, found.seal),
        (position, problem, Some(1)),
        "{report:?}"
    );
    assert_eq!((report.verdict, bad(&report, 1)), (Verdict::Broken, None));
}

/// What is not sealed yet: whoever hashes it again is not found by the chain, but may still contradict himself.
#[rstest]
#[case::time(
    "update events set recorded_at = recorded_at - interval '1 hour' where partition = 0 and position = 44",
    44,
    Problem::Time
)]
#[case::sequence(
    "update events set sequence = 99 where partition = 0 and position = 44",
    44,
    Problem::Sequence
)]
#[case::repeated(
    "update events set aggregate_id = '10' where partition = 0 and position = 43",
    43,
    Problem::Sequence
)]
#[case::elsewhere(
    "update events set aggregate_id = '3', sequence = 99 where partition = 0 and position = 43",
    43,
    Problem::Partition
)]
#[case::spelt(
    "update events set aggregate_id = '02', sequence = 1 where partition = 0 and position = 43",
    43,
    Problem::Partition
)]
#[case::no_product(
    "update events set aggregate_type = 'user', sequence = 99 where partition = 0 and position = 43",
    43,
    Problem::Partition
)]
#[tokio::test]
async fn a_tail_that_contradicts_itself_is_found(
    #[case] damage: &str,
    #[case] position: i64,
    #[case] problem: Problem,
) {
    let app = TestApp::sealed().await;
    app.append(vec![
        (2, 22, settled(2, 1)),
        (2, 23, settled(2, 2)),
        (4, 22, settled(4, 1)),
    ])
    .await;
    app.tamper(&format!("{damage}; {}", rehashed(0, 43))).await;
    let report = app.verified("seals").await;
    let found = bad(&report, 0).unwrap();
    assert_eq!(
        (found.position, found.problem, found.seal),
        (position, problem, None),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_row_in_no_partition_is_found() {
    let app = TestApp::sealed().await;
    app.tamper("update events set partition = 7 where partition = 1 and position = 42")
        .await;
    let report = app.verified("seals").await;
    assert_eq!(bad(&report, 7).unwrap().problem, Problem::Partition);
    assert_eq!(
        (
            bad(&report, 1).unwrap().position,
            bad(&report, 1).unwrap().problem
        ),
        (42, Problem::CutOff)
    );
}

#[tokio::test]
async fn a_log_that_is_called_another_is_found() {
    let app = TestApp::sealed().await;
    app.tamper("update log_identity set log_id = gen_random_uuid()")
        .await;
    let report = app.verified("seals").await;
    assert_eq!(report.bad_seal.as_ref().unwrap().seal, 1);
    assert_eq!(bad(&report, 0).unwrap().position, 1);
}

/// Without seals the chain alone finds what was not hashed again.
#[tokio::test]
async fn without_a_key_the_chain_alone_is_checked() {
    let app = TestApp::sealed().await;
    let report = verify_live(&app.pool, None).await.unwrap();
    assert_eq!(
        (report.verdict, report.seals, report.events),
        (Verdict::Whole, 0, 84)
    );
    app.tamper(&format!("{AMOUNT}; {}", rehashed(0, 9))).await;
    assert_eq!(
        verify_live(&app.pool, None).await.unwrap().verdict,
        Verdict::Whole
    );
    // With the database's own seals it is found, and with those outside.
    let outside = ExternalSeals {
        file: None,
        keys: public(),
    };
    let report = verify_live(&app.pool, Some(&outside)).await.unwrap();
    assert_eq!(bad(&report, 0).unwrap().problem, Problem::Rewritten);
}

/// Who fits a mark to another hash is placed later, and is found by the head; and by the root, were the head the new one.
#[rstest]
#[case::with_the_head_that_was(false)]
#[case::with_the_new_head(true)]
#[tokio::test]
async fn the_root_proves_what_the_marks_only_place(#[case] new_head: bool) {
    let app = TestApp::sealed().await;
    // As if every mark of the new chain fitted: the seal is made by the real key over marks of the chain as it is then.
    app.tamper(&format!("{AMOUNT}; {}", rehashed(0, 9))).await;
    let hashes: Vec<Vec<u8>> =
        sqlx::query_scalar("select hash from events where partition = 0 order by position")
            .fetch_all(&app.pool)
            .await
            .unwrap();
    let seals = proof::seals_file::read(&app.file("seals")).unwrap();
    let forged = seals.into_iter().map(|seal| {
        let mut seal = seal.unwrap();
        if seal.statement.partition == 0 {
            seal.hash_prefixes = hashes.iter().flat_map(|hash| hash[..4].to_vec()).collect();
            if new_head {
                seal.statement.head = hashes.last().unwrap().as_slice().try_into().unwrap();
            }
        }
        let mut statement = seal.statement;
        statement.hash_prefixes_digest =
            <sha2::Sha256 as sha2::Digest>::digest(&seal.hash_prefixes).into();
        statement.previous = if statement.seal == 1 {
            [0; 32]
        } else {
            statement.previous
        };
        (statement, seal.hash_prefixes)
    });
    let mut previous = [0; 32];
    let lines: String = forged
        .map(|(mut statement, marks)| {
            statement.previous = previous;
            previous = statement.digest();
            statement.seal(marks, &key()).line() + "\n"
        })
        .collect();
    let read = proof::seal_chain::read_lines(&lines);
    let sealed =
        proof::seal_chain::ValidSeals::read(read, &public(), Some(*app.log.identity())).unwrap();
    let report = audit::proof::verify_live::verify(&app.pool, &sealed)
        .await
        .unwrap();
    let found = bad(&report, 0).unwrap();
    assert_eq!(
        (found.position, found.problem),
        (1, Problem::Rewritten),
        "somewhere in the stretch: {found:?}"
    );
}
