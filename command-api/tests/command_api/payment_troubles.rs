//! Settlement with a payment provider in every kind of trouble: half an answer is none, and what is not known is
//! cancelled before it fails.

use crate::fates::{reserves, reserves_many, with_scaled_down_timeouts};
use crate::write_side::{WriteSide, until};
use rstest::rstest;
use std::time::Duration;
use testbed::payments::{Call, Payments, State, Trouble};

const CANCELLED: &str = "PAYMENT_TIMEOUT : the payment was not made in time and was cancelled";

#[rstest]
#[tokio::test]
async fn an_unanswered_payment_is_cancelled_and_that_answer_is_its_fate(
    #[values(
        Trouble::Silent,
        Trouble::DoneAndSilent,
        Trouble::Dropped,
        Trouble::DoneAndDropped,
        Trouble::Fails,
        Trouble::DoneAndFails,
        Trouble::Moved,
        Trouble::DoneAndGarbled,
        Trouble::DoneAndCut,
        Trouble::DoneAndEndless,
        Trouble::DoneForAnother,
        Trouble::DoneAndContradicted
    )]
    trouble: Trouble,
) {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.troubles(Call::Pay, trouble);
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(
        test.became().await,
        [if trouble.is_done() {
            "SETTLED"
        } else {
            CANCELLED
        }]
    );
    assert_eq!(payments.ledger()[&id.0].calls, [Call::Pay, Call::Cancel]);
}

/// 1. The provider does not get to the payment before the caller has given up and cancelled.
/// 2. It gets to it: it is too late, for good.
#[tokio::test]
async fn a_payment_that_is_late_is_not_made_after_its_cancel() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.troubles(Call::Pay, Trouble::Late(Duration::from_secs(2)));
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, [CANCELLED]);
    until("the provider gets to it", async || {
        payments.ledger()[&id.0].terms.is_some()
    })
    .await;
    assert_eq!(
        (
            payments.ledger()[&id.0].debits,
            &payments.ledger()[&id.0].state
        ),
        (0, &State::Cancelled)
    );
}

/// 1. The payment is made, its answer lost, and no cancel is answered: nothing is known, so it stays reserved.
/// 2. The provider answers again: it is paid, and it was not asked for a second time.
#[rstest]
#[tokio::test]
async fn as_long_as_no_cancel_is_answered_it_stays_reserved(
    #[values(
        Trouble::Silent,
        Trouble::Fails,
        Trouble::DoneAndGarbled,
        Trouble::DoneForAnother
    )]
    trouble: Trouble,
) {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.troubles(Call::Pay, Trouble::DoneAndDropped);
    payments.troubles(Call::Cancel, trouble);
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    let cancels = || {
        payments.ledger()[&id.0]
            .calls
            .iter()
            .filter(|call| **call == Call::Cancel)
            .count()
    };
    until("it was cancelled twice in vain", async || {
        !payments.ledger().is_empty() && cancels() >= 2
    })
    .await;
    test.until_there_is("open_invest where cancelling and attempts > 0")
        .await;
    assert_eq!(test.became().await, [""; 0]);

    payments.recovers();
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, ["SETTLED"]);
    assert_eq!(
        payments.ledger()[&id.0]
            .calls
            .iter()
            .filter(|call| **call == Call::Pay)
            .count(),
        1
    );
}

/// The provider has lost a payment that it had accepted: a look does not tell, its cancel does.
#[tokio::test]
async fn a_pending_payment_that_cannot_be_looked_at_is_cancelled() {
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    payments.pends("user1", 3);
    payments.troubles(Call::Look, Trouble::Fails);
    let (app, product) = test
        .with_one_product(&with_scaled_down_timeouts(&payments))
        .await;
    let id = reserves(&app, product, 10).await;
    test.until_all_have_their_fate_and_agree_with(&payments)
        .await;
    assert_eq!(test.became().await, [CANCELLED]);
    assert_eq!(payments.ledger()[&id.0].calls.first(), Some(&Call::Pay));
}

/// 1. Invests are open, and two instances sweep one list, while a fifth of all calls meets some trouble.
/// 2. Each gets exactly one fate, and the ledger has one debit for each that is settled and none for any other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_troubles_come_the_ledger_and_the_log_agree() {
    const INVESTS: usize = 2_000;
    let (test, payments) = (WriteSide::with_partitions(4).await, Payments::open().await);
    let (one, two) = (test.app().await, test.app().await);
    let product = one.opens(10_000).await;
    for n in (0..INVESTS).step_by(10) {
        payments.refuses(&format!("user{n}"), "no funds");
        payments.pends(&format!("user{}", n + 5), 2);
    }
    payments.troubles_some(20);
    one.only_keeps_the_list();
    reserves_many(&one, product, INVESTS).await;
    until("all are on the list", async || {
        test.count("open_invest").await == INVESTS as i64
    })
    .await;
    test.makes_all_due().await;
    one.only_sweeps_with(&with_scaled_down_timeouts(&payments));
    two.only_sweeps_with(&with_scaled_down_timeouts(&payments));
    test.until_there_is_no("open_invest").await;

    test.everything_adds_up().await;
    assert_eq!(payments.contradictions(&test.pool).await, [""; 0]);
    let became = test.became().await;
    let those = |fate: &str| became.iter().filter(|became| *became == fate).count();
    let (settled, cancelled, declined) = (
        those("SETTLED"),
        those(CANCELLED),
        those("PAYMENT_DECLINED : no funds"),
    );
    let told = format!("{settled} are settled, {cancelled} cancelled, {declined} declined");
    assert!(
        settled > INVESTS / 2 && cancelled > INVESTS / 100 && declined > INVESTS / 20,
        "{told}"
    );
    assert_eq!(became.len(), INVESTS, "{told}");
}
