//! Several instances on one database: no election, no leader, the same promises.

use crate::app::{TestApp, invest_command};
use crate::write_side::{WriteSide, soon};
use command_api::processor::CommandOutcome;
use domain::{InvestId, ProductCommand, ProductEvent, ProductId, Refusal};
use std::collections::HashMap;
use tokio::task::JoinSet;

/// What a client asked for, and what it was told.
struct Told {
    user: String,
    amount: i64,
    outcome: CommandOutcome,
}

/// Clients of each instance invest 1..=7 again and again, all at once.
async fn everybody_invests(
    apps: &[&TestApp],
    product: ProductId,
    clients: usize,
    each: i64,
) -> Vec<Told> {
    let mut crowd = JoinSet::new();
    for client in 0..clients {
        let (processors, user) = (
            apps[client % apps.len()].processors.clone(),
            format!("user{client}"),
        );
        crowd.spawn(async move {
            let mut journal = Vec::new();
            for n in 0..each {
                let amount = 1 + (n + client as i64) % 7;
                let outcome = processors
                    .submit(invest_command(product, &user, amount))
                    .await
                    .unwrap();
                journal.push(Told {
                    user: user.clone(),
                    amount,
                    outcome,
                });
            }
            journal
        });
    }
    soon(crowd.join_all()).await.into_iter().flatten().collect()
}

/// Every accepted invest is in the log as it was asked for and where it was said; nothing else is there.
async fn the_log_has_what_was_told(test: &WriteSide, told: &[Told]) {
    let mut reserved: HashMap<InvestId, _> = HashMap::new();
    for recorded in test.reservations().await {
        let ProductEvent::InvestReserved {
            invest_id,
            user_id,
            amount,
            ..
        } = &recorded.event
        else {
            continue;
        };
        let as_told = (
            user_id.to_string(),
            amount.won(),
            (recorded.partition, recorded.position),
        );
        assert_eq!(reserved.insert(*invest_id, as_told), None);
    }
    for told in told.iter().filter(|told| told.outcome.decision == Ok(())) {
        let found = reserved.remove(&told.outcome.invest_id.unwrap());
        assert_eq!(
            found,
            Some((told.user.clone(), told.amount, told.outcome.position))
        );
    }
    assert!(reserved.is_empty(), "nobody was told of {reserved:?}");
}

/// Refused were only amounts that did not fit.
fn refusals_are_true(told: &[Told]) {
    for told in told {
        match told.outcome.decision {
            Ok(()) => {}
            Err(Refusal::SoldOut { remaining }) => {
                assert!(remaining < told.amount, "{remaining} would have fitted")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_never_oversell_and_tell_the_truth() {
    let test = WriteSide::with_partitions(4).await;
    let (one, two) = (test.app().await, test.app().await);
    for _ in 0..5 {
        let product = one.opens(300).await;
        let told = everybody_invests(&[&one, &two], product, 40, 5).await;
        refusals_are_true(&told);
        assert_eq!(
            test.remaining(product).await,
            0,
            "there were takers for one won"
        );
        test.everything_adds_up().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_two_instances_accept_is_what_is_in_the_log() {
    let test = WriteSide::with_one_partition().await;
    let (one, two) = (test.app().await, test.app().await);
    let product = two.opens(1_000).await;
    let told = everybody_invests(&[&one, &two], product, 30, 12).await;
    refusals_are_true(&told);
    the_log_has_what_was_told(&test, &told).await;
    test.everything_adds_up().await;
    for app in [&one, &two] {
        app.invest(product, 1).sent().await.is_sold_out(0);
    }
}

/// An instance that has not written for long refuses nothing on what it knew then.
#[tokio::test]
async fn a_refusal_is_confirmed_with_the_log() {
    let test = WriteSide::with_partitions(4).await;
    let (one, two) = (test.app().await, test.app().await);
    let product = one.opens_for(100, crate::app::window_of_hours(-1, 1)).await;
    let invest = one.invest(product, 100).sent().await;
    two.invest(product, 1).sent().await.is_sold_out(0);

    let fail = |reason| ProductCommand::FailInvest {
        invest_id: invest.invest_id(),
        reason,
    };
    let reason = domain::FailReason::new("DECLINED", "no funds").unwrap();
    let failed = one
        .decides(command_api::processor::CommandEnvelope::new(
            product,
            fail(reason),
            event_log::Metadata::default(),
        ))
        .await;
    assert_eq!(failed.unwrap().decision, Ok(()));
    two.invest(product, 100).sent().await.is_ok();
    one.closes(product).await;
    two.invest(product, 1)
        .sent()
        .await
        .is_refused(200, "CLOSED", "Product is closed : ");
    test.everything_adds_up().await;
}

#[tokio::test]
async fn a_product_that_one_opens_exists_for_all() {
    let test = WriteSide::with_partitions(4).await;
    let (one, two) = (test.app().await, test.app().await);
    let unknown = crate::app::product(4_711);
    two.invest(unknown, 1).sent().await.is_refused(
        200,
        "NOT_EXIST_PRODUCT",
        "Not exist product : ",
    );
    one.opens_as(unknown, 100, crate::app::window_of_hours(-1, 1))
        .await;
    two.invest(unknown, 1).sent().await.is_ok();
}
