//! A database that was set back under running instances: the money that is gone from it is not given a second time.

use crate::app::TestApp;
use crate::write_side::{WriteSide, soon, until};
use domain::ProductId;
use event_log::Acceptance;
use testbed::http::Answer;

/// Two instances, both of which hear what an operator says, and a product of 1,000 of which the first sold 2.
async fn two_instances() -> (WriteSide, TestApp, TestApp, ProductId) {
    let test = WriteSide::with_one_partition().await;
    let (first, second) = (test.app().await, test.app().await);
    first.only_keeps_the_list();
    second.only_keeps_the_list();
    let product = first.opens(1_000).await;
    for _ in 0..2 {
        first.invest(product, 1).sent().await.is_ok();
    }
    until("both know of it", async || {
        let heads = [&first, &second]
            .map(|app| app.log.write_stop(0).is_none() && app.log.trusted_time().is_some());
        heads == [true, true]
    })
    .await;
    (test, first, second, product)
}

/// The answer of an instance that may just be hearing what an operator said: then it tells to come again.
async fn answered(app: &TestApp, product: ProductId, amount: i64) -> Answer {
    let asked = async {
        loop {
            let answer = app.invest(product, amount).sent().await;
            if answer.status != 503 {
                return answer;
            }
        }
    };
    soon(asked).await
}

/// What was answered last is gone from the database.
async fn loses_the_last_event(test: &WriteSide) {
    test.tamper("delete from events where position = (select max(position) from events)")
        .await;
}

/// 1. The first instance has sold 2, and the database loses the second of them.
/// 2. A fresh instance knows nothing of it and sells 999, all that is left.
/// 3. The first takes nothing any more: not what would fit by what it knows, not what would be sold out, not to a product
///    that it has not loaded.
#[tokio::test]
async fn an_instance_that_knows_more_than_the_database_sells_nothing() {
    let (test, first, _second, product) = two_instances().await;
    loses_the_last_event(&test).await;
    let fresh = test.app().await;
    fresh.invest(product, 999).by("user2").sent().await.is_ok();
    for amount in [998, 999, 1_000] {
        first
            .invest(product, amount)
            .by("user3")
            .sent()
            .await
            .is_overloaded();
    }
    first
        .invest(ProductId::try_from(77).unwrap(), 1)
        .sent()
        .await
        .is_overloaded();
    assert_eq!(first.log.readiness().failed(), ["log-lost-events"]);
    let sold: i64 = test.reservations().await.len() as i64;
    assert_eq!(sold, 2, "1 won that was left, and 999");
}

/// 1. An instance has stopped.
/// 2. An operator agrees to the loss.
/// 3. It goes on with what the database has: 999 are left of 1,000, not 998.
#[tokio::test]
async fn after_an_operators_word_it_sells_what_is_left_in_the_database() {
    let (test, first, second, product) = two_instances().await;
    loses_the_last_event(&test).await;
    first.invest(product, 999).sent().await.is_overloaded();
    second.log.accept(Acceptance::Loss).await.unwrap();
    until("they hear of it", async || {
        let stops = [&first, &second].map(|app| app.log.write_stop(0));
        stops == [None, None] && first.log.readiness().failed().is_empty()
    })
    .await;
    answered(&first, product, 1_000).await.is_sold_out(999);
    answered(&second, product, 999).await.is_ok();
    answered(&first, product, 1).await.is_sold_out(0);
    test.everything_adds_up().await;
}

/// Nobody loses anything, and yet what was known before is read again: it might have been lost. What comes at that very
/// moment is told to come again.
#[tokio::test]
async fn a_word_without_a_loss_harms_nobody() {
    let (test, first, second, product) = two_instances().await;
    first.log.accept(Acceptance::Loss).await.unwrap();
    for app in [&first, &second, &first] {
        answered(app, product, 100).await.is_ok();
    }
    assert_eq!(
        test.reservations().await.len(),
        5,
        "what was told to come again was not accepted"
    );
    test.everything_adds_up().await;
}
