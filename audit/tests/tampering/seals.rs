//! The file of seals, tampered with, or cut off.

use proof::export::Format;
use proof::report::Verdict;
use proof::seal::{Loss, Statement};
use sha2::{Digest as _, Sha256};
use std::path::Path;

use crate::app::{PARTITIONS, SealedApp};
use crate::found::{Findings, Found, by_moa_with, by_python, facts, findings};
use testbed::Random;

/// How often a seal is changed.
const TIMES: usize = 12;

struct SealedLog {
    app: SealedApp,
    export: std::path::PathBuf,
    lines: Vec<String>,
}

impl SealedLog {
    async fn log() -> Self {
        let app = SealedApp::sealed().await;
        let export = app.file("whole.ndjson");
        app.export(Format::Ndjson, &export).await;
        let lines = std::fs::read_to_string(app.seals()).unwrap();
        let lines = lines.split_inclusive('\n').map(String::from).collect();
        Self { app, export, lines }
    }

    /// What both verifiers find with these seals; and the report.
    fn with(&self, lines: &[String], name: &str) -> (Findings, serde_json::Value) {
        let seals = self.app.file("other-seals.ndjson");
        std::fs::write(&seals, lines.concat()).unwrap();
        self.with_file(&seals, name)
    }

    fn with_file(&self, seals: &Path, name: &str) -> (Findings, serde_json::Value) {
        let moa = by_moa_with(&self.app, &self.export, seals);
        let python = by_python(&self.app, std::slice::from_ref(&self.export), seals);
        assert_eq!(facts(&python[0]), facts(&moa), "{name}: {moa:#}");
        (findings(&moa), moa)
    }
}

#[tokio::test]
async fn seals_that_are_missing_at_the_end_leave_more_unsealed_and_it_is_stated() {
    let sealed = SealedLog::log().await;
    let (found, report) = sealed.with(&sealed.lines[..4], "four seals");
    assert_eq!(found, Findings::new());
    assert_eq!(report["seals"], 4);
    for partition in report["partitions"].as_array().unwrap() {
        let upto = partition["sealedUpto"].as_i64().unwrap();
        assert_eq!(
            partition["unsealed"],
            serde_json::json!({"first": upto + 1, "last": partition["head"]})
        );
    }
    let (found, report) = sealed.with(&[], "none");
    assert_eq!((found, &report["seals"]), (Findings::new(), &0.into()));
    assert_eq!(report["partitions"][0]["unsealed"]["first"], 1);
}

#[tokio::test]
async fn a_seal_that_is_missing_changed_or_out_of_its_place_is_named() {
    let sealed = SealedLog::log().await;
    let mut random = Random::from_env("MOA_TAMPERING_SEED");
    let without = |at: usize| {
        let mut lines = sealed.lines.clone();
        lines.remove(at);
        lines
    };
    assert_eq!(
        sealed.with(&without(0), "without the first").0,
        [Found::Seal(1)].into()
    );
    assert_eq!(
        sealed.with(&without(5), "without the sixth").0,
        [Found::Seal(6)].into()
    );
    let mut lines = sealed.lines.clone();
    lines.swap(2, 3);
    assert_eq!(sealed.with(&lines, "swapped").0, [Found::Seal(3)].into());
    for _ in 0..TIMES {
        let mut lines = sealed.lines.clone();
        let at = random.index(lines.len());
        let mut line = std::mem::take(&mut lines[at]).into_bytes();
        let (byte, digit) = (
            random.index(line.len() - 1),
            b"0123456789abcdefXY"[random.index(18)],
        );
        let before = std::mem::replace(&mut line[byte], digit);
        if before == digit {
            continue;
        }
        lines[at] = String::from_utf8(line).unwrap();
        let name = format!(
            "seed {}: byte {byte} of seal {} was {}",
            random.seed,
            at + 1,
            char::from(before)
        );
        assert_eq!(
            sealed.with(&lines, &name).0,
            [Found::Seal(at as i64 + 1)].into(),
            "{name}: {}",
            lines[at]
        );
    }
}

