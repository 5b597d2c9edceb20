//! Two processes write to one partition.

use std::time::{Duration, Instant};

use crate::checker::{Evidence, chain_is_whole};
use crate::harness::{Call, Follower, Load, TEST_TIMEOUT, TestApp, within};

/// Clients at each process.
const CLIENTS: usize = 16;
/// The least part of all acceptances that each of two processes must get.
const MIN_SHARE: f64 = 0.2;
/// More than all clients can take.
const LARGE_TOTAL_WON: i64 = 1_000_000_000;
/// The longest that the others may wait for one that is frozen.
const MAX_ACCEPT_GAP: Duration = Duration::from_secs(5);
/// How long a process stays frozen: past every bound after which the database takes back what it holds.
const FREEZE_DURATION: Duration = Duration::from_secs(7);
/// Tries to freeze a process just while it holds an append lock.
const FREEZES: usize = 40;

/// How long the race goes on; `MOA_RACE_SECONDS` says otherwise.
fn race_time() -> Duration {
    let seconds = std::env::var("MOA_RACE_SECONDS")
        .ok()
        .map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(10))
}

/// Products that live in one partition of the four.
async fn products_of_one_partition(app: &TestApp) -> Vec<i64> {
    let mut products = Vec::new();
    for number in 0..8 {
        products.push(
            app.open_product(&format!("race {number}"), LARGE_TOTAL_WON)
                .await,
        );
    }
    products.retain(|id| id % 4 == 1);
    assert_eq!(products.len(), 2);
    products
}

fn accepted_at(app: &TestApp, api: usize) -> usize {
    app.journal
        .count(|call| call.api == api && call.is_accepted())
}

/// Steps: two products of one partition; clients at both processes invest in both all the time, while a reader follows
/// the log by position; they stop; quiet; the checker, the chain, the shares.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_race_on_one_partition() {
    let app = TestApp::with_processes(2).await;
    let products = products_of_one_partition(&app).await;
    let follower = Follower::start(&app.pool);
    let load = Load::start(&app.apis(), CLIENTS, &products);
    tokio::time::sleep(race_time()).await;
    load.stop().await;
    let evidence = Evidence::of(
        &app,
        &products,
        &["api0-client0".into(), "api1-client1".into()],
    )
    .await;
    evidence.holds();
    follower.has_seen_everything().await;
    chain_is_whole(&app.pool).await;

    let accepted = [accepted_at(&app, 0), accepted_at(&app, 1)];
    let all: usize = accepted.iter().sum();
    println!(
        "accepted {accepted:?} in {:?}, {} events",
        race_time(),
        evidence.log.events.len()
    );
    assert!(
        all > 0
            && accepted
                .iter()
                .all(|one| *one as f64 >= MIN_SHARE * all as f64),
        "{accepted:?}"
    );
    let unknown: Vec<_> = app
        .journal
        .read()
        .into_iter()
        .filter(Call::is_unknown)
        .collect();
    let first: Vec<_> = unknown
        .iter()
        .take(3)
        .map(|call| (call.api, call.answered - call.sent, &call.outcome))
        .collect();
    assert!(
        unknown.is_empty(),
        "{} got no answer though nobody was frozen or killed: {first:?}",
        unknown.len()
    );
}

/// Steps: load on both; process 0 is frozen at a moment when its backend holds an append lock in an open transaction;
/// process 1 goes on; process 0 thaws and accepts again; load stops; quiet; the checker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_frozen_with_the_append_lock_and_the_other_goes_on() {
    let app = TestApp::with_processes(2).await;
    let products = products_of_one_partition(&app).await;
    let load = Load::start(&app.apis(), CLIENTS, &products);
    both_accept(&app).await;

    let frozen_at = freeze_with_the_append_lock(&app).await;
    tokio::time::sleep(FREEZE_DURATION).await;
    app.processes[0].signal("CONT");
    let thawed_at = Instant::now();
    let before = accepted_at(&app, 0);
    let accepts = async || (accepted_at(&app, 0) > before + CLIENTS).then_some(());
    within(TEST_TIMEOUT, "acceptances of the one that thawed", accepts).await;
    println!(
        "the one that thawed accepts again after {:?}",
        thawed_at.elapsed()
    );
    load.stop().await;

    let gap = longest_gap(&app, 1, frozen_at, thawed_at);
    let overloaded = app
        .journal
        .count(|call| call.api == 1 && call.is_refused("OVERLOADED"));
    println!(
        "the other's longest gap was {gap:?}; {overloaded} of its clients were told to come again"
    );
    assert!(gap < MAX_ACCEPT_GAP, "{gap:?}");
    Evidence::of(&app, &products, &[]).await.holds();
    chain_is_whole(&app.pool).await;
}

async fn both_accept(app: &TestApp) {
    let accept = async || (accepted_at(app, 0) > 100 && accepted_at(app, 1) > 100).then_some(());
    within(TEST_TIMEOUT, "load on both", accept).await;
}

/// Freezes process 0 again and again until that catches it with the append lock, which then stays held.
async fn freeze_with_the_append_lock(app: &TestApp) -> Instant {
    for _ in 0..FREEZES {
        app.processes[0].signal("STOP");
        let frozen_at = Instant::now();
        // Whoever is not frozen moves on within this time.
        tokio::time::sleep(Duration::from_millis(400)).await;
        if turn_is_stuck(app).await {
            return frozen_at;
        }
        app.processes[0].signal("CONT");
        let before = accepted_at(app, 0);
        within(TEST_TIMEOUT, "acceptances", async || {
            (accepted_at(app, 0) > before).then_some(())
        })
        .await;
    }
    panic!("never caught with the append lock");
}

/// Whether somebody has held a partition's append lock in an idle transaction for long, as no running process does.
async fn turn_is_stuck(app: &TestApp) -> bool {
    sqlx::query_scalar(
        "select exists (select from pg_locks l join pg_stat_activity a using (pid)
                         where l.locktype = 'advisory' and l.granted and a.datname = current_database()
                           and a.state = 'idle in transaction'
                           and clock_timestamp() - a.state_change > interval '300 ms')",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap()
}

/// The longest time without an acceptance at `api` from `from` to `to`.
fn longest_gap(app: &TestApp, api: usize, from: Instant, to: Instant) -> Duration {
    let calls = app.journal.read();
    let accepted = calls
        .iter()
        .filter(|call| call.api == api && call.is_accepted());
    let mut times: Vec<_> = accepted
        .map(|call| call.answered)
        .filter(|at| (from..to).contains(at))
        .collect();
    times.extend([from, to]);
    times.sort_unstable();
    times
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap()
}

/// Steps: load on both; process 0 is frozen; no client asks any more; everything in the log gets its fate while it is
/// frozen still, what it had taken on included; it thaws; quiet; the checker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_frozen_one_was_settling_gets_its_fate_from_the_other() {
    let app = TestApp::with_processes(2).await;
    let products = products_of_one_partition(&app).await;
    let load = Load::start(&app.apis(), CLIENTS, &products);
    both_accept(&app).await;
    app.processes[0].signal("STOP");
    load.ask_no_more();
    app.settled().await;
    app.processes[0].signal("CONT");
    load.stop().await;
    Evidence::of(&app, &products, &[]).await.holds();
}
