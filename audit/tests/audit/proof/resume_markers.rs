//! Where a sealer goes on from when it begins again.

use super::app::*;
use audit::proof::sealer::{SealError, Sealer};
use proof::key::SigningKey;
use proof::report::Verdict;
use rstest::rstest;

/// A resume marker at every second seal.
async fn begins(app: &TestApp) -> Result<Sealer, SealError> {
    Sealer::begin_with_markers_every(&app.log, &app.pool, &app.sealing("seals"), 2).await
}

async fn seals(app: &TestApp) -> usize {
    begins(app)
        .await
        .unwrap()
        .seal_once_and_release()
        .await
        .unwrap()
}

fn refused(trouble: Option<SealError>) -> String {
    match trouble {
        Some(SealError::Conflict(why)) => why,
        other => panic!("it should refuse: {other:?}"),
    }
}

/// Two seals of each partition, then two of the first alone: the marker is at the fourth.
async fn with_six_seals() -> TestApp {
    let app = TestApp::with_history().await;
    assert_eq!(seals(&app).await, 2);
    app.invests(21..=21).await;
    let mut sealer = begins(&app).await.unwrap();
    assert_eq!(sealer.seal_once().await.unwrap(), 2);
    for number in 22..=23 {
        app.append(vec![(2, number + 1, reserved(2, number))]).await;
        assert_eq!(sealer.seal_once().await.unwrap(), 1);
    }
    sealer.seal_once_and_release().await.unwrap();
    app
}

fn marker(app: &TestApp) -> String {
    std::fs::read_to_string(app.file("seals.bookmark")).unwrap()
}

/// What is before the marker is not looked at again by a start; a verification looks at all.
#[tokio::test]
async fn a_start_looks_at_what_came_since_its_bookmark() {
    let app = with_six_seals().await;
    assert!(marker(&app).contains(r#""seal":4,"#), "{}", marker(&app));
    app.tamper("update seals set root = sha256('x') where seal = 1")
        .await;
    assert_eq!(seals(&app).await, 0);
    assert_eq!(app.verified("seals").await.bad_seal.unwrap().seal, 1);
    std::fs::remove_file(app.file("seals.bookmark")).unwrap();
    assert!(refused(begins(&app).await.err()).contains("seal 1 "));
}

/// The second partition was sealed last before the marker.
#[tokio::test]
async fn it_goes_on_for_every_partition() {
    let app = with_six_seals().await;
    // It could not be followed from the first on.
    app.tamper("update seals set root = sha256('x') where seal = 1")
        .await;
    app.append(vec![(3, 23, reserved(3, 22))]).await;
    assert_eq!(seals(&app).await, 1);
    app.append(vec![(2, 25, reserved(2, 24))]).await;
    assert_eq!(seals(&app).await, 1);
    assert!(marker(&app).contains(r#""seal":6,"#), "{}", marker(&app));
    assert_eq!(app.lines("seals").len(), 8);
    std::fs::remove_file(app.file("seals.bookmark")).unwrap();
    assert!(refused(begins(&app).await.err()).contains("seal 1 "));
}

/// A file that lacks some is filled up, and marked as well.
#[tokio::test]
async fn a_file_that_is_made_anew_is_marked_too() {
    let app = with_six_seals().await;
    let (lines, marked) = (app.lines("seals"), marker(&app));
    for kept in [0, 1, 3, 4, 5] {
        let text: String = lines[..kept]
            .iter()
            .map(|line| format!("{line}\n"))
            .collect();
        std::fs::write(app.file("seals"), text).unwrap();
        std::fs::remove_file(app.file("seals.bookmark")).unwrap();
        assert_eq!(seals(&app).await, 0);
        assert_eq!(
            (app.lines("seals"), marker(&app)),
            (lines.clone(), marked.clone()),
            "{kept} were kept"
        );
    }
    assert_eq!(app.verified("seals").await.verdict, Verdict::Whole);
}

#[rstest]
#[case::marked(
    "update seals set marks = overlay(marks placing '\\x00000001' from 1) where seal = 4",
    "seal 4 "
)]
#[case::after(
    "update seals set at = at + interval '1 microsecond' where seal = 5",
    "seal 5 "
)]
#[case::last(
    "update seals set signature = overlay(signature placing '\\x00' from 1) where seal = 6",
    "seal 6 "
)]
#[case::gone("delete from seals where seal = 5", "seal 5 ")]
#[case::set_back(
    "delete from seals where seal > 4",
    "the file has seal 5, and the database ends at seal 4"
)]
#[case::set_back_far(
    "delete from seals where seal > 2",
    "the file has seal 3, and the database ends at seal 2"
)]
#[tokio::test]
async fn what_was_changed_since_is_refused(#[case] damage: &str, #[case] expected: &str) {
    let app = with_six_seals().await;
    app.tamper(damage).await;
    let why = refused(begins(&app).await.err());
    assert!(why.contains(expected), "{why}");
}

#[tokio::test]
async fn a_line_that_was_changed_since_is_refused() {
    for number in 4..=6 {
        let app = with_six_seals().await;
        let text = app
            .lines("seals")
            .join("\n")
            .replace(&format!("\"seal\":{number},"), "\"seal\":99,");
        std::fs::write(app.file("seals"), format!("{text}\n")).unwrap();
        let why = refused(begins(&app).await.err());
        assert!(
            why.contains(&format!("seal {number} in the file is not the database's")),
            "{why}"
        );
    }
}

/// File and database agree on it, and it is still not the seal that was followed.
#[tokio::test]
async fn the_marked_seal_that_was_changed_in_both_is_refused() {
    let app = with_six_seals().await;
    let mut lines = app.lines("seals");
    let seal: serde_json::Value = serde_json::from_str(&lines[3]).unwrap();
    lines[3] = lines[3].replace(seal["root"].as_str().unwrap(), &"0".repeat(64));
    app.tamper("update seals set root = decode(repeat('00', 32), 'hex') where seal = 4")
        .await;
    std::fs::write(app.file("seals"), format!("{}\n", lines.join("\n"))).unwrap();
    assert!(refused(begins(&app).await.err()).contains("seal 4 "));
}

/// It is taken as if there were none: then all are followed, and the first is found to be changed.
#[tokio::test]
async fn a_bookmark_that_nobody_signed_is_no_bookmark() {
    let app = with_six_seals().await;
    app.tamper("update seals set root = sha256('x') where seal = 1")
        .await;
    let marked = marker(&app);
    let signed_by_another = {
        let other = with_six_seals().await;
        marker(&other)
    };
    let mut forged = vec![String::new(), "{}".into(), signed_by_another];
    forged.extend((0..marked.len() - 1).step_by(7).map(|at| {
        let mut bytes = marked.clone().into_bytes();
        bytes[at] ^= 1;
        String::from_utf8(bytes).unwrap()
    }));
    for forged in forged {
        std::fs::write(app.file("seals.bookmark"), &forged).unwrap();
        assert!(
            refused(begins(&app).await.err()).contains("seal 1 "),
            "{forged}"
        );
    }
    std::fs::write(app.file("seals.bookmark"), &marked).unwrap();
    let mut sealing = app.sealing("seals");
    sealing.key = SigningKey::from_bytes(&[8; 32]);
    let another = Sealer::begin_with_markers_every(&app.log, &app.pool, &sealing, 2).await;
    assert!(refused(another.err()).contains("seal 1 "));
    sealing.earlier = public();
    assert!(
        Sealer::begin_with_markers_every(&app.log, &app.pool, &sealing, 2)
            .await
            .is_ok(),
        "an earlier key of ours"
    );
}