/// What an operator accepted as lost is said, and the positions are not sealed until they are sealed again.
#[tokio::test]
async fn a_loss_that_was_sealed_is_reported_and_a_wrong_one_is_not_believed() {
    let sealed = SealedLog::log().await;
    let believed = sealed.app.believed.seals();
    let of_first: Vec<_> = believed
        .iter()
        .filter(|seal| seal.statement.partition == 0)
        .collect();
    let (kept, end) = (
        &of_first[0].statement,
        &of_first[of_first.len() - 1].statement,
    );
    let loss = Statement {
        seal: believed.len() as i64 + 1,
        first: kept.last + 1,
        last: kept.last,
        head: kept.head,
        root: [0; 32],
        hash_prefixes_digest: Sha256::digest([]).into(),
        previous: believed[believed.len() - 1].statement.digest(),
        loss: Some(Loss {
            first: kept.last + 2,
            last: end.last,
            head: end.head,
        }),
        ..end.clone()
    };
    let with = |statement: Statement| {
        let line = statement.seal(Vec::new(), &sealed.app.secret).line() + "\n";
        [sealed.lines.clone(), vec![line]].concat()
    };
    let (found, report) = sealed.with(&with(loss.clone()), "a loss");
    assert_eq!(found, Findings::new());
    assert_eq!(report["partitions"][0]["sealedUpto"], kept.last);
    let lost = &report["losses"][0];
    assert_eq!(
        (&lost["first"], &lost["last"], &lost["partition"]),
        (&(kept.last + 2).into(), &end.last.into(), &0.into())
    );
    let changes: [fn(&mut Statement, &mut Loss); 6] = [
        |_, loss| loss.last -= 1,
        |_, loss| loss.head = [7; 32],
        |statement, loss| loss.first = statement.last,
        |statement, _| {
            (statement.first, statement.last) = (statement.first - 1, statement.last - 1)
        },
        |statement, _| statement.head = [7; 32],
        |statement, _| statement.previous = [7; 32],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let (mut wrong, mut lost) = (loss.clone(), loss.loss.unwrap());
        change(&mut wrong, &mut lost);
        wrong.loss = Some(lost);
        let found = sealed.with(&with(wrong), &format!("loss {number}")).0;
        assert_eq!(found, [Found::Seal(loss.seal)].into(), "loss {number}");
    }
}

/// As after the database was set back and sealed again: the key is right, the history another.
#[tokio::test]
async fn a_seal_that_follows_another_is_not_believed() {
    let sealed = SealedLog::log().await;
    let believed = sealed.app.believed.seals();
    let changes: [fn(&mut Statement); 5] = [
        |statement| statement.previous = [7; 32],
        |statement| statement.first += 1,
        |statement| statement.last += 1,
        |statement| statement.partition = PARTITIONS,
        |statement| statement.partitions += 1,
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut statement = believed[4].statement.clone();
        change(&mut statement);
        let mut lines = sealed.lines.clone();
        lines[4] = statement
            .seal(believed[4].hash_prefixes.clone(), &sealed.app.secret)
            .line()
            + "\n";
        assert_eq!(
            sealed.with(&lines, &format!("change {number}")).0,
            [Found::Seal(5)].into(),
            "change {number}"
        );
    }
    // Signed, and in its place; but not of what the log has. The next one does not follow it.
    let mut statement = believed[4].statement.clone();
    statement.root = [7; 32];
    let first = Found::Bad(
        statement.partition.into(),
        statement.first,
        "REWRITTEN".into(),
    );
    let mut lines = sealed.lines.clone();
    lines[4] = statement
        .seal(believed[4].hash_prefixes.clone(), &sealed.app.secret)
        .line()
        + "\n";
    assert_eq!(
        sealed.with(&lines, "another root").0,
        [first, Found::Seal(6)].into()
    );
}

