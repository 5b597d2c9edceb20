//! A proof that an invest is in the sealed log convinces who has the public key, and no other proof does.

use super::app::*;
use audit::proof::{ProveError, prove};
use proof::inclusion::{VerifiedProof, check};
use proof::key::SigningKey;
use serde_json::{Value, json};

async fn with_a_proof() -> (TestApp, Value) {
    let app = TestApp::sealed().await;
    app.append(vec![(2, 22, settled(2, 3))]).await;
    app.seal("seals").await;
    app.append(vec![(3, 22, settled(3, 3))]).await;
    let proof = prove(&app.log, &app.pool, invest(2, 3)).await.unwrap();
    (app, serde_json::to_value(proof).unwrap())
}

fn checked(proof: &Value) -> Result<VerifiedProof, String> {
    check(&proof.to_string(), &public()).map_err(|why| why.to_string())
}

#[tokio::test]
async fn a_proof_convinces() {
    let (app, proof) = with_a_proof().await;
    let shown = checked(&proof).unwrap();
    assert_eq!(
        (shown.log, shown.invest, shown.unsealed),
        (app.log.identity().log_id, invest(2, 3).0, 0)
    );
    let events: Vec<_> = shown
        .events
        .iter()
        .map(|event| (event.event_type.as_str(), event.seal))
        .collect();
    assert_eq!(events, [("InvestReserved", 1), ("InvestSettled", 3)]);
    assert!(shown.events[0].payload.contains("\"amount\":3"));
}

#[tokio::test]
async fn every_invest_can_be_proved() {
    let app = TestApp::sealed().await;
    for product in [2, 3] {
        for number in 1..=20 {
            let proof = prove(&app.log, &app.pool, invest(product, number))
                .await
                .unwrap();
            let proof = serde_json::to_value(proof).unwrap();
            assert_eq!(checked(&proof).unwrap().events.len(), 1);
            assert!(
                proof["events"][0]["path"].as_array().unwrap().len() <= 6,
                "42 leaves: 6 hashes at most"
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_sealed_is_not_proved() {
    let (app, _) = with_a_proof().await;
    let half = prove(&app.log, &app.pool, invest(3, 3)).await.unwrap();
    let shown = checked(&serde_json::to_value(half).unwrap()).unwrap();
    assert_eq!((shown.events.len(), shown.unsealed), (1, 1));
    app.invests(30..=30).await;
    let not_yet = prove(&app.log, &app.pool, invest(3, 30)).await;
    assert!(matches!(not_yet, Err(ProveError::NotSealed)), "{not_yet:?}");
    let unknown = prove(&app.log, &app.pool, invest(3, 999)).await;
    assert!(matches!(unknown, Err(ProveError::Unknown)), "{unknown:?}");
}

#[tokio::test]
async fn a_log_that_is_not_what_was_sealed_proves_nothing() {
    let (app, _) = with_a_proof().await;
    app.tamper(&format!(
        "update events set metadata = '{{}}' where partition = 0 and position = 20; {}",
        rehashed(0, 20)
    ))
    .await;
    let broken = prove(&app.log, &app.pool, invest(2, 3)).await;
    assert!(matches!(broken, Err(ProveError::Broken)), "{broken:?}");
}

#[tokio::test]
async fn another_key_is_not_convinced() {
    let (_app, proof) = with_a_proof().await;
    let other = [SigningKey::from_bytes(&[8; 32]).verifying_key()];
    let why = check(&proof.to_string(), &other).unwrap_err().to_string();
    assert!(why.contains("which was not given"), "{why}");
}

/// Every value of a proof that is changed makes it none, except what the proof does not prove.
#[tokio::test]
async fn a_forged_proof_convinces_nobody() {
    let (_app, proof) = with_a_proof().await;
    let mut tried = 0;
    for pointer in pointers(&proof) {
        if pointer == "/unsealed" {
            continue;
        }
        let mut forged = proof.clone();
        let value = forged.pointer_mut(&pointer).unwrap();
        *value = match &*value {
            Value::String(text) => json!(changed(text)),
            Value::Number(number) => json!(number.as_i64().unwrap() + 1),
            other => panic!("{other}"),
        };
        assert!(
            checked(&forged).is_err(),
            "{pointer} can be changed: {forged}"
        );
        tried += 1;
    }
    assert!(tried > 60, "only {tried}");
    let mut swapped = proof.clone();
    swapped["events"].as_array_mut().unwrap().swap(0, 1);
    assert!(checked(&swapped).is_err());
    let mut repeated = proof.clone();
    let first = repeated["events"][0].clone();
    repeated["events"].as_array_mut().unwrap().insert(0, first);
    assert!(checked(&repeated).is_err());
    for emptied in ["events", "seals"] {
        let mut forged = proof.clone();
        forged[emptied] = json!([]);
        assert!(checked(&forged).is_err());
    }
}

/// Where every string and number is.
fn pointers(value: &Value) -> Vec<String> {
    let below = |name: String, value: &Value| {
        pointers(value)
            .into_iter()
            .map(move |rest| format!("/{name}{rest}"))
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .flat_map(|(name, value)| below(name.clone(), value))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(at, value)| below(at.to_string(), value))
            .collect(),
        _ => vec![String::new()],
    }
}

/// The same length, and another last character.
fn changed(text: &str) -> String {
    let mut text = text.to_owned();
    let last = text.pop().unwrap();
    text.push(if last == '1' { '2' } else { '1' });
    text
}
