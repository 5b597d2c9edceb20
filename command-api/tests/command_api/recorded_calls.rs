//! Calls to the payment provider are written down beside the log, whatever came of them.

use crate::app::{AppSettings, TestApp};
use crate::fates::{reserves_by, with_scaled_down_timeouts};
use crate::write_side::{WriteSide, until};
use command_api::{Provider, recorder, run_recorder};
use domain::{InvestId, ProductId};
use testbed::payments::{Call, Payments, State, Trouble};
use tokio_util::sync::CancellationToken;

/// An instance that settles with this provider and whose calls are written.
async fn settles(test: &WriteSide, provider: &Provider) -> (TestApp, ProductId) {
    let (recorder, recording) = recorder();
    tokio::spawn(run_recorder(
        recording,
        test.pool.clone(),
        CancellationToken::new(),
    ));
    let app = test
        .app_with(AppSettings {
            recorder: Some(recorder),
            ..AppSettings::default()
        })
        .await;
    let product = app.opens(1_000).await;
    app.settles_with(provider);
    (app, product)
}

/// One whose calls are never given up because this machine is busy.
fn in_no_haste(payments: &Payments) -> Provider {
    Provider::http(&payments.url(), &tls::Trust::default()).unwrap()
}

/// The calls of an invest so far, in order; `why` stands for any reason of ours that there is no answer.
async fn calls_so_far(test: &WriteSide, invest: InvestId) -> Vec<String> {
    let all = format!(
        "select concat_ws(' ', call, answer, case when answer in ('UNANSWERED', 'NOT_REACHED') then
                          case when detail <> '' then 'why' end else detail end)
           from payment_calls where invest_id = '{}' order by asked_at",
        invest.0
    );
    test.says(&all).await
}

/// Those up to the one that ended it, which is written a moment after the invest's fate.
async fn calls_up_to(test: &WriteSide, invest: InvestId, last: &str) -> Vec<String> {
    let written = async || {
        calls_so_far(test, invest)
            .await
            .last()
            .is_some_and(|call| call == last)
    };
    until("the last call is written", written).await;
    calls_so_far(test, invest).await
}

#[tokio::test]
async fn each_answer_is_written_down() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = settles(&test, &in_no_haste(&payments)).await;
    payments.refuses("poor", " no\u{0} funds");
    payments.refuses("named", "kim@example.com has no funds");
    payments.pends("slow", 2);
    let cases: [(&str, &[&str]); 4] = [
        ("rich", &["PAY PAID"]),
        ("poor", &["PAY REFUSED no funds"]),
        ("named", &["PAY REFUSED withheld"]),
        ("slow", &["PAY PENDING", "LOOK PENDING", "LOOK PAID"]),
    ];
    for (user, calls) in cases {
        let invest = reserves_by(&app, product, user, 1).await;
        assert_eq!(
            calls_up_to(&test, invest, calls[calls.len() - 1]).await,
            calls,
            "{user}"
        );
        test.until_all_have_their_fate_and_agree_with(&payments)
            .await;
    }
    let became = test.became().await;
    assert_eq!(
        became,
        [
            "SETTLED",
            "PAYMENT_DECLINED : no funds",
            "PAYMENT_DECLINED : withheld",
            "SETTLED"
        ]
    );
    assert_eq!(
        test.count("payment_calls where attempt <> 0 or took_ms not between 0 and 3000")
            .await,
        0
    );
    assert_eq!(
        test.count("payment_calls where asked_at not between now() - interval '1 min' and now() + interval '1 s'")
            .await,
        0
    );
}

#[tokio::test]
async fn a_call_without_an_answer_is_written_down_and_how_long_it_was_waited_for() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (app, product) = settles(&test, &with_scaled_down_timeouts(&payments)).await;
    payments.troubles(Call::Pay, Trouble::Silent);
    let invest = reserves_by(&app, product, "user1", 1).await;
    assert_eq!(
        calls_up_to(&test, invest, "CANCEL CANCELLED").await,
        ["PAY UNANSWERED why", "CANCEL CANCELLED"]
    );
    // A call may take 600 ms in this haste.
    assert_eq!(
        test.count("payment_calls where call = 'PAY' and took_ms between 550 and 5000")
            .await,
        1
    );
}

#[tokio::test]
async fn a_payment_that_its_provider_has_lost_is_written_down() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.pends("user1", u32::MAX);
    let (app, product) = settles(&test, &in_no_haste(&payments)).await;
    let invest = reserves_by(&app, product, "user1", 1).await;
    let pends = || {
        payments
            .ledger()
            .get(&invest.0)
            .is_some_and(|payment| matches!(payment.state, State::Pending { .. }))
    };
    until("it is pending there", async || pends()).await;
    payments.forgets();
    // How often it was looked for before it was lost is a matter of time.
    let mut calls = calls_up_to(&test, invest, "CANCEL CANCELLED").await;
    calls.retain(|call| call != "LOOK PENDING");
    assert_eq!(
        calls,
        ["PAY PENDING", "LOOK NEVER_HEARD", "CANCEL CANCELLED"]
    );
}

/// It was not asked, so it may be tried again; each attempt is there with its number.
#[tokio::test]
async fn a_provider_that_is_not_reached_is_written_down_each_time() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.closes().await;
    let (app, product) = settles(&test, &with_scaled_down_timeouts(&payments)).await;
    let invest = reserves_by(&app, product, "user1", 1).await;
    test.until_there_is("payment_calls where attempt >= 2")
        .await;
    payments.reopens().await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    let calls = calls_up_to(&test, invest, "PAY PAID").await;
    let (last, before) = calls.split_last().unwrap();
    assert_eq!(last, "PAY PAID");
    assert!(
        before.len() >= 3 && before.iter().all(|call| call == "PAY NOT_REACHED why"),
        "{calls:?}"
    );
    let attempts = test
        .says("select attempt::text from payment_calls order by asked_at")
        .await;
    assert!(attempts.is_sorted() && attempts[0] == "0", "{attempts:?}");
}

#[tokio::test]
async fn approve_asks_nobody() {
    let test = WriteSide::with_partitions(4).await;
    let (app, product) = settles(&test, &Provider::Approve).await;
    reserves_by(&app, product, "user1", 1).await;
    test.until_all_have_their_fate().await;
    // Notes are written a moment after; a refusal comes after whatever was recorded before.
    app.invest(product, 1_000).sent().await.is_sold_out(999);
    test.until_there_is("refusals").await;
    assert_eq!(test.count("payment_calls").await, 0);
}
