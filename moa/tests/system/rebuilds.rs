//! Rebuilds of every read model on a long history, under load, while the projectors are killed. Takes minutes, so it is ignored
//! by default: `cargo nextest run -p moa --run-ignored only -E 'test(rebuilds::)'`. `MOA_REBUILD_EVENTS` sets the length of
//! the history.

use crate::checker::{Fault, Log, Tables, chain_is_whole, counters, tables_faults};
use crate::deployment::{Deployment, Service};
use crate::harness::{read_models, within};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DEFAULT_EVENTS: u64 = 20_000;
/// How long the consumers may take to apply the history, and a rebuild to fold it.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(900);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The shares of a fold after which both projectors are killed.
const KILLED_AT: [f64; 2] = [0.15, 0.60];
/// A throttled fold takes about so many seconds: long enough to be interrupted twice.
const FOLD_SECONDS: i64 = 10;

/// Steps: two of each service on a long history; under load each read model is rebuilt while both projectors are killed twice,
/// rolled back and forward again; the load stops and everything equals the fold of the log; each read model is rebuilt twice,
/// to the same digest; a broken row is found, a job that resumes after its comparison does not switch to what differs, and an
/// operator who accepts the differences mends the row.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn rebuilds_survive_kills_under_load_and_come_to_the_same_digest() {
    let events = std::env::var("MOA_REBUILD_EVENTS")
        .map_or(DEFAULT_EVENTS, |text| text.parse().expect("a number"));
    let mut deployment = Deployment::with_history(events).await;
    println!(
        "caught up with {events} events after {:?}",
        deployment.caught_up_within(HISTORY_TIMEOUT).await
    );
    let load = deployment.load().await;
    for model in read_models() {
        rebuild_while_projectors_die(&mut deployment, model).await;
        back_and_forth(&deployment, model).await;
    }
    load.stop().await;
    equals_the_fold_of_the_log(&deployment).await;
    for model in read_models() {
        rebuild_twice(&deployment, model).await;
    }
    a_broken_row_is_refused_and_mended(&deployment).await;
}

