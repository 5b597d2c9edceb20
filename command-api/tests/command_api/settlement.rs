//! Every reservation gets its fate, exactly one, whoever dies in between.

use crate::fates::{expires_at, reserves, reserves_for, reserves_many};
use crate::house::{House, until};
use domain::ProductEvent;
use std::time::Duration;

#[tokio::test]
async fn a_reservation_is_settled_and_its_cause_is_told() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let house = House::new().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    moa.settles();
    let invest = moa.invest(product, 60).by("user4").correlation_id("c-1").header("traceparent", TRACE);
    let answer = invest.sent().await;
    house.until_all_have_their_fate().await;

    let [reserved, settled] = [house.reservations().await.remove(0), house.fates().await.remove(0)];
    let (invest_id, user_id, amount) = (answer.invest_id(), crate::moa::user("user4"), crate::moa::won(60));
    assert_eq!(settled.event, ProductEvent::InvestSettled { invest_id, user_id, amount });
    for recorded in [&reserved, &settled] {
        assert_eq!(recorded.metadata.correlation_id, "c-1");
    }
    assert_eq!(reserved.metadata.traceparent.as_deref(), Some(TRACE));
    assert_eq!(settled.metadata.traceparent.as_deref(), Some(TRACE));
    assert_eq!(reserved.metadata.causation_id, None);
    assert_eq!(settled.metadata.causation_id, Some(reserved.event_id.to_string()));
    moa.invest(product, 41).sent().await.is_sold_out(40);
}

