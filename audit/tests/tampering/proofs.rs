//! Proofs of single invests: both verifiers read what Moa makes, and neither takes what was changed in it.

use audit::proof::prove;
use domain::InvestId;
use proof::inclusion;
use serde_json::Value;

use crate::app::SealedApp;
use crate::found::proof_by_python;
use testbed::Random;

/// How often a proof is changed.
const TIMES: usize = 60;

#[tokio::test]
async fn a_proof_convinces_both_verifiers_and_a_changed_one_neither() {
    let app = SealedApp::sealed().await;
    let mut random = Random::from_env("MOA_TAMPERING_SEED");
    let row = app
        .rows
        .iter()
        .find(|row| row.event_type == "InvestFailed" && row.position > 20)
        .unwrap();
    let payload: Value = serde_json::from_str(&row.payload).unwrap();
    let invest: InvestId =
        serde_json::from_value(payload["InvestFailed"]["investId"].clone()).unwrap();
    let proof = serde_json::to_string(&prove(&app.log, &app.pool, invest).await.unwrap()).unwrap();
    let shown = inclusion::check(&proof, &[app.key]).unwrap();
    assert_eq!(shown.events.len(), 2, "reserved and failed");
    let mut files = vec![(app.file("proof.json"), proof.clone())];
    while files.len() <= TIMES {
        let byte = random.index(proof.len());
        let mut changed = proof.clone().into_bytes();
        changed[byte] = random.one(b"0123456789abcdefXY");
        let changed = String::from_utf8_lossy(&changed).into_owned();
        // What is not sealed is only told, not proved.
        let told = proof.find("\"unsealed\":").unwrap()..proof.find(",\"seals\":").unwrap();
        if changed != proof && !told.contains(&byte) {
            files.push((app.file(&format!("proof-{}.json", files.len())), changed));
        }
    }
    files
        .iter()
        .for_each(|(file, text)| std::fs::write(file, text).unwrap());
    let reports = proof_by_python(
        &app,
        &files
            .iter()
            .map(|(file, _)| file.clone())
            .collect::<Vec<_>>(),
    );
    for (number, ((_, text), report)) in files.iter().zip(&reports).enumerate() {
        let proved = number == 0;
        assert_eq!(
            inclusion::check(text, &[app.key]).is_ok(),
            proved,
            "seed {}: {text}",
            random.seed
        );
        assert_eq!(
            report["verdict"] == "PROVED",
            proved,
            "seed {}: {report} {text}",
            random.seed
        );
    }
    assert_eq!(reports[0]["events"][1]["payload"], row.payload);
}
