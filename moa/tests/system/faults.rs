//! Two of everything under load, and one fault after another: invests are answered as long as there is a database,
//! nothing is lost or doubled, and the views catch up. `MOA_FAULT_SECONDS` says how long a fault lasts.

use std::time::{Duration, Instant};

use crate::deployment::{Deployment, SERVICES, Service};
use crate::harness::Load;

/// The longest that an api which is not itself at fault may accept nothing.
const MAX_ACCEPT_GAP: Duration = Duration::from_secs(5);

/// How long a fault lasts: in production a minute for RabbitMQ, 30 s for a frozen service.
fn fault_time() -> Duration {
    let seconds = std::env::var("MOA_FAULT_SECONDS")
        .ok()
        .map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(6))
}

/// The fault is over: the views catch up under load, the load stops, and everything holds.
async fn is_healed(system: &Deployment, load: Load, what: &str, since: Instant) {
    let caught_up = system.caught_up().await;
    println!(
        "{what}: caught up {caught_up:?} after its end; longest gaps {:?}",
        gaps(system, since)
    );
    load.stop().await;
    system.holds().await;
}

fn gaps(system: &Deployment, since: Instant) -> [Duration; 2] {
    [0, 1].map(|api| system.longest_gap(api, since, Instant::now()))
}

/// Accepting went on at `apis`, as if nothing had happened.
fn went_on(system: &Deployment, apis: &[usize], since: Instant) {
    for api in apis {
        let gap = system.longest_gap(*api, since, Instant::now());
        assert!(
            gap < MAX_ACCEPT_GAP,
            "api {api} accepted nothing for {gap:?}"
        );
    }
}

/// Waits until events travel through RabbitMQ again.
async fn is_delivered_again(system: &Deployment) {
    let before = system.delivered().await;
    let more = async || (system.delivered().await > before + 10.0).then_some(());
    crate::harness::within(crate::deployment::CATCH_UP_TIMEOUT, "deliveries", more).await;
}

/// Steps: load, and a tap at the exchange; RabbitMQ stops, for a while, and starts again; events travel again; the tap has
/// heard all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_stops_and_starts() {
    let mut system = Deployment::open().await;
    let tap = system.tap().await;
    let (load, since) = (system.load().await, Instant::now());
    is_delivered_again(&system).await;
    system.rabbit.stop().await;
    tokio::time::sleep(fault_time()).await;
    system.rabbit.start_again().await;
    went_on(&system, &[0, 1], since);
    is_delivered_again(&system).await;
    is_healed(&system, load, "RabbitMQ stopped", since).await;
    println!(
        "the tap heard {} events",
        tap.has_heard_all(&system.pool).await
    );
}

/// Steps: load; every queue of Moa's consumers and the exchange are deleted; events travel again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_loses_its_queues_and_its_exchange() {
    let system = Deployment::open().await;
    let (load, since) = (system.load().await, Instant::now());
    is_delivered_again(&system).await;
    let deleted = system.delete_queues().await;
    println!("{deleted} of 24 queues deleted, in {:?}", since.elapsed());
    assert!(deleted >= 10);
    is_delivered_again(&system).await;
    went_on(&system, &[0, 1], since);
    is_healed(&system, load, "queues deleted", since).await;
}

/// Steps: load; RabbitMQ stops, loses all its data, and starts; events travel again, and a new tap hears them all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_loses_everything() {
    let mut system = Deployment::open().await;
    let (load, since) = (system.load().await, Instant::now());
    is_delivered_again(&system).await;
    system.rabbit.stop().await;
    system.rabbit.wipe();
    system.rabbit.start_again().await;
    is_delivered_again(&system).await;
    went_on(&system, &[0, 1], since);
    let tap = system.tap().await;
    is_healed(&system, load, "RabbitMQ wiped", since).await;
    println!(
        "the tap heard {} events",
        tap.has_heard_all(&system.pool).await
    );
}

/// Steps: load; Redis is flushed; stopped for a while and started, empty; frozen for a while. Reads go on all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_flushed_stopped_and_frozen() {
    let mut system = Deployment::open().await;
    let (load, since) = (system.load().await, Instant::now());
    let mut redis = system
        .redis
        .client()
        .get_multiplexed_async_connection()
        .await
        .unwrap();
    redis::cmd("FLUSHALL").exec_async(&mut redis).await.unwrap();
    went_on(&system, &[0, 1], since);
    is_healed(&system, load, "Redis flushed", since).await;

    let (load, since) = (system.load().await, Instant::now());
    system.redis.kill();
    reads_go_on(&system, fault_time()).await;
    system.redis.start();
    went_on(&system, &[0, 1], since);
    is_healed(&system, load, "Redis stopped", since).await;

    let (load, since) = (system.load().await, Instant::now());
    system.redis.freeze();
    reads_go_on(&system, fault_time()).await;
    system.redis.thaw();
    went_on(&system, &[0, 1], since);
    is_healed(&system, load, "Redis frozen", since).await;
}

/// Every read is answered, within a second.
async fn reads_go_on(system: &Deployment, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        for api in system.apis() {
            let asked = Instant::now();
            let answer = api.get("/api/product").await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (200, "01"),
                "{}",
                answer.body
            );
            assert!(
                asked.elapsed() < Duration::from_secs(1),
                "{:?}",
                asked.elapsed()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Steps, for one service after another: load; one of the two is killed with -9, stays away for a while and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_each_service_is_killed() {
    let mut system = Deployment::open().await;
    for service in SERVICES {
        let (load, since) = (system.load().await, Instant::now());
        system.kill(service, 0).await;
        tokio::time::sleep(fault_time() / 2).await;
        went_on(&system, apis_unaffected_by(service), since);
        system.start_again(service, 0).await;
        system.accepts_at(0, Instant::now()).await;
        is_healed(&system, load, &format!("{service:?} killed"), since).await;
    }
}

/// Steps: load; each process in turn is stopped and started again, as in a rolling deploy, readers and writers before and
/// after those they depend on; everything holds, and the other api has accepted all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_is_replaced_in_turn() {
    let mut system = Deployment::open().await;
    let (load, began) = (system.load().await, Instant::now());
    for number in [0, 1] {
        let since = Instant::now();
        for service in SERVICES {
            system.stop(service, number).await;
            system.start_again(service, number).await;
        }
        went_on(&system, &[1 - number], since);
        system.accepts_at(number, Instant::now()).await;
    }
    is_healed(&system, load, "all replaced", began).await;
}

/// Steps, for one service after another: load; one of the two is frozen for a while and thaws.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_each_service_is_frozen() {
    let system = Deployment::open().await;
    for service in SERVICES {
        let (load, since) = (system.load().await, Instant::now());
        system.service(service, 0).signal("STOP");
        tokio::time::sleep(fault_time()).await;
        went_on(&system, apis_unaffected_by(service), since);
        system.service(service, 0).signal("CONT");
        system.accepts_at(0, Instant::now()).await;
        is_healed(&system, load, &format!("{service:?} frozen"), since).await;
    }
}

/// The apis that a fault of the first instance leaves whole.
fn apis_unaffected_by(service: Service) -> &'static [usize] {
    if service == Service::CommandApi {
        &[1]
    } else {
        &[0, 1]
    }
}
