//! Rebuilds of everything at once.

use super::{get, invested, post};
use crate::harness::{TEST_TIMEOUT, ask, read_models, within};

/// Steps: a rebuild of each read model is asked for, each so slow that it lasts; until the first has folded some events the process folds no
/// more than three, takes invests, and is ready; all are dropped.
#[tokio::test]
async fn rebuilds_of_everything_leave_the_log_its_connections() {
    let (app, products) = invested().await;
    for name in read_models() {
        let answer = post(&app, &format!("/admin/projection/{name}/rebuild?maxRate=1")).await;
        assert_eq!(answer.status, 202, "{name}: {}", answer.body);
    }
    let some_are_folded = async || {
        assert!(app.invest(ask("dan", products[0], 1)).await.is_accepted());
        let jobs = get(&app, "/admin/job").await.data()["list"]
            .as_array()?
            .clone();
        let begun: Vec<i64> = jobs
            .iter()
            .filter_map(|job| job["done"].as_i64())
            .filter(|done| *done > 0)
            .collect();
        assert!(begun.len() <= 3, "three at a time: {jobs:?}");
        begun.iter().any(|done| *done >= 4).then_some(())
    };
    within(TEST_TIMEOUT, "some events are folded", some_are_folded).await;
    let ready = reqwest::get(format!("{}/readyz", app.processes[0].ops))
        .await
        .unwrap();
    assert_eq!(ready.text().await.unwrap(), "ok");
    for name in read_models() {
        assert_eq!(
            post(&app, &format!("/admin/projection/{name}/drop"))
                .await
                .status,
            200,
            "{name}"
        );
    }
}
