//! Random histories, decided by the domain, in random batches: the rows are those of a plain fold.

mod fold;

use crate::event_index;
use crate::support::{Happened, TestApp, invest, opened_with, product, second};
use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use domain::{Amount, FailReason, InvestId, Product, ProductCommand, ProductEvent, Terms, UserId};
use event_log::RecordedEvent;
use event_log::consume::Projection;
use fold::Fold;
use futures::executor::block_on;
use projector::{PROJECTIONS, with_model};
use proptest::prelude::*;

const PRODUCTS: usize = 3;
const USERS: [&str; 5] = ["choi", "jung", "kim", "lee", "park"];
const TOTAL: i64 = 60;
const TARGET: i64 = 30;

/// What is tried next: it is up to the domain whether anything comes of it.
#[derive(Clone, Debug)]
enum Try {
    Invest { user: usize, amount: i64 },
    Settle { which: usize },
    Fail { which: usize },
    Expire { which: usize },
    Withdraw { which: usize },
    Refund { which: usize },
    Close,
    Cancel,
    MissTarget,
}

/// After how many tries what came of them is appended, and to whom it is delivered.
#[derive(Clone, Debug)]
struct Cut {
    tries: Vec<(usize, Try)>,
    delivered: bool,
}

fn attempt() -> impl Strategy<Value = (usize, Try)> {
    let which = || 0..8usize;
    let attempt = prop_oneof![
        12 => (0..USERS.len(), 1..20i64).prop_map(|(user, amount)| Try::Invest { user, amount }),
        5 => which().prop_map(|which| Try::Settle { which }),
        4 => which().prop_map(|which| Try::Fail { which }),
        1 => which().prop_map(|which| Try::Expire { which }),
        3 => which().prop_map(|which| Try::Withdraw { which }),
        4 => which().prop_map(|which| Try::Refund { which }),
        1 => Just(Try::Close),
        1 => Just(Try::Cancel),
        1 => Just(Try::MissTarget),
    ];
    (0..PRODUCTS, attempt)
}

fn cut() -> impl Strategy<Value = Cut> {
    (prop::collection::vec(attempt(), 1..40), any::<bool>())
        .prop_map(|(tries, delivered)| Cut { tries, delivered })
}

/// The products as the domain decides on them, the next invest's number, and the invests of each product that were settled or
/// withdrawn.
#[derive(Default)]
struct Decider {
    products: [Product; PRODUCTS],
    invests: u128,
    kept: [Vec<Kept>; PRODUCTS],
}

#[derive(Clone)]
struct Kept {
    invest_id: InvestId,
    user_id: UserId,
    amount: Amount,
    was_settled: bool,
}

impl Decider {
    fn decide(&mut self, at: usize, attempt: &Try) -> Vec<Happened> {
        let command = self.command(at, attempt);
        let (sink, product_id) = (EventSink::default(), product(at as i64 + 1));
        let decided = block_on(self.products[at].handle(command, &(), &sink));
        let events: Vec<ProductEvent> = block_on(sink.collect());
        assert_eq!(decided.is_ok(), !events.is_empty());
        self.kept[at].extend(events.iter().filter_map(kept));
        events
            .into_iter()
            .map(|event| Happened {
                product: product_id,
                event,
            })
            .collect()
    }

    fn command(&mut self, at: usize, attempt: &Try) -> ProductCommand {
        match attempt {
            Try::Invest { user, amount } => {
                self.invests += 1;
                ProductCommand::InvestRequested {
                    invest_id: invest(self.invests),
                    user_id: USERS[*user].to_owned().try_into().unwrap(),
                    amount: (*amount).try_into().unwrap(),
                    at: second(0),
                    expires_at: second(10),
                }
            }
            Try::Settle { which } => ProductCommand::SettleInvest {
                invest_id: self.open_invest(at, *which),
            },
            Try::Fail { which } => {
                let reason = FailReason::new("DECLINED", "no funds").unwrap();
                ProductCommand::FailInvest {
                    invest_id: self.open_invest(at, *which),
                    reason,
                }
            }
            Try::Expire { which } => ProductCommand::ExpireInvest {
                invest_id: self.open_invest(at, *which),
                at: second(10),
            },
            Try::Withdraw { which } => {
                let Kept {
                    invest_id,
                    user_id,
                    amount,
                    was_settled,
                } = self.kept_or_open(at, *which);
                let settled = was_settled.then_some(amount);
                ProductCommand::WithdrawInvest {
                    invest_id,
                    user_id,
                    settled,
                    at: second(0),
                }
            }
            Try::Refund { which } => {
                let Kept {
                    invest_id,
                    user_id,
                    amount,
                    ..
                } = self.kept(at, *which);
                ProductCommand::RefundInvest {
                    invest_id,
                    user_id,
                    amount,
                }
            }
            Try::Close => ProductCommand::CloseProduct,
            Try::Cancel => ProductCommand::CancelProduct {
                reason: "a reason".to_owned().try_into().unwrap(),
            },
            Try::MissTarget => ProductCommand::FailProduct { at: second(3_600) },
        }
    }

