//! A user's own name for a request: its final answer is given again, whatever has happened since.

use crate::app::{TestApp, product, window_of_hours};
use crate::write_side::WriteSide;
use domain::{ProductId, Window};
use testbed::http::Answer;

/// What an answer says beside its correlation id, which is the request's own.
fn told(answer: &Answer) -> (u16, &str, [Option<&str>; 3]) {
    let headers = ["x-invest-id", "x-remaining-amount", "x-consistency-token"]
        .map(|name| answer.header(name));
    (answer.status, &answer.body, headers)
}

async fn is_told_again(app: &TestApp, product: ProductId, amount: i64, key: &str, first: &Answer) {
    let again = app.invest(product, amount).key(key).sent().await;
    again.is_replayed();
    assert_eq!(told(&again), told(first));
}

async fn is_told_afresh(app: &TestApp, product: ProductId, amount: i64, key: &str) -> Answer {
    let answer = app.invest(product, amount).key(key).sent().await;
    answer.is_fresh();
    answer
}

/// Each final answer under a key of its own, in this order; then how each is told again.
#[tokio::test]
async fn final_answers_are_given_again_as_they_were() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let finished = app.opens_for(100, window_of_hours(-2, -1)).await;

    let accepted = is_told_afresh(&app, product, 60, "accepted").await;
    let sold_out = is_told_afresh(&app, product, 50, "sold-out").await;
    let over = is_told_afresh(&app, finished, 1, "finished").await;
    accepted.is_ok();
    sold_out.is_sold_out(40);
    over.is_refused(200, "FINISHED", "Product is finished : ");

    app.invest(product, 40).by("user2").sent().await.is_ok();
    app.closes(product).await;
    let closed = is_told_afresh(&app, product, 1, "closed").await;
    closed.is_refused(200, "CLOSED", "Product is closed : ");

    let head = test.log.heads().await.unwrap();
    for (of, amount, key, first) in [
        (product, 60, "accepted", &accepted),
        (product, 50, "sold-out", &sold_out),
        (finished, 1, "finished", &over),
        (product, 1, "closed", &closed),
    ] {
        is_told_again(&app, of, amount, key, first).await;
        is_told_again(&app, of, amount, key, first).await;
    }
    assert_eq!(
        test.log.heads().await.unwrap(),
        head,
        "a replay appends nothing"
    );
}

#[tokio::test]
async fn without_a_key_a_repeated_request_is_a_new_one() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let [first, second] = [
        app.invest(product, 1).sent().await,
        app.invest(product, 1).sent().await,
    ];
    assert_ne!(first.is_fresh().invest_id(), second.is_fresh().invest_id());
    assert_eq!(test.count("idempotency_keys").await, 0);
}

#[tokio::test]
async fn an_answer_that_time_may_change_is_not_kept() {
    let (test, app) = WriteSide::with_app(4).await;
    let soon = Window::new(
        chrono::Utc::now() + chrono::TimeDelta::hours(1),
        crate::app::hours_from_now(2),
    )
    .unwrap();
    let coming = app.opens_for(100, soon).await;
    for _ in 0..2 {
        let early = is_told_afresh(&app, coming, 1, "early").await;
        early.is_refused(200, "NOT_STARTED", "Product is not started : ");
        let unknown = is_told_afresh(&app, product(1_000), 1, "unknown").await;
        unknown.is_refused(200, "NOT_EXIST_PRODUCT", "Not exist product : ");
        app.invest(coming, 0).key("wrong").sent().await;
    }
    assert_eq!(test.count("idempotency_keys").await, 0);

    app.opens_as(product(1_000), 100, window_of_hours(-1, 1))
        .await;
    is_told_afresh(&app, product(1_000), 1, "unknown")
        .await
        .is_ok();
    let accepted = is_told_afresh(&app, product(1_000), 2, "early").await;
    is_told_again(&app, product(1_000), 2, "early", accepted.is_ok()).await;
    is_told_afresh(&app, product(1_000), 3, "wrong")
        .await
        .is_ok();
}

/// Whatever the other request would have been told: also that its product does not exist, or has not started.
#[tokio::test]
async fn a_key_stands_for_one_request_over_all_products() {
    let (test, app) = WriteSide::with_app(4).await;
    let [first, other, next] = [
        app.opens(100).await,
        app.opens(100).await,
        app.opens(100).await,
    ];
    let coming = app.opens_for(100, window_of_hours(1, 2)).await;
    let sold_out = app.opens(1).await;
    assert_ne!(test.log.partition_of(first), test.log.partition_of(other));
    let accepted = is_told_afresh(&app, first, 1, "k").await;
    for (product, amount) in [
        (first, 2),
        (other, 1),
        (next, 1),
        (sold_out, 2),
        (coming, 1),
        (product(1_001), 1),
        (product(1_002), 1),
    ] {
        app.invest(product, amount)
            .key("k")
            .sent()
            .await
            .is_key_reused();
    }
    is_told_again(&app, first, 1, "k", &accepted).await;
    assert_eq!(test.reservations().await.len(), 1);
}

#[tokio::test]
async fn users_do_not_see_each_others_keys() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let mine = app.invest(product, 1).by("user1").key("k").sent().await;
    let yours = app.invest(product, 2).by("user2").key("k").sent().await;
    let theirs = app.invest(product, 2).by("user.2").key("k").sent().await;
    for answer in [&mine, &yours, &theirs] {
        answer.is_ok().is_fresh();
    }
    assert_eq!(test.reservations().await.len(), 3);
}

#[tokio::test]
async fn a_key_outlives_the_instance() {
    let test = WriteSide::with_partitions(4).await;
    let before = test.app().await;
    let product = before.opens(100).await;
    let accepted = is_told_afresh(&before, product, 60, "k").await;
    let refused = is_told_afresh(&before, product, 41, "r").await;
    before.stops().await;

    let after = test.app().await;
    is_told_again(&after, product, 60, "k", accepted.is_ok()).await;
    is_told_again(&after, product, 41, "r", refused.is_sold_out(40)).await;
    after
        .invest(product, 59)
        .key("k")
        .sent()
        .await
        .is_key_reused();
    assert_eq!(test.reservations().await.len(), 1);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_and_not_before() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let [old, young] = [
        is_told_afresh(&app, product, 1, "old").await,
        is_told_afresh(&app, product, 1, "young").await,
    ];
    let age = async |key: &str, age: &str| {
        let aged = format!(
            "update idempotency_keys set recorded_at = now() - interval '{age}' where key = '{key}'"
        );
        assert_eq!(test.execute(&aged).await, 1);
    };
    age("old", "24 hours 1 minute").await;
    age("young", "23 hours 59 minutes").await;
    assert_eq!(app.log.purge_idempotency_keys().await.unwrap(), 1);

    is_told_again(&app, product, 1, "young", &young).await;
    let again = is_told_afresh(&app, product, 1, "old").await;
    assert_ne!(again.is_ok().invest_id(), old.invest_id());
    assert_eq!(test.reservations().await.len(), 3);
}

#[tokio::test]
async fn the_longest_key_and_the_oddest_are_keys() {
    let (_test, app, product) = WriteSide::with_product(4, 100).await;
    for key in [
        "k".repeat(255).as_str(),
        r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##,
    ] {
        let first = is_told_afresh(&app, product, 1, key).await;
        is_told_again(&app, product, 1, key, first.is_ok()).await;
    }
}
