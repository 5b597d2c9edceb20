//! Settlement with a payment provider over HTTP: its word is the invest's fate.

use crate::fates::{expires_at, reserves, reserves_by, reserves_for, with_scaled_down_timeouts};
use crate::write_side::{WriteSide, until};
use command_api::Provider;
use rstest::rstest;
use std::time::Duration;
use testbed::payments::{Call, Payments, State, Terms};
use uuid::Uuid;

const CANCELLED: &str = "PAYMENT_TIMEOUT : the payment was not made in time and was cancelled";

fn of(payments: &Payments) -> Provider {
    Provider::http(&payments.url(), &tls::Trust::default()).unwrap()
}

#[tokio::test]
async fn what_is_paid_is_settled_and_the_provider_is_told_where_it_comes_from() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app().await;
    let product = app.opens(100).await;
    app.settles_with(&of(&payments));
    let invest = app
        .invest(product, 60)
        .by("user4")
        .correlation_id("c-1")
        .header("traceparent", TRACE);
    let id = invest.sent().await.invest_id().0;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;

    assert_eq!(test.became().await, ["SETTLED"]);
    let payment = &payments.ledger()[&id];
    let terms = Terms {
        product_id: product.get(),
        user_id: "user4".to_owned(),
        amount: 60,
    };
    assert_eq!(
        (payment.terms.as_ref(), payment.debits, &payment.calls[..]),
        (Some(&terms), 1, &[Call::Pay][..])
    );
    assert_eq!(
        (
            payment.correlation_id.as_deref(),
            payment.traceparent.as_deref()
        ),
        (Some("c-1"), Some(TRACE))
    );
    let (reserved, settled) = (
        test.reservations().await.remove(0),
        test.fates().await.remove(0),
    );
    assert_eq!(
        settled.metadata.causation_id,
        Some(reserved.event_id.to_string())
    );
    assert_eq!(settled.metadata.correlation_id, "c-1");
}

#[tokio::test]
async fn what_is_refused_fails_with_the_providers_reason() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.refuses("user1", " no\u{0} fun\nds\u{7f} \u{1b}[31m");
    payments.refuses("user2", &"돈".repeat(1_000));
    payments.refuses("user3", "");
    let (app, product) = test.with_one_product(&of(&payments)).await;
    for user in ["user1", "user2", "user3"] {
        reserves_by(&app, product, user, 10).await;
        test.until_all_have_their_fate_and_agree_with(&payments)
            .await;
    }
    let long = format!("PAYMENT_DECLINED : {}", "돈".repeat(200));
    assert_eq!(
        test.became().await,
        [
            "PAYMENT_DECLINED : no funds [31m",
            &long,
            "PAYMENT_DECLINED : "
        ]
    );
    assert_eq!(test.remaining(product).await, 1_000);
}

#[tokio::test]
async fn what_is_pending_is_looked_at_until_it_is_decided() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    for user in ["user1", "user2"] {
        payments.pends(user, 3);
    }
    payments.refuses("user2", "no funds");
    let (app, product) = test.with_one_product(&of(&payments)).await;
    for user in ["user1", "user2"] {
        let id = reserves_by(&app, product, user, 10).await;
        test.until_all_have_their_fate_and_agree_with(&payments)
            .await;
        assert_eq!(
            payments.ledger()[&id.0].calls,
            [Call::Pay, Call::Look, Call::Look, Call::Look]
        );
    }
    assert_eq!(
        test.became().await,
        ["SETTLED", "PAYMENT_DECLINED : no funds"]
    );
}

#[tokio::test]
async fn what_stays_pending_is_cancelled() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.pends("user1", u32::MAX);
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, [CANCELLED]);
    let payment = &payments.ledger()[&id.0];
    assert!(
        payment.calls.len() < 20,
        "it was looked at all the time: {:?}",
        payment.calls
    );
    assert_eq!(
        (payment.calls.last(), &payment.state),
        (Some(&Call::Cancel), &State::Cancelled)
    );
}