    /// An open one for an even number, else one that was settled or withdrawn.
    fn kept_or_open(&self, at: usize, which: usize) -> Kept {
        let invest_id = self.open_invest(at, which / 2);
        match self.products[at]
            .open_invests()
            .find(|(id, _)| **id == invest_id)
        {
            Some((_, open)) if which.is_multiple_of(2) => Kept {
                invest_id,
                user_id: open.user_id.clone(),
                amount: open.amount,
                was_settled: false,
            },
            _ => self.kept(at, which / 2),
        }
    }

    /// One that was settled or withdrawn, or one that never was.
    fn kept(&self, at: usize, which: usize) -> Kept {
        let never = || Kept {
            invest_id: invest(u128::MAX),
            user_id: USERS[0].to_owned().try_into().unwrap(),
            // More than was ever settled: who asks for a refund must know the invest.
            amount: (TOTAL + 1).try_into().unwrap(),
            was_settled: false,
        };
        self.kept[at]
            .iter()
            .rev()
            .nth(which)
            .cloned()
            .unwrap_or_else(never)
    }

    /// One of the open ones, or one that never was.
    fn open_invest(&self, at: usize, which: usize) -> InvestId {
        let mut open: Vec<_> = self.products[at]
            .open_invests()
            .map(|(id, _)| *id)
            .collect();
        open.sort_unstable();
        open.get(which).copied().unwrap_or(invest(u128::MAX))
    }
}

fn kept(event: &ProductEvent) -> Option<Kept> {
    let kept = |invest_id: &InvestId, user_id: &UserId, amount: &Amount, was_settled| Kept {
        invest_id: *invest_id,
        user_id: user_id.clone(),
        amount: *amount,
        was_settled,
    };
    match event {
        ProductEvent::InvestSettled {
            invest_id,
            user_id,
            amount,
        } => Some(kept(invest_id, user_id, amount, true)),
        ProductEvent::InvestWithdrawn {
            invest_id,
            user_id,
            amount,
            settled: false,
        } => Some(kept(invest_id, user_id, amount, false)),
        ProductEvent::InvestWithdrawn { settled: true, .. }
        | ProductEvent::InvestReserved { .. }
        | ProductEvent::InvestFailed { .. }
        | ProductEvent::InvestRefunded { .. }
        | ProductEvent::ProductOpened { .. }
        | ProductEvent::ProductClosed {}
        | ProductEvent::ProductCancelled { .. }
        | ProductEvent::ProductFailed { .. } => None,
    }
}

async fn deliver<P: Projection + Clone>(app: &TestApp, projection: P, events: &[RecordedEvent]) {
    for (partition, consumer) in (0..).zip(app.consumers(&projection)) {
        let here: Vec<_> = events
            .iter()
            .filter(|event| event.partition == partition)
            .cloned()
            .collect();
        if !here.is_empty() {
            consumer.step(&here).await.unwrap();
        }
    }
}

async fn apply(app: &mut TestApp, happened: &[Happened], delivered: bool) -> Vec<RecordedEvent> {
    let events = app.append_at_once(happened).await;
    if delivered {
        for projection in PROJECTIONS {
            with_model!(projection.name, Model => deliver(app, Model::default(), &events).await, _ => unreachable!());
        }
    }
    events
}

async fn rows_are_those_of_a_plain_fold(cuts: Vec<Cut>) {
    let (mut app, mut decider) = (TestApp::fresh().await, Decider::default());
    let terms = Terms {
        target_amount: Some(TARGET.try_into().unwrap()),
        withdrawable_until: Some(second(100)),
        ..Terms::default()
    };
    let opened = (1..=PRODUCTS as i64)
        .map(|id| opened_with(id, "a title", TOTAL, terms))
        .collect::<Vec<_>>();
    for (product, opened) in decider.products.iter_mut().zip(&opened) {
        product.apply(opened.event.clone());
    }
    let mut events = apply(&mut app, &opened, false).await;
    for Cut { tries, delivered } in &cuts {
        let happened: Vec<_> = tries
            .iter()
            .flat_map(|(at, attempt)| decider.decide(*at, attempt))
            .collect();
        events.extend(apply(&mut app, &happened, *delivered).await);
    }
    for projection in PROJECTIONS {
        with_model!(projection.name, Model => app.drain(&Model::default()).await, _ => unreachable!());
    }

    let fold = Fold::of(&events, |id| app.log.partition_of(id));
    for (query, rows) in fold.expected() {
        assert_eq!(app.says(query).await, rows, "{query}");
    }
    assert_eq!(
        app.says(event_index::ROWS).await,
        app.says(event_index::FOLDED).await
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn whatever_happens_the_rows_are_those_of_a_plain_fold(cuts in prop::collection::vec(cut(), 1..10)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(rows_are_those_of_a_plain_fold(cuts));
    }
}
