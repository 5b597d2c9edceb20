//! A payment provider that fails for some fails for no others: payments in trouble back off by themselves, and a new
//! reservation gets its first call within the bound of `docs/payment-provider.md`.

use crate::app::{TestApp, invest_command};
use crate::fates::{reserves_by, reserves_for, with_scaled_down_timeouts};
use crate::write_side::{WriteSide, soon, until};
use command_api::Provider;
use domain::{InvestId, ProductId};
use futures::future::join_all;
use rstest::rstest;
use std::time::{Duration, Instant};
use testbed::payments::{Call, Payments, Trouble};

/// The bound of `docs/payment-provider.md` for a lone new reservation.
const FIRST_CALL_TIMEOUT: Duration = Duration::from_secs(8);

fn of(payments: &Payments) -> Provider {
    Provider::http(&payments.url(), &tls::Trust::default()).unwrap()
}

/// An instance and a product for many invests.
async fn opens(test: &WriteSide) -> (TestApp, ProductId) {
    let app = test.app().await;
    let product = app.opens(10_000).await;
    (app, product)
}

/// Invests of a user whose payments meet that trouble, whatever is asked about them.
async fn reserves_in_trouble(
    app: &TestApp,
    payments: &Payments,
    product: ProductId,
    count: usize,
    trouble: Trouble,
) {
    payments.troubles_user("bad", trouble);
    let envelope = |_| app.processors.submit(invest_command(product, "bad", 1));
    for outcome in soon(join_all((0..count).map(envelope))).await {
        assert_eq!(outcome.unwrap().decision, Ok(()));
    }
}

fn has_call(payments: &Payments, invest: InvestId, call: Call) -> bool {
    payments
        .ledger()
        .get(&invest.0)
        .is_some_and(|payment| payment.calls.contains(&call))
}

/// Reserves, and says how long it took until the provider was asked for the payment.
async fn first_call_after(
    app: &TestApp,
    payments: &Payments,
    product: ProductId,
    user: &str,
) -> Duration {
    let invest = reserves_by(app, product, user, 1).await;
    let reserved = Instant::now();
    until("it gets its first call", async || {
        payments.ledger().contains_key(&invest.0)
    })
    .await;
    assert!(
        has_call(payments, invest, Call::Pay),
        "its first call was a cancel"
    );
    reserved.elapsed()
}

/// Until so many invests are known to be in trouble.
async fn until_in_trouble(test: &WriteSide, count: usize) {
    until("all are in trouble", async || {
        test.count("open_invest where cancelling").await == count as i64
    })
    .await;
}

/// Until they were tried so often again that the pauses between two tries have grown.
async fn until_tried_again(payments: &Payments, times: usize) {
    let asked = payments.calls();
    until("they are tried again", async || {
        payments.calls() >= asked + times
    })
    .await;
}

/// 1. The provider answers each call about 30 payments with 500, as it should when it cannot say, again and again.
/// 2. A lone good one is asked for and settled at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_payments_that_fail_hold_up_no_lone_good_one() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = opens(&test).await;
    app.settles_with(&with_scaled_down_timeouts(&payments));
    reserves_in_trouble(&app, &payments, product, 30, Trouble::Fails).await;
    until_in_trouble(&test, 30).await;
    until_tried_again(&payments, 5).await;
    let took = first_call_after(&app, &payments, product, "good").await;
    assert!(
        took < FIRST_CALL_TIMEOUT,
        "its first call came after {took:?}"
    );
    until("it is settled", async || test.became().await == ["SETTLED"]).await;

    payments.recovers();
    test.makes_all_due().await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
}

/// 1. Reservations last 8 s; five payments fail, again and again.
/// 2. Four good ones come, one after another: all are settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_payments_that_fail_let_no_good_one_expire() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app_with(reserves_for(8)).await;
    let product = app.opens(1_000).await;
    app.settles_with(&of(&payments));
    reserves_in_trouble(&app, &payments, product, 5, Trouble::Fails).await;
    until_in_trouble(&test, 5).await;
    until_tried_again(&payments, 3).await;
    for n in 1..=4 {
        reserves_by(&app, product, &format!("good{n}"), 1).await;
    }
    until("all good ones have their fate", async || {
        test.fates().await.len() == 4
    })
    .await;
    assert_eq!(test.became().await, ["SETTLED"; 4]);
}

