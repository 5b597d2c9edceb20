//! What each of the three verifiers says, brought to one form.

use audit::proof::verify_live;
use proof::export;
use proof::report::Report;
use proof::seals_file;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::app::SealedApp;

/// What is wrong, or that it cannot be verified at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A partition's first bad position, and what is wrong with it.
    Bad(i64, i64, String),
    /// The first seal that is not valid.
    Seal(i64),
    VerifyError,
}

/// Nothing when all is whole.
pub type Findings = BTreeSet<Found>;

pub fn bad(partition: i32, position: i64, problem: &str) -> Found {
    Found::Bad(partition.into(), position, problem.into())
}

/// What a report says; that it says so rightly.
pub fn findings(report: &Value) -> Findings {
    let mut found = Findings::new();
    for partition in report["partitions"].as_array().into_iter().flatten() {
        let bad = &partition["bad"];
        if let (Some(at), Some(position)) =
            (partition["partition"].as_i64(), bad["position"].as_i64())
        {
            found.insert(Found::Bad(
                at,
                position,
                bad["problem"].as_str().unwrap().into(),
            ));
        }
    }
    found.extend(report["badSeal"]["seal"].as_i64().map(Found::Seal));
    match report["verdict"].as_str().unwrap() {
        "WHOLE" => assert!(found.is_empty(), "{report}"),
        "BROKEN" => assert!(!found.is_empty(), "{report}"),
        "UNVERIFIABLE" => assert!(
            matches!(Vec::from_iter(&found)[..], [Found::Seal(_)]),
            "{report}"
        ),
        "IMPOSSIBLE" => assert!(found.insert(Found::VerifyError)),
        other => panic!("{other}"),
    }
    found
}

/// The log in the database, against the seals that an auditor has.
pub async fn in_the_database(app: &SealedApp) -> Value {
    serde_json::to_value(verify_live::verify(&app.pool, &app.believed).await.unwrap()).unwrap()
}

/// An export, by Moa.
pub fn by_moa(app: &SealedApp, export: &Path) -> Value {
    value(export::verify_against(export, &app.believed))
}

/// An export, against what seals there are in a file.
pub fn by_moa_with(app: &SealedApp, export: &Path, seals: &Path) -> Value {
    value(export::verify(
        export,
        seals_file::read(seals).unwrap(),
        &[app.key],
    ))
}

fn value(report: Result<Report, export::ExportError>) -> Value {
    match report {
        Ok(report) => serde_json::to_value(report).unwrap(),
        Err(error) => serde_json::json!({"verdict": "IMPOSSIBLE", "detail": error.to_string()}),
    }
}

/// Exports, by the second verifier.
pub fn by_python(app: &SealedApp, exports: &[PathBuf], seals: &Path) -> Vec<Value> {
    let mut command = python(app);
    command.arg("--seals").arg(seals);
    asked(command, "--export", exports, "WHOLE")
}

/// Proofs, by the second verifier.
pub fn proof_by_python(app: &SealedApp, proofs: &[PathBuf]) -> Vec<Value> {
    asked(python(app), "--proof", proofs, "PROVED")
}

fn python(app: &SealedApp) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    // Where `make test` puts what it needs.
    let path = std::env::var("PYTHONPATH")
        .unwrap_or_else(|_| root.join("target/python").display().to_string());
    let mut command = Command::new("python3");
    command
        .arg(root.join("examples/verify.py"))
        .arg("--json")
        .env("PYTHONPATH", path)
        .stdin(Stdio::null());
    command.arg("--public-key").arg(app.public_key());
    command
}

fn asked(mut command: Command, what: &str, files: &[PathBuf], well: &str) -> Vec<Value> {
    files.iter().for_each(|file| {
        command.arg(what).arg(file);
    });
    let output = command.output().unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8_lossy(&output.stderr),
    );
    let reports: Vec<Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(reports.len(), files.len(), "{err}");
    let all_well = reports.iter().all(|report| report["verdict"] == well);
    assert_eq!(output.status.code(), Some(i32::from(!all_well)), "{err}");
    reports
}

/// A report without its words, which are each verifier's own.
pub fn facts(report: &Value) -> Value {
    let mut report = report.clone();
    if let Some(facts) = report.as_object_mut() {
        facts.remove("export");
        facts.remove("detail");
        facts
            .get_mut("badSeal")
            .and_then(Value::as_object_mut)
            .map(|seal| seal.remove("detail"));
    }
    for partition in report["partitions"].as_array_mut().into_iter().flatten() {
        partition["bad"]
            .as_object_mut()
            .map(|bad| bad.remove("detail"));
    }
    report
}
