//! Two of everything under load, and one fault after another: invests are answered as long as there is a database,
//! nothing is lost or doubled, and the views catch up. `MOA_FAULT_SECONDS` says how long a fault lasts.

use std::time::{Duration, Instant};

use crate::harness::Load;
use crate::system::{SERVICES, Service, System};

/// The longest that a door which is not itself at fault may accept nothing.
const LONGEST_GAP: Duration = Duration::from_secs(5);

/// How long a fault lasts: in earnest a minute for RabbitMQ, 30 s for a frozen service.
fn fault_time() -> Duration {
    let seconds = std::env::var("MOA_FAULT_SECONDS").ok().map(|text| text.parse().expect("a number of seconds"));
    Duration::from_secs(seconds.unwrap_or(6))
}

/// The fault is over: the views catch up under load, the load stops, and everything holds.
async fn is_healed(system: &System, load: Load, what: &str, since: Instant) {
    let caught_up = system.caught_up().await;
    println!("{what}: caught up {caught_up:?} after its end; longest gaps {:?}", gaps(system, since));
    load.stop().await;
    system.holds().await;
}

fn gaps(system: &System, since: Instant) -> [Duration; 2] {
    [0, 1].map(|door| system.longest_gap(door, since, Instant::now()))
}

/// Accepting went on at `doors`, as if nothing had happened.
fn went_on(system: &System, doors: &[usize], since: Instant) {
    for door in doors {
        let gap = system.longest_gap(*door, since, Instant::now());
        assert!(gap < LONGEST_GAP, "door {door} accepted nothing for {gap:?}");
    }
}

/// Waits until events travel through RabbitMQ again.
async fn is_delivered_again(system: &System) {
    let before = system.delivered().await;
    let more = async || (system.delivered().await > before + 10.0).then_some(());
    crate::harness::within(crate::system::CAUGHT_UP, "deliveries", more).await;
}

/// Steps: load, and a tap at the exchange; RabbitMQ stops, for a while, and starts again; events travel again; the tap has
/// heard all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_stops_and_starts() {
    let mut system = System::open().await;
    let tap = system.tap().await;
    let (load, since) = (system.load().await, Instant::now());
    is_delivered_again(&system).await;
    system.rabbit.stop().await;
    tokio::time::sleep(fault_time()).await;
    system.rabbit.start_again().await;
    went_on(&system, &[0, 1], since);
    is_delivered_again(&system).await;
    is_healed(&system, load, "RabbitMQ stopped", since).await;
    println!("the tap heard {} events", tap.has_heard_all(&system.pool).await);
}

/// Steps: load; every queue of Moa's consumers and the exchange are deleted; events travel again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rabbitmq_loses_its_queues_and_its_exchange() {
    let system = System::open().await;
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
    let mut system = System::open().await;
    let (load, since) = (system.load().await, Instant::now());
    is_delivered_again(&system).await;
    system.rabbit.stop().await;
    system.rabbit.wipe();
    system.rabbit.start_again().await;
    is_delivered_again(&system).await;
    went_on(&system, &[0, 1], since);
    let tap = system.tap().await;
    is_healed(&system, load, "RabbitMQ wiped", since).await;
    println!("the tap heard {} events", tap.has_heard_all(&system.pool).await);
}

/// Steps: load; Redis is flushed; stopped for a while and started, empty; frozen for a while. Reads go on all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_flushed_stopped_and_frozen() {
    let mut system = System::open().await;
    let (load, since) = (system.load().await, Instant::now());
    let mut redis = system.redis.client().get_multiplexed_async_connection().await.unwrap();
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
async fn reads_go_on(system: &System, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        for door in system.doors() {
            let asked = Instant::now();
            let answer = door.get("/api/product").await;
            assert_eq!((answer.status, answer.code().as_str()), (200, "01"), "{}", answer.body);
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Steps, for one service after another: load; one of the two is killed with -9, stays away for a while and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_each_service_is_killed() {
    let mut system = System::open().await;
    for service in SERVICES {
        let (load, since) = (system.load().await, Instant::now());
        system.kill(service, 0).await;
        tokio::time::sleep(fault_time() / 2).await;
        went_on(&system, doors_beside(service), since);
        system.start_again(service, 0).await;
        system.accepts_at(0, Instant::now()).await;
        is_healed(&system, load, &format!("{service:?} killed"), since).await;
    }
}

/// Steps: load; each process in turn is stopped and started again, as in a rolling deploy, readers and writers before and
/// after those they depend on; everything holds, and the other door has accepted all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_is_replaced_in_turn() {
    let mut system = System::open().await;
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
    let system = System::open().await;
    for service in SERVICES {
        let (load, since) = (system.load().await, Instant::now());
        system.service(service, 0).signal("STOP");
        tokio::time::sleep(fault_time()).await;
        went_on(&system, doors_beside(service), since);
        system.service(service, 0).signal("CONT");
        system.accepts_at(0, Instant::now()).await;
        is_healed(&system, load, &format!("{service:?} frozen"), since).await;
    }
}

/// The doors that a fault of the first instance leaves whole.
fn doors_beside(service: Service) -> &'static [usize] {
    if service == Service::CommandApi { &[1] } else { &[0, 1] }
}