/// 1. So many payments fail, hang, break off, are answered wrongly or slowly, all at the same time.
/// 2. A good one comes in the midst of it, and others while those are tried again: each gets its first call in time.
/// 3. The provider recovers: all get their fate.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_befalls_many_the_next_one_gets_its_first_call(
    #[values(
        Trouble::Fails,
        Trouble::Silent,
        Trouble::DoneAndSilent,
        Trouble::Dropped,
        Trouble::DoneAndGarbled,
        Trouble::DoneForAnother,
        Trouble::DoneAndContradicted,
        Trouble::Late(Duration::from_millis(500))
    )]
    trouble: Trouble,
    #[values(30, 300)] count: usize,
) {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = opens(&test).await;
    app.settles_with(&with_scaled_down_timeouts(&payments));
    reserves_in_trouble(&app, &payments, product, count, trouble).await;
    for n in 1..=3 {
        let took = first_call_after(&app, &payments, product, &format!("good{n}")).await;
        assert!(
            took < FIRST_CALL_TIMEOUT,
            "the first call of the {n}th came after {took:?}"
        );
    }
    payments.recovers();
    test.makes_all_due().await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
}

/// 1. 600 payments stay pending, more than are followed up at a time.
/// 2. A good one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_pending_the_next_one_gets_its_first_call() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = opens(&test).await;
    payments.pends("bad", u32::MAX);
    app.settles_with(&of(&payments));
    reserves_in_trouble(&app, &payments, product, 600, Trouble::Late(Duration::ZERO)).await;
    let took = first_call_after(&app, &payments, product, "good").await;
    assert!(
        took < FIRST_CALL_TIMEOUT,
        "its first call came after {took:?}"
    );
}

/// 1. Two instances have payments that fail, and share them.
/// 2. Each has a good one.
#[rstest]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_with_payments_in_trouble_call_the_next_one_in_time(
    #[values(Trouble::Fails, Trouble::Silent)] trouble: Trouble,
) {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (one, product) = opens(&test).await;
    let two = test.app().await;
    for app in [&one, &two] {
        app.settles_with(&with_scaled_down_timeouts(&payments));
        reserves_in_trouble(app, &payments, product, 40, trouble).await;
    }
    until("all were tried", async || payments.ledger().len() == 80).await;
    for app in [&one, &two] {
        let took = first_call_after(app, &payments, product, "good").await;
        assert!(
            took < FIRST_CALL_TIMEOUT,
            "its first call came after {took:?}"
        );
    }
    payments.recovers();
    test.makes_all_due().await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
}

/// 1. Now the provider's port is open, and now nobody listens: connections are refused to some.
/// 2. That costs no fate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_refused_to_some_cost_no_fate() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = opens(&test).await;
    app.settles_with(&with_scaled_down_timeouts(&payments));
    for round in 0..10 {
        payments.closes().await;
        reserves_by(&app, product, &format!("away{round}"), 1).await;
        test.until_there_is("open_invest where attempts > 0").await;
        payments.reopens().await;
        reserves_by(&app, product, &format!("there{round}"), 1).await;
        test.until_there_is_no("open_invest").await;
    }
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, ["SETTLED"; 20]);
}

/// 1. The provider fails for everybody: it is left alone, and most reservations are not even asked for.
/// 2. Then it gets one call at a time, and so many of them in that time at most.
#[rstest]
#[case::nothing_comes_back(Trouble::Dropped, 6, Duration::from_secs(3))]
#[case::something_comes_back(Trouble::Fails, 40, Duration::from_millis(1_500))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_fails_for_all_is_not_hammered(
    #[case] trouble: Trouble,
    #[case] probes: usize,
    #[case] take: Duration,
) {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = opens(&test).await;
    app.settles_with(&of(&payments));
    reserves_in_trouble(&app, &payments, product, 500, trouble).await;
    // Nothing may be under way for a moment before it is left alone, too.
    loop {
        let (asked, since) = (payments.calls(), Instant::now());
        assert!(asked < 250, "{asked} calls before it was left alone");
        payments.most_at_once();
        until("it is tried again", async || {
            payments.calls() >= asked + probes
        })
        .await;
        if since.elapsed() > take && payments.most_at_once() == 1 {
            break;
        }
    }
    assert_eq!(test.became().await, [""; 0]);
}
