//! Settlement while its payment provider is away, or settlement itself: reservations stay open, and go on by themselves.

use crate::fates::{
    expires_at, reserves, reserves_by, reserves_for, reserves_many, with_scaled_down_timeouts,
};
use crate::write_side::{WriteSide, until};
use std::time::Duration;
use testbed::payments::{Call, Payments, Trouble};

/// 1. Nobody listens: nothing was asked, so nothing is cancelled and nothing fails.
/// 2. Somebody does: it is paid.
#[tokio::test]
async fn a_provider_that_cannot_be_reached_costs_no_fate() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.closes().await;
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    test.until_there_is("open_invest where attempts > 2 and not cancelling")
        .await;
    payments.reopens().await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, ["SETTLED"]);
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Pay]);
}

/// 1. Nobody listens, until the reservation is over: it stays, for nobody can know what was asked before.
/// 2. Somebody does: it is cancelled, and expires.
#[tokio::test]
async fn an_expired_one_waits_for_its_provider() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.closes().await;
    let app = test.app_with(reserves_for(1)).await;
    let product = app.opens(100).await;
    app.settles_with(&with_scaled_down_timeouts(&payments));
    let id = reserves(&app, product, 100).await;
    let expires_at = expires_at(&test.reservations().await[0]);
    test.until_there_is(&format!(
        "open_invest where cancelling and due_at > '{}'",
        expires_at.to_rfc3339()
    ))
    .await;
    assert_eq!(test.became().await, [""; 0]);
    app.invest(product, 1).sent().await.is_sold_out(0);

    payments.reopens().await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(
        test.became().await,
        [format!("EXPIRED : {}", expires_at.to_rfc3339())]
    );
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Cancel]);
}

/// 1. The provider is silent, and many invests wait: it is left alone, and tried with one call at a time.
/// 2. It answers again: all get their fate, and most were never asked for in vain.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_provider_is_left_alone_until_it_answers() {
    const INVESTS: usize = 1_000;
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    for call in [Call::Pay, Call::Look, Call::Cancel] {
        payments.troubles(call, Trouble::Silent);
    }
    let app = test.app().await;
    let product = app.opens(10_000).await;
    app.settles_with(&with_scaled_down_timeouts(&payments));
    reserves_many(&app, product, INVESTS).await;
    until("calls are given up", async || {
        payments.calls() >= 60 && payments.under_way() == 0
    })
    .await;
    let asked = payments.calls();
    assert!(
        asked <= 100,
        "{asked} calls were made before it was left alone"
    );
    payments.most_at_once();
    until("it is tried again", async || payments.calls() >= asked + 3).await;
    // One at a time, as the circuit breaker's own tests show; here the provider may notice late that one was given up.
    assert!(payments.most_at_once() <= 2);
    assert_eq!(test.became().await, [""; 0]);

    payments.recovers();
    test.until_there_is_no("open_invest").await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    let settled = test
        .became()
        .await
        .iter()
        .filter(|became| *became == "SETTLED")
        .count();
    assert!(settled >= INVESTS - asked - 20, "{settled} are settled");
}

/// A provider that takes its time gets many calls at once, and never more than it is meant to get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_provider_gets_a_bounded_number_of_calls_at_once() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.delays(Duration::from_millis(50));
    let app = test.app().await;
    let product = app.opens(1_000).await;
    // In no haste: a call that is given up here would still be under way there.
    app.settles_with(
        &command_api::Provider::http(&payments.url(), &tls::Trust::default()).unwrap(),
    );
    reserves_many(&app, product, 300).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    let most = payments.most_at_once();
    assert!((32..=64).contains(&most), "{most} at once");
}

/// 1. Calls are under way, and settlement dies; the provider does what it was asked.
/// 2. Another settlement starts, and dies as well while nothing is answered.
/// 3. A third has a provider that answers: one fate each, one debit each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settlement_that_dies_leaves_nothing_behind() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.delays(Duration::from_millis(300));
    let app = test.app().await;
    let product = app.opens(1_000).await;
    let first = app.settles_with(&with_scaled_down_timeouts(&payments));
    reserves_many(&app, product, 200).await;
    until("calls are under way", async || payments.ledger().len() > 30).await;
    first.abort();

    payments.troubles(Call::Pay, Trouble::DoneAndSilent);
    test.makes_all_due().await;
    let asked = payments.calls();
    let second = app.only_sweeps_with(&with_scaled_down_timeouts(&payments));
    until("calls are under way", async || {
        payments.calls() > asked + 30
    })
    .await;
    second.abort();

    payments.recovers();
    app.only_sweeps_with(&with_scaled_down_timeouts(&payments));
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await.len(), 200);
    assert!(
        payments
            .ledger()
            .values()
            .all(|payment| payment.debits <= 1)
    );
}

/// 1. A payment was asked for and is not answered.
/// 2. We are told to stop: there is no time to cancel, so it is recorded for whoever takes it next.
/// 3. Somebody does.
#[tokio::test]
async fn what_is_unanswered_at_the_end_is_cancelled_by_the_next() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.troubles(Call::Pay, Trouble::DoneAndSilent);
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    until("it is asked for", async || payments.under_way() == 1).await;
    app.stops().await;
    assert_eq!(test.count("open_invest where cancelling").await, 1);
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Pay]);

    let next = test.app().await;
    next.settles_with(&with_scaled_down_timeouts(&payments));
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, ["SETTLED"]);
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Pay, Call::Cancel]);
}

/// Each is asked for by one of the two, mostly; and whoever asks, it is one payment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_with_one_provider_give_one_fate_each() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (one, two) = (test.app().await, test.app().await);
    one.settles_with(&with_scaled_down_timeouts(&payments));
    two.settles_with(&with_scaled_down_timeouts(&payments));
    let product = one.opens(10_000).await;
    reserves_many(&one, product, 200).await;
    reserves_many(&two, product, 200).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, ["SETTLED"; 400]);
    reserves_by(&two, product, "user1", 1).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
}