async fn rebuild_while_projectors_die(deployment: &mut Deployment, model: &str) {
    let before = live(deployment, model).await;
    let rate = events_in(deployment).await / FOLD_SECONDS;
    let id = begin(deployment, model, &format!("maxRate={rate}")).await;
    let (mut kills, since) = (KILLED_AT.into_iter().peekable(), Instant::now());
    let job = loop {
        let job = job(deployment, id).await;
        if job["state"] != "RUNNING" {
            break job;
        }
        assert!(since.elapsed() < HISTORY_TIMEOUT, "it does not end: {job}");
        let share = job["done"].as_f64().unwrap() / job["total"].as_f64().unwrap().max(1.0);
        if job["stage"] == "FOLDING" && kills.next_if(|at| share >= *at).is_some() {
            // Which of them runs the job does not matter: it is resumed after both are gone.
            for number in [0, 1] {
                deployment.kill(Service::Projector, number).await;
            }
            for number in [0, 1] {
                deployment.start_again(Service::Projector, number).await;
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    println!(
        "{model}: rebuilt in {:?}, {} kills left",
        since.elapsed(),
        kills.count()
    );
    assert_eq!(
        (&job["state"], &job["outcome"]["equal"]),
        (&json!("DONE"), &json!(true)),
        "{job}"
    );
    assert!(live(deployment, model).await > before, "{job}");
}

async fn back_and_forth(deployment: &Deployment, model: &str) {
    let newer = live(deployment, model).await;
    for is_newer in [false, true] {
        let answer = post(deployment, model, "rollback").await;
        let now = live(deployment, model).await;
        assert_eq!(
            (answer["generation"].as_i64(), now == newer),
            (Some(now), is_newer),
            "{answer}"
        );
    }
    post(deployment, model, "drop").await;
}

async fn rebuild_twice(deployment: &Deployment, model: &str) {
    let mut outcomes = Vec::new();
    for _ in 0..2 {
        let id = begin(deployment, model, "").await;
        let job = ended(deployment, id).await;
        assert_eq!(
            (&job["state"], &job["outcome"]["equal"]),
            (&json!("DONE"), &json!(true)),
            "{job}"
        );
        outcomes.push((
            job["outcome"]["positions"].clone(),
            job["outcome"]["digest"]["new"].clone(),
        ));
        post(deployment, model, "drop").await;
    }
    assert_eq!(
        outcomes[0], outcomes[1],
        "two rebuilds of {model} without events between them"
    );
}

async fn a_broken_row_is_refused_and_mended(deployment: &Deployment) {
    let broken = "update holdings set amount = amount + 1
                   where (user_id, product_id) = (select user_id, product_id from holdings order by 1, 2 limit 1)";
    sqlx::query(broken).execute(&deployment.pool).await.unwrap();
    let before = live(deployment, "holdings").await;
    let id = begin(deployment, "holdings", "").await;
    let job = ended(deployment, id).await;
    assert_eq!(
        (&job["state"], &job["outcome"]["equal"]),
        (&json!("FAILED"), &json!(false)),
        "{job}"
    );
    // As a projector leaves it that dies between the comparison and recording the failure.
    let resumed =
        "update jobs set state = 'RUNNING', problem = null, ended_at = null where id = $1";
    sqlx::query(resumed)
        .bind(id)
        .execute(&deployment.pool)
        .await
        .unwrap();
    assert_eq!(ended(deployment, id).await["state"], "FAILED");
    assert_eq!(
        live(deployment, "holdings").await,
        before,
        "what differs is not switched to unasked"
    );
    let refused = deployment
        .api(0)
        .operate(Method::POST, "/admin/projection/holdings/switch", None)
        .await;
    assert_eq!(refused.status, 409, "{}", refused.body);
    post(deployment, "holdings", "switch?acceptDifferences=true").await;
    post(deployment, "holdings", "drop").await;
    equals_the_fold_of_the_log(deployment).await;
}

async fn equals_the_fold_of_the_log(deployment: &Deployment) {
    deployment.quiet().await;
    let log = Log::read(&deployment.pool).await;
    let mut faults: Vec<Fault> = tables_faults(&log, &Tables::read(&deployment.pool).await);
    let keys = counters::Keys::of(&deployment.pool).await;
    faults.extend(counters::faults(&log, &deployment.redis.client(), &keys).await);
    assert!(faults.is_empty(), "{faults:?}");
    chain_is_whole(&deployment.pool).await;
}

async fn begin(deployment: &Deployment, model: &str, parameters: &str) -> i64 {
    post(deployment, model, &format!("rebuild?{parameters}")).await["jobId"]
        .as_i64()
        .unwrap()
}

async fn post(deployment: &Deployment, model: &str, what: &str) -> Value {
    let answer = deployment
        .api(0)
        .operate(
            Method::POST,
            &format!("/admin/projection/{model}/{what}"),
            None,
        )
        .await;
    assert!(answer.status < 300, "{what} of {model}: {}", answer.body);
    answer.data()
}

async fn job(deployment: &Deployment, id: i64) -> Value {
    deployment
        .api(0)
        .operate(Method::GET, &format!("/admin/job/{id}"), None)
        .await
        .data()
}

async fn ended(deployment: &Deployment, id: i64) -> Value {
    let ended = async || Some(job(deployment, id).await).filter(|job| job["state"] != "RUNNING");
    within(HISTORY_TIMEOUT, "the job's end", ended).await
}

/// Which generation is live.
async fn live(deployment: &Deployment, model: &str) -> i64 {
    let list = deployment
        .api(0)
        .operate(Method::GET, "/admin/projection", None)
        .await
        .data();
    let rows = list["list"].as_array().unwrap().iter();
    let live = rows
        .filter(|row| row["name"] == model && row["state"] == "RUNNING")
        .find_map(|row| row["generation"].as_i64());
    live.unwrap_or_else(|| panic!("{model} has no live generation: {list}"))
}

async fn events_in(deployment: &Deployment) -> i64 {
    sqlx::query_scalar("select count(*) from events")
        .fetch_one(&deployment.pool)
        .await
        .unwrap()
}
