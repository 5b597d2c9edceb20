//! Requests with one key at the same instant: one of them is carried out, all get its answer.

use crate::house::{House, soon};
use crate::moa::{Moa, keyed_order};
use command_api::desk::{Answer as Decision, NoVerdict, Verdict};
use domain::ProductId;
use futures::future::join_all;

/// One of these is the first, and the others repeat it.
fn are_one_and_its_repeats(verdicts: &[Verdict]) {
    let fresh: Vec<_> = verdicts.iter().filter(|verdict| !verdict.replayed).collect();
    assert_eq!(fresh.len(), 1, "{fresh:?}");
    for verdict in verdicts {
        assert_eq!(Verdict { replayed: false, ..verdict.clone() }, *fresh[0]);
    }
}

async fn twins(moas: &[&Moa], product: ProductId, amount: i64, key: &str, count: usize) -> Vec<Verdict> {
    let order = |n: usize| moas[n % moas.len()].desks.submit(keyed_order(product, "user1", amount, key));
    soon(join_all((0..count).map(order))).await.into_iter().map(Result::unwrap).collect()
}

#[tokio::test]
async fn twins_in_one_batch_are_one_invest() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    let verdicts = twins(&[&moa], product, 60, "k", 200).await;
    assert_eq!(verdicts[0].answer, Decision::Accepted);
    are_one_and_its_repeats(&verdicts);
    assert_eq!(house.reservations().await.len(), 1);
}

#[tokio::test]
async fn twins_that_are_refused_are_refused_alike() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    let verdicts = twins(&[&moa], product, 101, "k", 200).await;
    assert_eq!(verdicts[0].answer, Decision::SoldOut { remaining: 100 });
    are_one_and_its_repeats(&verdicts);
}

/// In one batch: the key's first request, its repeat, and two that mean something else by it.
#[tokio::test]
async fn in_one_batch_a_key_stands_for_the_first_request() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let [product, other] = [moa.opens(100).await, moa.opens(100).await];
    let verdicts = soon(join_all(
        [(product, 60), (product, 59), (product, 60), (other, 60)]
            .map(|(product, amount)| moa.desks.submit(keyed_order(product, "user1", amount, "k"))),
    ))
    .await;
    let [Ok(first), Err(NoVerdict::KeyReused), Ok(repeat), Err(NoVerdict::KeyReused)] = &verdicts[..] else {
        panic!("{verdicts:?}");
    };
    are_one_and_its_repeats(&[first.clone(), repeat.clone()]);
    assert!(repeat.replayed);
    assert_eq!(house.reservations().await.len(), 1);
}

/// A batch in which one key is taken already: its request leaves, all others are carried out.
#[tokio::test]
async fn a_taken_key_does_not_disturb_the_rest_of_its_batch() {
    let house = House::with_one_partition().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    let first = moa.decides(keyed_order(product, "user1", 1, "taken")).await.unwrap();
    let keys = ["a", "taken", "b"];
    let verdicts = soon(join_all(keys.map(|key| moa.desks.submit(keyed_order(product, "user1", 1, key))))).await;
    let replayed: Vec<_> = verdicts.iter().map(|verdict| verdict.as_ref().unwrap().replayed).collect();
    assert_eq!(replayed, [false, true, false]);
    assert_eq!(verdicts[1].as_ref().unwrap().invest_id, first.invest_id);
    assert_eq!(house.reservations().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_over_http_are_one_invest() {
    let house = House::new().await;
    let moa = house.moa().await;
    let product = moa.opens(100).await;
    let answers = join_all((0..64).map(|_| moa.invest(product, 60).key("k").sent())).await;
    let fresh = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert_eq!(fresh, 1);
    for answer in &answers {
        assert_eq!(answer.is_ok().invest_id(), answers[0].invest_id());
    }
    assert_eq!(house.reservations().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twins_through_two_instances_are_one_invest() {
    let house = House::new().await;
    let (one, two) = (house.moa().await, house.moa().await);
    let product = one.opens(1_000).await;
    for round in 1..=10 {
        let verdicts = twins(&[&one, &two], product, 60, &format!("round {round}"), 40).await;
        are_one_and_its_repeats(&verdicts);
        assert_eq!(house.reservations().await.len(), round);
    }
    house.everything_adds_up().await;
}

/// The same key at the same instant for products of different partitions, of which one gets it: the desks share nothing
/// but the table of keys.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_in_several_partitions_stands_for_one_of_them() {
    let house = House::new().await;
    let moa = house.moa().await;
    let products = [moa.opens(1_000).await, moa.opens(1_000).await, moa.opens(1_000).await, moa.opens(1_000).await];
    for round in 1..=20 {
        let key = format!("round {round}");
        let order = |product| moa.desks.submit(keyed_order(product, "user1", 1, &key));
        let verdicts = soon(join_all(products.map(order))).await;
        let accepted = verdicts.iter().filter(|verdict| verdict.is_ok()).count();
        let reused = verdicts.iter().filter(|verdict| **verdict == Err(NoVerdict::KeyReused)).count();
        assert_eq!((accepted, reused), (1, 3), "{verdicts:?}");
        assert_eq!(house.reservations().await.len(), round);
    }
    house.everything_adds_up().await;
}
