//! A database's clock that somebody sets: no product opens or ends by it, and no reservation expires.

use crate::house::{House, until};
use crate::moa::{Moa, hours_from_now};
use domain::{ProductEvent, Window};
use rstest::rstest;

/// A house whose clock the test sets, and an instance that goes by it.
async fn an_instance_with_a_clock_to_set() -> (House, Moa) {
    let house = House::with_one_partition().await;
    house
        .sql(
            "create schema clock;
             create table clock.off (by interval); insert into clock.off values ('0');
             create function clock.clock_timestamp() returns timestamptz language sql as
                 'select pg_catalog.clock_timestamp() + by from clock.off';
             create function clock.statement_timestamp() returns timestamptz language sql as
                 'select pg_catalog.statement_timestamp() + by from clock.off'",
        )
        .await;
    let moa = house.moa_at(house.options().options([("search_path", "clock,pg_catalog,public")])).await;
    (house, moa)
}

async fn jumps(house: &House, moa: &Moa, interval: &str) {
    house.sql(&format!("update clock.off set by = '{interval}'")).await;
    until("the jump is noticed", async || moa.log.write_stop(0).is_some()).await;
}

async fn is_back(house: &House, moa: &Moa) {
    house.sql("update clock.off set by = '0'").await;
    until("it is noticed that it is back", async || moa.log.write_stop(0).is_none()).await;
}

/// Meanwhile nobody is told anything that the true time contradicts; afterwards all is as it was.
#[rstest]
#[case::ahead("3 hours")]
#[case::behind("-3 hours")]
#[tokio::test]
async fn no_product_opens_or_ends_by_a_clock_that_jumped(#[case] by: &str) {
    let (house, moa) = an_instance_with_a_clock_to_set().await;
    moa.only_keeps_the_list();
    let open = moa.opens(100).await;
    let later = moa.opens_for(100, Window::new(hours_from_now(2), hours_from_now(4)).unwrap()).await;
    let over = moa.opens_for(100, Window::new(hours_from_now(-2), hours_from_now(-1)).unwrap()).await;
    jumps(&house, &moa, by).await;
    for product in [open, later, over] {
        moa.invest(product, 1).sent().await.is_overloaded();
    }
    is_back(&house, &moa).await;
    moa.invest(open, 1).sent().await.is_ok();
    moa.invest(later, 1).sent().await.is_refused(200, "NOT_STARTED", "Product is not started : ");
    moa.invest(over, 1).sent().await.is_refused(200, "FINISHED", "Product is finished : ");
}

/// 1. An invest is reserved for ten minutes, and the clock is an hour ahead.
/// 2. Settlement begins: it does not take the reservation for expired.
/// 3. The clock is back, and the invest is settled.
#[tokio::test]
async fn no_reservation_expires_by_a_clock_that_jumped() {
    let (house, moa) = an_instance_with_a_clock_to_set().await;
    moa.only_keeps_the_list();
    let product = moa.opens(100).await;
    moa.invest(product, 10).sent().await.is_ok();
    house.until_there_is("open_invest").await;
    house.sql("update open_invest set due_at = '2000-01-01'").await;
    jumps(&house, &moa, "1 hour").await;
    moa.only_sweeps();
    house.until_there_is("open_invest where attempts > 0").await;
    is_back(&house, &moa).await;
    house.until_there_is("events where event_type in ('InvestSettled', 'InvestFailed')").await;
    let fate = house.events_of(product).await.pop().unwrap().event;
    assert!(matches!(fate, ProductEvent::InvestSettled { .. }), "{fate:?}");
}