/// 1. A hundred users' payments stay pending.
/// 2. Another's is settled meanwhile, at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_pending_holds_up_nobody() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.pends("user1", u32::MAX);
    let (app, product) = test.with_one_product(&of(&payments)).await;
    for _ in 0..100 {
        reserves(&app, product, 1).await;
    }
    until("all are asked for", async || payments.ledger().len() == 100).await;
    reserves_by(&app, product, "user2", 10).await;
    until("the other is settled", async || {
        test.became().await == ["SETTLED"]
    })
    .await;
    until("all others are open", async || {
        test.count("open_invest").await == 100
    })
    .await;
}

/// Nobody can know whether somebody who died since has asked for it: it is cancelled first. Was it paid, the cancel is told
/// that it is too late.
#[rstest]
#[tokio::test]
async fn an_expired_one_is_cancelled_before_it_fails_or_settled_if_it_was_paid(
    #[values(false, true)] was_paid: bool,
) {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app_with(reserves_for(1)).await;
    let product = app.opens(100).await;
    let id = reserves(&app, product, 100).await;
    if was_paid {
        pays(&payments, id.0, product.get(), 100).await;
    }
    let reserved = test.reservations().await.remove(0);
    test.until_passed(expires_at(&reserved)).await;
    app.settles_with(&of(&payments));
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    if was_paid {
        assert_eq!(test.became().await, ["SETTLED"]);
        assert_eq!(payments.ledger()[&id.0].calls, [Call::Pay, Call::Cancel]);
    } else {
        assert_eq!(
            test.became().await,
            [format!("EXPIRED : {}", expires_at(&reserved).to_rfc3339())]
        );
        assert_eq!(payments.ledger()[&id.0].calls, [Call::Cancel]);
        app.invest(product, 100).sent().await.is_ok();
    }
}

/// 1. It is paid, and settlement dies with the answer; or the answer of its processor is lost.
/// 2. It is due again: asked for again, it is the same payment.
#[tokio::test]
async fn what_was_paid_already_is_settled_and_not_paid_again() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app().await;
    let product = app.opens(100).await;
    let id = reserves(&app, product, 60).await;
    pays(&payments, id.0, product.get(), 60).await;
    app.settles_with(&of(&payments));
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, ["SETTLED"]);
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Pay, Call::Pay]);
}

/// As somebody did who died since.
async fn pays(payments: &Payments, id: Uuid, product: i64, amount: i64) {
    let body = format!(
        r#"{{"paymentId":"{id}","productId":{product},"userId":"user1","amount":{amount}}}"#
    );
    let sent = reqwest::Client::new()
        .post(format!("{}/payment", payments.url()))
        .body(body)
        .send()
        .await;
    assert_eq!(sent.unwrap().status(), 200);
}

/// 1. Somebody asked for payment without an answer: it is to be cancelled, whoever takes it next.
/// 2. It is due: it is cancelled, and not asked for again.
#[tokio::test]
async fn one_that_is_to_be_cancelled_is_not_asked_for_again() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let app = test.app().await;
    let product = app.opens(100).await;
    let id = reserves(&app, product, 60).await;
    app.only_keeps_the_list();
    test.until_there_is("open_invest").await;
    test.execute("update open_invest set cancelling = true, due_at = clock_timestamp()")
        .await;
    app.only_sweeps_with(&of(&payments));
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, [CANCELLED]);
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Cancel]);
}

/// 1. Calls are under way, the provider is slow.
/// 2. We are told to stop: they are finished, and their invests settled.
#[tokio::test]
async fn what_is_under_way_is_finished_before_the_end() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.delays(Duration::from_millis(500));
    let (app, product) = test.with_one_product(&of(&payments)).await;
    for _ in 0..3 {
        reserves(&app, product, 1).await;
    }
    until("all are asked for", async || payments.ledger().len() == 3).await;
    app.stops().await;
    assert_eq!(test.became().await, ["SETTLED"; 3]);
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
}
