//! Random histories against a plain model: never oversold, nothing lost, and every way to the state leads to the same.

mod model;

use crate::support::*;
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use domain::{Product, ProductCommand, ProductEvent, Refusal, Terms};
use futures::executor::block_on;
use model::Model;
use proptest::prelude::*;

const USERS: [&str; 3] = ["choi", "kim", "lee"];

fn command() -> impl Strategy<Value = ProductCommand> {
    let id = || 1..15u128;
    prop_oneof![
        1 => Just(open(100)),
        20 => (id(), 0..USERS.len(), prop_oneof![1..40i64, Just(100), Just(101)], -2..3_603i64)
            .prop_map(|(id, user, amount, at)| invest_at(id, USERS[user], amount, second(at))),
        8 => id().prop_map(settle),
        6 => id().prop_map(fail),
        4 => (id(), 7_198..7_203i64).prop_map(|(id, at)| expire(id, second(at))),
        1 => Just(ProductCommand::CloseProduct),
        6 => (id(), 0..3_603i64).prop_map(|(id, at)| withdraw(id, "kim", None, second(at))),
        6 => id().prop_map(|id| refund(id, "kim", 1)),
        1 => Just(cancel()),
        2 => (3_598..3_603i64).prop_map(|at| ProductCommand::FailProduct { at: second(at) }),
    ]
}

/// Mostly a product that is there and stays open, with terms or without; sometimes neither.
fn history() -> impl Strategy<Value = Vec<ProductCommand>> {
    let bounds = (
        prop_oneof![Just(0), 1..20i64],
        prop_oneof![Just(0), 1..8i64],
        prop_oneof![Just(0), 20..60i64],
    );
    let given_back = (
        prop_oneof![Just(0), 1..3_600i64],
        prop_oneof![Just(0), 1..100i64],
    );
    let with_terms = (bounds, given_back).prop_map(|((minimum, unit, limit), (until, target))| {
        let Terms {
            target_amount,
            withdrawable_until,
            ..
        } = returnable(until, target);
        vec![open_with(
            100,
            Terms {
                target_amount,
                withdrawable_until,
                ..terms(minimum, unit, limit)
            },
        )]
    });
    let head = prop_oneof![5 => Just(vec![open(100)]), 4 => with_terms, 1 => Just(vec![])];
    (head, prop::collection::vec(command(), 0..80)).prop_map(|(head, rest)| [head, rest].concat())
}

/// The event that came of it; a refusal leaves none in the sink.
fn handle(product: &mut Product, command: ProductCommand) -> Result<ProductEvent, Refusal> {
    let sink = EventSink::default();
    let decided = block_on(product.handle(command, &(), &sink));
    let mut events = block_on(sink.collect());
    assert_eq!(events.len(), usize::from(decided.is_ok()));
    decided.map(|()| events.remove(0))
}

/// A product with this history, and its stream.
fn lived_through(history: Vec<ProductCommand>) -> (Product, Vec<ProductEvent>) {
    let (mut product, mut model) = (Product::default(), Model::default());
    let mut sent = |command| {
        let command = model.look_up(command)?;
        model.decide(&command).ok();
        handle(&mut product, command).ok()
    };
    let events = history.into_iter().filter_map(&mut sent).collect();
    (product, events)
}

fn replayed(events: &[ProductEvent]) -> Product {
    let mut product = Product::default();
    events
        .iter()
        .cloned()
        .for_each(|event| product.apply(event));
    product
}

fn assert_agrees(product: &Product, model: &Model) {
    assert_eq!(product.is_opened(), model.total.is_some());
    assert_eq!(product.reserved(), model.reserved());
    assert_eq!(product.settled(), model.settled());
    let mut open: Vec<_> = product
        .open_invests()
        .map(|(id, open)| (id.0.as_u128(), open.amount.won()))
        .collect();
    open.sort_unstable();
    assert_eq!(open, model.open());
}

/// `0 <= reserved + settled <= total`, and every won of the total is in one place.
fn assert_conserved(product: &Product, total: i64) {
    let open: i64 = product
        .open_invests()
        .map(|(_, open)| open.amount.won())
        .sum();
    assert_eq!(product.reserved(), open);
    assert!(
        product.reserved() >= 0 && product.settled() >= 0 && product.remaining() >= 0,
        "{product:?}"
    );
    assert_eq!(
        product.reserved() + product.settled() + product.remaining(),
        total
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_product_decides_as_a_plain_model_does(history in history()) {
        let (mut product, mut model) = (Product::default(), Model::default());
        for command in history {
            let Some(command) = model.look_up(command) else { continue };
            let expected = model.decide(&command);
            prop_assert_eq!(handle(&mut product, command.clone()), expected, "{:?}", command);
            assert_agrees(&product, &model);
        }
    }

    #[test]
    fn it_is_never_oversold_and_nothing_is_lost_at_any_prefix(history in history()) {
        let mut prefix = Product::default();
        for event in lived_through(history).1 {
            prefix.apply(event);
            assert_conserved(&prefix, 100);
        }
    }

    #[test]
    fn no_user_is_above_the_limit_at_any_prefix(history in history()) {
        let (mut prefix, mut limit) = (Product::default(), i64::MAX);
        for event in lived_through(history).1 {
            if let ProductEvent::ProductOpened { terms, .. } = &event {
                limit = terms.max_amount_per_user.map_or(i64::MAX, |limit| limit.won());
            }
            prefix.apply(event);
            prop_assert!(USERS.iter().all(|by| (0..=limit).contains(&prefix.taken_by(&user(by)))), "{:?}", prefix);
        }
    }

    #[test]
    fn a_refused_command_changes_nothing(history in history(), then in command()) {
        // Without a look-up: a command whose facts are wrong is a command, too.
        let (before, _) = lived_through(history);
        let mut product = before.clone();
        let refused = handle(&mut product, then).is_err();
        prop_assert_eq!(refused, product == before);
    }

    #[test]
    fn replayed_from_its_events_or_read_from_a_snapshot_it_is_the_same(history in history(), cut in 0..80usize) {
        let (product, events) = lived_through(history);
        prop_assert_eq!(&replayed(&events), &product);
        let (before, after) = events.split_at(cut.min(events.len()));
        let snapshot = serde_json::to_string(&replayed(before)).unwrap();
        let mut restored: Product = serde_json::from_str(&snapshot).unwrap();
        after.iter().cloned().for_each(|event| restored.apply(event));
        prop_assert_eq!(&restored, &product);
    }

    #[test]
    fn every_event_is_read_back_as_it_was_written(history in history()) {
        for event in lived_through(history).1 {
            let payload = serde_json::to_string(&event).unwrap();
            prop_assert_eq!(serde_json::from_str::<ProductEvent>(&payload).unwrap(), event);
        }
    }
}
