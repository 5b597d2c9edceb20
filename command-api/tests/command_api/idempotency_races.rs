//! Requests with one key at the same instant: one of them is carried out, all get its answer.

use crate::app::{TestApp, keyed_command};
use crate::write_side::{WriteSide, soon};
use command_api::processor::{CommandError, CommandOutcome};
use domain::{ProductId, Refusal};
use futures::future::join_all;

/// One of these is the first, and the others repeat it.
fn are_one_and_its_repeats(outcomes: &[CommandOutcome]) {
    let fresh: Vec<_> = outcomes
        .iter()
        .filter(|outcome| !outcome.replayed)
        .collect();
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    for outcome in outcomes {
        assert_eq!(
            CommandOutcome {
                replayed: false,
                ..outcome.clone()
            },
            *fresh[0]
        );
    }
}

async fn twins(
    apps: &[&TestApp],
    product: ProductId,
    amount: i64,
    key: &str,
    count: usize,
) -> Vec<CommandOutcome> {
    let envelope = |n: usize| {
        apps[n % apps.len()]
            .processors
            .submit(keyed_command(product, "user1", amount, key))
    };
    soon(join_all((0..count).map(envelope)))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test]
async fn twins_in_one_batch_are_one_invest() {
    let (test, app, product) = WriteSide::with_product(1, 100).await;
    let outcomes = twins(&[&app], product, 60, "k", 200).await;
    assert_eq!(outcomes[0].decision, Ok(()));
    are_one_and_its_repeats(&outcomes);
    assert_eq!(test.reservations().await.len(), 1);
}

#[tokio::test]
async fn twins_that_are_refused_are_refused_alike() {
    let (_test, app, product) = WriteSide::with_product(1, 100).await;
    let outcomes = twins(&[&app], product, 101, "k", 200).await;
    assert_eq!(
        outcomes[0].decision,
        Err(Refusal::SoldOut { remaining: 100 })
    );
    are_one_and_its_repeats(&outcomes);
}

/// In one batch: the key's first request, its repeat, and two that mean something else by it.
#[tokio::test]
async fn in_one_batch_a_key_stands_for_the_first_request() {
    let (test, app) = WriteSide::with_app(1).await;
    let [product, other] = [app.opens(100).await, app.opens(100).await];
    let outcomes = soon(join_all(
        [(product, 60), (product, 59), (product, 60), (other, 60)].map(|(product, amount)| {
            app.processors
                .submit(keyed_command(product, "user1", amount, "k"))
        }),
    ))
    .await;
    let [
        Ok(first),
        Err(CommandError::KeyReused),
        Ok(repeat),
        Err(CommandError::KeyReused),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    are_one_and_its_repeats(&[first.clone(), repeat.clone()]);
    assert!(repeat.replayed);
    assert_eq!(test.reservations().await.len(), 1);
}

/// A batch in which one key is taken already: its request leaves, all others are carried out.
#[tokio::test]
async fn a_taken_key_does_not_disturb_the_rest_of_its_batch() {
    let (test, app, product) = WriteSide::with_product(1, 100).await;
    let first = app
        .decides(keyed_command(product, "user1", 1, "taken"))
        .await
        .unwrap();
    let keys = ["a", "taken", "b"];
    let outcomes = soon(join_all(keys.map(|key| {
        app.processors
            .submit(keyed_command(product, "user1", 1, key))
    })))
    .await;
    let replayed: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().unwrap().replayed)
        .collect();
    assert_eq!(replayed, [false, true, false]);
    assert_eq!(outcomes[1].as_ref().unwrap().invest_id, first.invest_id);
    assert_eq!(test.reservations().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_over_http_are_one_invest() {
    let (test, app, product) = WriteSide::with_product(4, 100).await;
    let answers = join_all((0..64).map(|_| app.invest(product, 60).key("k").sent())).await;
    let fresh = answers
        .iter()
        .filter(|answer| answer.header("idempotency-replayed").is_none())
        .count();
    assert_eq!(fresh, 1);
    for answer in &answers {
        assert_eq!(answer.is_ok().invest_id(), answers[0].invest_id());
    }
    assert_eq!(test.reservations().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_through_two_instances_are_one_invest() {
    let test = WriteSide::with_partitions(4).await;
    let (one, two) = (test.app().await, test.app().await);
    let product = one.opens(1_000).await;
    for round in 1..=10 {
        let outcomes = twins(&[&one, &two], product, 60, &format!("round {round}"), 40).await;
        are_one_and_its_repeats(&outcomes);
        assert_eq!(test.reservations().await.len(), round);
    }
    test.everything_adds_up().await;
}

/// The same key at the same instant for products of different partitions, of which one gets it: the processors share nothing
/// but the table of keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_in_several_partitions_stands_for_one_of_them() {
    let (test, app) = WriteSide::with_app(4).await;
    let products = [
        app.opens(1_000).await,
        app.opens(1_000).await,
        app.opens(1_000).await,
        app.opens(1_000).await,
    ];
    for round in 1..=20 {
        let key = format!("round {round}");
        let envelope = |product| {
            app.processors
                .submit(keyed_command(product, "user1", 1, &key))
        };
        let outcomes = soon(join_all(products.map(envelope))).await;
        let accepted = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let reused = outcomes
            .iter()
            .filter(|outcome| **outcome == Err(CommandError::KeyReused))
            .count();
        assert_eq!((accepted, reused), (1, 3), "{outcomes:?}");
        assert_eq!(test.reservations().await.len(), round);
    }
    test.everything_adds_up().await;
}
