//! Every reservation gets its fate, exactly one, whoever dies in between.

use crate::fates::{expires_at, reserves, reserves_for, reserves_many};
use crate::write_side::{WriteSide, until};
use domain::ProductEvent;
use sqlx::ConnectOptions as _;
use std::time::Duration;

#[tokio::test]
async fn a_reservation_is_settled_and_its_cause_is_told() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    app.settles();
    let invest = app
        .invest(product, 60)
        .by("user4")
        .correlation_id("c-1")
        .header("traceparent", TRACE);
    let answer = invest.sent().await;
    test.until_all_have_their_fate().await;

    let [reserved, settled] = [
        test.reservations().await.remove(0),
        test.fates().await.remove(0),
    ];
    let (invest_id, user_id, amount) = (
        answer.invest_id(),
        crate::app::user("user4"),
        crate::app::won(60),
    );
    assert_eq!(
        settled.event,
        ProductEvent::InvestSettled {
            invest_id,
            user_id,
            amount
        }
    );
    for recorded in [&reserved, &settled] {
        assert_eq!(recorded.metadata.correlation_id, "c-1");
    }
    assert_eq!(reserved.metadata.traceparent.as_deref(), Some(TRACE));
    assert_eq!(settled.metadata.traceparent.as_deref(), Some(TRACE));
    assert_eq!(reserved.metadata.causation_id, None);
    assert_eq!(
        settled.metadata.causation_id,
        Some(reserved.event_id.to_string())
    );
    app.invest(product, 41).sent().await.is_sold_out(40);
}