/// That says nothing about the log, and nobody may take it for broken.
#[tokio::test]
async fn seals_of_an_unknown_key_or_of_another_log_are_not_believed_and_the_log_is_not_called_broken()
 {
    let mut sealed = SealedLog::log().await;
    let other = SealedApp::sealed().await;
    let with_the_seals_of_another = |sealed: &SealedLog, name: &str| {
        let (found, report) = sealed.with_file(&other.seals(), name);
        assert_eq!(
            (found, &report["verdict"]),
            ([Found::Seal(1)].into(), &"UNVERIFIABLE".into())
        );
    };
    with_the_seals_of_another(&sealed, "another log");
    // One of them in the midst of this log's is another matter: somebody put it there.
    let mut lines = sealed.lines.clone();
    lines[1] = std::fs::read_to_string(other.seals())
        .unwrap()
        .split_inclusive('\n')
        .nth(1)
        .unwrap()
        .to_owned();
    let (found, report) = sealed.with(&lines, "another log's second");
    assert_eq!(
        (found, &report["verdict"]),
        ([Found::Seal(2)].into(), &"BROKEN".into())
    );
    // The same file under another app's key: neither verifier believes one seal of it.
    sealed.app.key = other.key;
    std::fs::copy(other.public_key(), sealed.app.public_key()).unwrap();
    let (found, report) = sealed.with(&sealed.lines, "another key");
    assert_eq!(
        (found, &report["verdict"]),
        ([Found::Seal(1)].into(), &"UNVERIFIABLE".into())
    );
    assert_eq!(report["seals"], 0);
    with_the_seals_of_another(&sealed, "another log, and its key");
}

/// A key that nobody knows does not hide what is broken all the same.
#[tokio::test]
async fn a_broken_log_is_called_broken_whatever_key_is_given() {
    let mut sealed = SealedLog::log().await;
    let text = std::fs::read_to_string(&sealed.export).unwrap();
    std::fs::write(
        &sealed.export,
        text.replacen("\\\"amount\\\":1", "\\\"amount\\\":2", 1),
    )
    .unwrap();
    let other = SealedApp::sealed().await;
    sealed.app.key = other.key;
    std::fs::copy(other.public_key(), sealed.app.public_key()).unwrap();
    let (found, report) = sealed.with(&sealed.lines, "another key, and a change");
    assert_eq!(
        (found.len(), &report["verdict"]),
        (2, &"BROKEN".into()),
        "{report:#}"
    );
}

/// 1. The sealer gets a new key after two seals.
/// 2. Who has only the old one, or only the new one, is told which is missing; who has both verifies all.
#[tokio::test]
async fn after_a_rotation_each_key_alone_leaves_the_log_unverifiable() {
    let sealed = SealedLog::log().await;
    let new = proof::key::SigningKey::from_bytes(&[9; 32]);
    let believed = sealed.app.believed.seals();
    let mut lines = sealed.lines.clone();
    for (line, seal) in lines.iter_mut().zip(believed).skip(2) {
        *line = seal
            .statement
            .clone()
            .seal(seal.hash_prefixes.clone(), &new)
            .line()
            + "\n";
    }
    let seals = sealed.app.file("rotated.ndjson");
    std::fs::write(&seals, lines.concat()).unwrap();
    let verified = |keys: &[_]| {
        let seals = proof::seals_file::read(&seals).unwrap();
        proof::export::verify(&sealed.export, seals, keys).unwrap()
    };
    let old = verified(&[sealed.app.key]);
    assert_eq!(
        (old.verdict, old.seals, old.bad_seal.unwrap().seal),
        (Verdict::Unverifiable, 2, 3)
    );
    let later = verified(&[new.verifying_key()]);
    assert_eq!(
        (later.verdict, later.seals, later.bad_seal.unwrap().seal),
        (Verdict::Unverifiable, 0, 1)
    );
    let both = verified(&[sealed.app.key, new.verifying_key()]);
    assert_eq!((both.verdict, both.bad_seal), (Verdict::Whole, None));
}
