//! The log in its database, tampered with behind Moa's back; and what is exported of it then.

use proof::export::Format;
use serde_json::Value;
use std::path::PathBuf;

use crate::app::SealedApp;
use crate::found::{Findings, by_moa, by_python, facts, findings, in_the_database};
use crate::rows;
use crate::tamperings::{KINDS, tampered};
use testbed::Random;

/// What the issue asks for.
const TAMPERINGS: usize = 200;

/// What is known of one tampering before the second verifier is asked.
struct Case {
    name: String,
    expected: Findings,
    export: PathBuf,
    moa: Value,
}

/// Steps: a log is written and sealed; 200 times something is done to it, it is verified where it is, exported as it is then,
/// the export verified, and the log put back; at the end the second verifier gets all exports.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_tamperings_are_found_and_rightly_placed_by_every_verifier() {
    let app = SealedApp::sealed().await;
    let mut random = Random::from_env("MOA_TAMPERING_SEED");
    let seed = random.seed;
    is_whole(&app).await;
    let mut cases = Vec::new();
    for number in 0..TAMPERINGS {
        let tampered = tampered(&app, KINDS[number % KINDS.len()], &mut random);
        let name = format!("tampering {number} of seed {seed}: {}", tampered.name);
        rows::write(&app.pool, &tampered.rows).await;
        let live = in_the_database(&app).await;
        assert_eq!(
            findings(&live),
            tampered.expected,
            "{name}, in the database: {live:#}"
        );
        let format = if random.index(4) == 0 {
            Format::Csv
        } else {
            Format::Ndjson
        };
        let export = app.file(&format!("{number}.export"));
        app.export(format, &export).await;
        let moa = by_moa(&app, &export);
        assert_eq!(
            findings(&moa),
            tampered.expected,
            "{name}, exported: {moa:#}"
        );
        cases.push(Case {
            name,
            expected: tampered.expected,
            export,
            moa,
        });
    }
    rows::write(&app.pool, &app.rows).await;
    is_whole(&app).await;
    let exports: Vec<_> = cases.iter().map(|case| case.export.clone()).collect();
    for (case, python) in cases.iter().zip(by_python(&app, &exports, &app.seals())) {
        assert_eq!(
            findings(&python),
            case.expected,
            "{}, in Python: {python:#}",
            case.name
        );
        assert_eq!(facts(&python), facts(&case.moa), "{}", case.name);
    }
}

/// All three say so, of both forms of an export, and say what is not sealed.
pub async fn is_whole(app: &SealedApp) {
    let live = in_the_database(app).await;
    assert_eq!(findings(&live), Findings::new(), "{live:#}");
    assert_eq!(live["events"], app.rows.len());
    for (partition, sealed) in live["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&app.sealed)
    {
        let unsealed = serde_json::json!({"first": sealed + 1, "last": partition["head"]});
        assert_eq!(
            (&partition["sealedUpto"], &partition["unsealed"]),
            (&(*sealed).into(), &unsealed)
        );
    }
    let exports = [app.file("whole.ndjson"), app.file("whole.csv")];
    app.export(Format::Ndjson, &exports[0]).await;
    app.export(Format::Csv, &exports[1]).await;
    for (export, python) in exports.iter().zip(by_python(app, &exports, &app.seals())) {
        let moa = by_moa(app, export);
        assert_eq!((facts(&moa), facts(&python)), (facts(&live), facts(&live)));
    }
}
