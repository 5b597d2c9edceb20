//! What is never sealed.

use super::app::*;
use audit::proof::sealer::SealError;
use rstest::rstest;

fn refused(trouble: Option<SealError>) -> String {
    match trouble {
        Some(SealError::Conflict(why)) => why,
        other => panic!("it should refuse: {other:?}"),
    }
}

#[rstest]
#[case::changed(
    "update events set payload = replace(payload::text, '\"amount\":21', '\"amount\":99')::json where partition = 0 and position = 43",
    "position 43: its hash does not follow"
)]
#[case::deleted(
    "delete from events where partition = 0 and position = 44",
    "position 44: it is not there"
)]
#[case::put_in(
    "update events set hash = sha256('x') where partition = 1 and position = 45",
    "partition 1 position 45"
)]
#[case::cut_off(
    "delete from events where partition = 1 and position > 30",
    "partition 1 ends at position 30"
)]
#[case::head_gone(
    "delete from events where partition = 0 and position = 42",
    "position 42: the log does not have what was sealed"
)]
#[case::head_changed(
    "update events set hash = sha256('x') where partition = 0 and position = 42",
    "position 42"
)]
#[tokio::test]
async fn a_broken_chain_is_not_sealed(
    #[case] damage: &str,
    #[case] expected: &str,
    // Few new events are read, many are copied.
    #[values(23, 620)] last: i64,
) {
    let app = TestApp::sealed().await;
    app.invests(21..=last).await;
    app.tamper(damage).await;
    let mut sealer = app.sealer("seals").await.unwrap();
    let why = refused(sealer.seal_once().await.err());
    assert!(why.contains(expected), "{why}");
    let damaged = i32::from(expected.contains("partition 1"));
    let sealed = app.lines("seals")[2..]
        .iter()
        .filter(|line| line.contains(&format!("\"partition\":{damaged},")))
        .count();
    assert_eq!(sealed, 0, "nothing of the damaged partition is sealed");
}

/// A tail that was hashed again without the key contradicts the last seal when it begins in what was sealed.
#[tokio::test]
async fn a_rewritten_tail_is_not_sealed() {
    let app = TestApp::sealed().await;
    app.invests(21..=21).await;
    app.tamper(&format!(
        "update events set payload = replace(payload::text, '\"amount\":5', '\"amount\":6')::json
              where partition = 0 and position = 7; {}",
        rehashed(0, 7)
    ))
    .await;
    let mut sealer = app.sealer("seals").await.unwrap();
    let why = refused(sealer.seal_once().await.err());
    assert!(
        why.contains("partition 0 position 42: the log does not have what was sealed here"),
        "{why}"
    );
}