#[tokio::test]
async fn it_does_not_take_a_sweep_to_settle_what_was_just_reserved() {
    let house = House::new().await;
    let moa = house.moa().await;
    let product = moa.opens(1_000).await;
    moa.settles();
    reserves(&moa, product, 1).await;
    house.until_all_have_their_fate().await;
    let mut took: Vec<_> = Vec::new();
    for _ in 0..11 {
        reserves(&moa, product, 1).await;
        house.until_all_have_their_fate().await;
        let (reserved, settled) = (house.reservations().await, house.fates().await);
        took.push(settled.last().unwrap().recorded_at - reserved.last().unwrap().recorded_at);
    }
    took.sort();
    assert!(took[5].num_milliseconds() < 200, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_settled_whole() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(10_000).await;
    reserves_many(&moa, product, 2_000).await;
    moa.settles();
    house.until_all_have_their_fate().await;
    assert_eq!(house.fates().await.len(), 2_000);
}

/// 1. Reservations are on the list, and nobody has seen to them: they are due again.
/// 2. Somebody holds one of the rows, as one who takes it does.
/// 3. Two instances sweep: neither waits for that row, all others get their fate.
/// 4. The row is free: it gets its fate as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_share_the_list_without_waiting_for_each_other() {
    let house = House::new().await;
    let (one, two) = (house.moa().await, house.moa().await);
    let product = one.opens(10_000).await;
    let held = reserves(&one, product, 1).await;
    reserves_many(&one, product, 1_200).await;
    one.only_keeps_the_list();
    until("all are on the list", async || house.count("open_invest").await == 1_201).await;
    assert_eq!(house.makes_all_due().await, 1_201);

    let mut somebody = house.connection().await;
    let lock = format!("begin; select from open_invest where invest_id = '{held}' for update");
    sqlx::raw_sql(&lock).execute(&mut somebody).await.unwrap();
    one.only_sweeps();
    two.only_sweeps();
    until("all others have their fate", async || house.fates().await.len() == 1_200).await;
    sqlx::raw_sql("rollback").execute(&mut somebody).await.unwrap();
    house.until_all_have_their_fate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_whole_instances_give_one_fate_each() {
    let house = House::new().await;
    let (one, two) = (house.moa().await, house.moa().await);
    one.settles();
    two.settles();
    let products = [one.opens(1_000).await, one.opens(1_000).await];
    for moa in [&one, &two] {
        for product in products {
            reserves_many(moa, product, 100).await;
        }
    }
    house.until_all_have_their_fate().await;
    assert_eq!(house.fates().await.len(), 400);
}

/// 1. A product is reserved whole, for a second, and nobody settles.
/// 2. The second is over.
/// 3. Settlement starts: the reservation fails, and its amount is free again.
#[tokio::test]
async fn a_reservation_that_nobody_saw_to_in_time_expires() {
    let house = House::new().await;
    let moa = house.moa_that(reserves_for(1)).await;
    let product = moa.opens(100).await;
    let invest_id = reserves(&moa, product, 100).await;
    let reserved = house.reservations().await.remove(0);
    assert_eq!(expires_at(&reserved), reserved.recorded_at + Duration::from_secs(1));
    moa.invest(product, 1).sent().await.is_sold_out(0);
    house.until_passed(expires_at(&reserved)).await;

    moa.settles();
    house.until_all_have_their_fate().await;
    let (user_id, amount) = (crate::moa::user("user1"), crate::moa::won(100));
    let (code, detail) = ("EXPIRED".into(), expires_at(&reserved).to_rfc3339());
    let failed = house.fates().await.remove(0);
    assert_eq!(failed.event, ProductEvent::InvestFailed { invest_id, user_id, amount, code, detail });
    assert_eq!(failed.metadata.causation_id, Some(reserved.event_id.to_string()));
    assert!(failed.recorded_at >= expires_at(&reserved));
    moa.invest(product, 100).sent().await.is_ok();
}

/// 1. Settlement has taken a reservation, and dies with it.
/// 2. Another one starts; the reservation is not due, for it may still be under way.
/// 3. It is due: it gets its fate.
#[tokio::test]
async fn what_a_dead_settlement_had_taken_is_taken_again() {
    let house = House::new().await;
    let dead = house.moa().await;
    let product = dead.opens(100).await;
    reserves(&dead, product, 60).await;
    dead.only_keeps_the_list();
    house.until_there_is("open_invest where due_at > clock_timestamp()").await;
    // However slow this machine is, the next one shall find it taken.
    house.sql("update open_invest set due_at = clock_timestamp() + interval '1 minute'").await;
    dead.stops().await;

    let next = house.moa().await;
    next.settles();
    let other = next.opens(100).await;
    reserves(&next, other, 1).await;
    until("a fresh one is settled", async || house.fates().await.len() == 1).await;
    assert_eq!(house.fates().await[0].product_id, other, "the one that is taken was not waited for");
    house.makes_all_due().await;
    house.until_all_have_their_fate().await;
}

/// 1. Nobody can append: the processor tells settlement that it is overloaded.
/// 2. It can again, and the reservation is due again.
#[tokio::test]
async fn a_processor_that_is_overloaded_costs_no_fate() {
    let house = House::new().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    reserves(&moa, product, 60).await;
    let holder = house.hold_the_append_lock_of(product).await;
    moa.settles();
    house.until_there_is("open_invest").await;
    house.until_somebody_waits_for_the_append_lock().await;
    // Sent after settlement's, so it is told after that one.
    moa.invest(product, 1).sent().await.is_overloaded();
    assert_eq!(house.fates().await, []);
    holder.lets_go().await;

    house.makes_all_due().await;
    house.until_all_have_their_fate().await;
    assert!(matches!(house.fates().await[0].event, ProductEvent::InvestSettled { .. }));
}

/// Its row was there though it had its fate: nothing more happens to it.
#[tokio::test]
async fn a_second_fate_is_refused() {
    let house = House::new().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    reserves(&moa, product, 60).await;
    moa.only_keeps_the_list();
    house.until_there_is("open_invest").await;
    house.sql("create table kept as select * from open_invest").await;
    house.makes_all_due().await;
    moa.only_sweeps();
    house.until_all_have_their_fate().await;

    house.sql("insert into open_invest select * from kept").await;
    house.makes_all_due().await;
    house.until_there_is("open_invest where attempts > 0").await;
    // A fate that is given after it was looked at means that this one was refused by then.
    reserves(&moa, product, 1).await;
    until("it is on the list", async || house.count("open_invest").await == 2).await;
    house.makes_all_due().await;
    until("the next one has its fate", async || house.fates().await.len() == 2).await;
    house.everything_adds_up().await;
}

#[tokio::test]
async fn a_closed_products_reservations_still_get_their_fate() {
    let house = House::new().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    reserves(&moa, product, 60).await;
    moa.closes(product).await;
    moa.settles();
    house.until_all_have_their_fate().await;
    assert!(matches!(house.fates().await[0].event, ProductEvent::InvestSettled { .. }));
}