#[tokio::test]
async fn it_does_not_take_a_sweep_to_settle_what_was_just_reserved() {
    let (test, app, product) = WriteSide::with_product(4, 1_000).await;
    app.settles();
    reserves(&app, product, 1).await;
    test.until_all_have_their_fate().await;
    let mut took: Vec<_> = Vec::new();
    for _ in 0..11 {
        reserves(&app, product, 1).await;
        test.until_all_have_their_fate().await;
        let (reserved, settled) = (test.reservations().await, test.fates().await);
        took.push(settled.last().unwrap().recorded_at - reserved.last().unwrap().recorded_at);
    }
    took.sort();
    assert!(took[5].num_milliseconds() < 200, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_settled_whole() {
    let (test, app, product) = WriteSide::with_product(1, 10_000).await;
    reserves_many(&app, product, 2_000).await;
    app.settles();
    test.until_all_have_their_fate().await;
    assert_eq!(test.fates().await.len(), 2_000);
}

/// 1. Reservations are on the list, and nobody has seen to them: they are due again.
/// 2. Somebody holds one of the rows, as one who takes it does.
/// 3. Two instances sweep: neither waits for that row, all others get their fate.
/// 4. The row is free: it gets its fate as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_share_the_list_without_waiting_for_each_other() {
    let test = WriteSide::with_partitions(4).await;
    let (one, two) = (test.app().await, test.app().await);
    let product = one.opens(10_000).await;
    let held = reserves(&one, product, 1).await;
    reserves_many(&one, product, 1_200).await;
    one.only_keeps_the_list();
    until("all are on the list", async || {
        test.count("open_invest").await == 1_201
    })
    .await;
    assert_eq!(test.makes_all_due().await, 1_201);

    let mut somebody = test.options().connect().await.unwrap();
    let lock = format!("begin; select from open_invest where invest_id = '{held}' for update");
    sqlx::raw_sql(&lock).execute(&mut somebody).await.unwrap();
    one.only_sweeps();
    two.only_sweeps();
    until("all others have their fate", async || {
        test.fates().await.len() == 1_200
    })
    .await;
    sqlx::raw_sql("rollback")
        .execute(&mut somebody)
        .await
        .unwrap();
    test.until_all_have_their_fate().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_whole_instances_give_one_fate_each() {
    let test = WriteSide::with_partitions(4).await;
    let (one, two) = (test.app().await, test.app().await);
    one.settles();
    two.settles();
    let products = [one.opens(1_000).await, one.opens(1_000).await];
    for app in [&one, &two] {
        for product in products {
            reserves_many(app, product, 100).await;
        }
    }
    test.until_all_have_their_fate().await;
    assert_eq!(test.fates().await.len(), 400);
}

/// 1. A product is reserved whole, for a second, and nobody settles.
/// 2. The second is over.
/// 3. Settlement starts: the reservation fails, and its amount is free again.
#[tokio::test]
async fn a_reservation_that_nobody_saw_to_in_time_expires() {
    let test = WriteSide::with_partitions(4).await;
    let app = test.app_with(reserves_for(1)).await;
    let product = app.opens(100).await;
    let invest_id = reserves(&app, product, 100).await;
    let reserved = test.reservations().await.remove(0);
    assert_eq!(
        expires_at(&reserved),
        reserved.recorded_at + Duration::from_secs(1)
    );
    app.invest(product, 1).sent().await.is_sold_out(0);
    test.until_passed(expires_at(&reserved)).await;

    app.settles();
    test.until_all_have_their_fate().await;
    let (user_id, amount) = (crate::app::user("user1"), crate::app::won(100));
    let (code, detail) = ("EXPIRED".into(), expires_at(&reserved).to_rfc3339());
    let failed = test.fates().await.remove(0);
    assert_eq!(
        failed.event,
        ProductEvent::InvestFailed {
            invest_id,
            user_id,
            amount,
            code,
            detail
        }
    );
    assert_eq!(
        failed.metadata.causation_id,
        Some(reserved.event_id.to_string())
    );
    assert!(failed.recorded_at >= expires_at(&reserved));
    app.invest(product, 100).sent().await.is_ok();
}

/// 1. Settlement has taken a reservation, and dies with it.
/// 2. Another one starts; the reservation is not due, for it may still be under way.
/// 3. It is due: it gets its fate.
#[tokio::test]
async fn what_a_dead_settlement_had_taken_is_taken_again() {
    let test = WriteSide::with_partitions(4).await;
    let dead = test.app().await;
    let product = dead.opens(100).await;
    reserves(&dead, product, 60).await;
    dead.only_keeps_the_list();
    test.until_there_is("open_invest where due_at > clock_timestamp()")
        .await;
    // However slow this machine is, the next one shall find it taken.
    test.execute("update open_invest set due_at = clock_timestamp() + interval '1 minute'")
        .await;
    dead.stops().await;

    let next = test.app().await;
    next.settles();
    let other = next.opens(100).await;
    reserves(&next, other, 1).await;
    until("a fresh one is settled", async || {
        test.fates().await.len() == 1
    })
    .await;
    assert_eq!(
        test.fates().await[0].product_id,
        other,
        "the one that is taken was not waited for"
    );
    test.makes_all_due().await;
    test.until_all_have_their_fate().await;
}

/// 1. Nobody can append: the processor tells settlement that it is overloaded.
/// 2. It can again, and the reservation is due again.
#[tokio::test]
async fn a_processor_that_is_overloaded_costs_no_fate() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    reserves(&app, product, 60).await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    app.settles();
    test.until_there_is("open_invest").await;
    test.until_waiting_for_append_lock(1).await;
    // Sent after settlement's, so it is told after that one.
    app.invest(product, 1).sent().await.is_overloaded();
    assert_eq!(test.fates().await, []);
    holder.release().await;

    test.makes_all_due().await;
    test.until_all_have_their_fate().await;
    assert!(matches!(
        test.fates().await[0].event,
        ProductEvent::InvestSettled { .. }
    ));
}

/// Its row was there though it had its fate: nothing more happens to it.
#[tokio::test]
async fn a_second_fate_is_refused() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    reserves(&app, product, 60).await;
    app.only_keeps_the_list();
    test.until_there_is("open_invest").await;
    test.execute("create table kept as select * from open_invest")
        .await;
    test.makes_all_due().await;
    app.only_sweeps();
    test.until_all_have_their_fate().await;

    test.execute("insert into open_invest select * from kept")
        .await;
    test.makes_all_due().await;
    test.until_there_is("open_invest where attempts > 0").await;
    // A sweep that claims it once more has had it refused before.
    test.makes_all_due().await;
    test.until_there_is("open_invest where attempts > 1").await;
    reserves(&app, product, 1).await;
    until("the next one has its fate", async || {
        test.fates().await.len() == 2
    })
    .await;
    test.everything_adds_up().await;
}

#[tokio::test]
async fn a_closed_products_reservations_still_get_their_fate() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    reserves(&app, product, 60).await;
    app.closes(product).await;
    app.settles();
    test.until_all_have_their_fate().await;
    assert!(matches!(
        test.fates().await[0].event,
        ProductEvent::InvestSettled { .. }
    ));
}
