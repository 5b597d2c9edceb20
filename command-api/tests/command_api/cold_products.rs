//! Products that are not cached: their commands wait while they are loaded, and the processor goes on with the others.

use crate::app::{Decision, TestApp, invest_command, product, window_of_hours};
use crate::write_side::{WriteSide, soon, until};
use command_api::processor::{CommandError, CommandOutcome};
use domain::{ProductId, Refusal};
use futures::future::join_all;
use sqlx::ConnectOptions as _;
use sqlx::PgConnection;
use testbed::{Fault, FaultKind, Proxy};
use tokio::task::JoinHandle;

/// Its id is in the request that reads its stream, and in no other.
const COLD: &str = "987654321";

fn the_cold_one() -> ProductId {
    product(COLD.parse().unwrap())
}

/// One instance has opened two products of one partition and has them at hand. To another, behind a proxy, one of them is
/// cold and the other is not.
struct Neighbours {
    test: WriteSide,
    proxy: Proxy,
    one: TestApp,
    other: TestApp,
    hot: ProductId,
}

impl Neighbours {
    async fn new() -> Self {
        let test = WriteSide::with_one_partition().await;
        let one = test.app().await;
        let hot = one.opens(1_000_000).await;
        one.opens_as(the_cold_one(), 10, window_of_hours(-1, 1))
            .await;
        let (proxy, options) = Proxy::before_database(test.options()).await;
        let other = test.app_at(options).await;
        other.invest(hot, 1).sent().await.is_ok();
        Self {
            test,
            proxy,
            one,
            other,
            hot,
        }
    }

    /// Its load at the other instance has read the stream, and goes no further until it is let through.
    async fn the_load_is_held_up(
        &self,
        amount: i64,
    ) -> JoinHandle<Result<CommandOutcome, CommandError>> {
        self.proxy.stage(Fault::at(COLD, FaultKind::HoldsAnswer));
        let waits = self.commands(amount);
        self.proxy.until_struck().await;
        waits
    }

    /// Commands the cold product from the other instance.
    fn commands(&self, amount: i64) -> JoinHandle<Result<CommandOutcome, CommandError>> {
        let processors = self.other.processors.clone();
        tokio::spawn(async move {
            processors
                .submit(invest_command(the_cold_one(), "user1", amount))
                .await
        })
    }

    async fn the_other_goes_on_with_the_hot_one(&self) {
        self.other.invest(self.hot, 1).sent().await.is_ok();
    }
}

async fn answer(envelope: JoinHandle<Result<CommandOutcome, CommandError>>) -> Decision {
    soon(envelope).await.unwrap().unwrap().decision
}

#[tokio::test]
async fn the_processor_goes_on_while_a_product_is_loaded() {
    let neighbours = Neighbours::new().await;
    let waits = neighbours.the_load_is_held_up(10).await;
    neighbours.the_other_goes_on_with_the_hot_one().await;
    assert!(!waits.is_finished());
    neighbours.proxy.let_through();
    assert_eq!(answer(waits).await, Ok(()));
}

/// 1. The other instance loads the product: it has read the stream, and has not got the answer yet.
/// 2. The first instance takes 9 of 10.
/// 3. The other one loses a race for the hot product, takes the append lock, and learns of it.
/// 4. The load ends, with what was read at 1: the commands that waited are decided on what was learned at 3.
#[tokio::test]
async fn what_others_append_during_a_load_is_not_missed() {
    let neighbours = Neighbours::new().await;
    let waits = neighbours.the_load_is_held_up(2).await;
    neighbours
        .one
        .invest(the_cold_one(), 9)
        .sent()
        .await
        .is_ok();
    neighbours.the_other_goes_on_with_the_hot_one().await;
    let fits = neighbours.commands(1);
    neighbours.proxy.let_through();
    assert_eq!(answer(waits).await, Err(Refusal::SoldOut { remaining: 1 }));
    assert_eq!(answer(fits).await, Ok(()));
    neighbours.test.everything_adds_up().await;
}

/// As above without 3: the processor finds out when it wants to write.
#[tokio::test]
async fn a_load_that_is_stale_is_found_out() {
    let neighbours = Neighbours::new().await;
    let waits = neighbours.the_load_is_held_up(2).await;
    neighbours
        .one
        .invest(the_cold_one(), 9)
        .sent()
        .await
        .is_ok();
    neighbours.proxy.let_through();
    assert_eq!(answer(waits).await, Err(Refusal::SoldOut { remaining: 1 }));
    assert_eq!(answer(neighbours.commands(1)).await, Ok(()));
    neighbours.test.everything_adds_up().await;
}

/// 1. The first instance knows nothing of the product, nor does the log: its load has read that, and not got the answer.
/// 2. Another instance opens the product.
/// 3. A second invest comes: for it what was read at 1 is too old.
/// 4. The load ends.
#[tokio::test]
async fn who_comes_after_a_product_was_opened_is_not_told_that_it_does_not_exist() {
    let test = WriteSide::with_one_partition().await;
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let (app, opener) = (test.app_at(options).await, test.app().await);
    let envelope = |product| app.decides(invest_command(product, "user1", 1));
    proxy.stage(Fault::at(COLD, FaultKind::HoldsAnswer));
    let (early, late) = tokio::join!(envelope(the_cold_one()), async {
        proxy.until_struck().await;
        opener
            .opens_as(the_cold_one(), 10, window_of_hours(-1, 1))
            .await;
        let (late, ()) = tokio::join!(envelope(the_cold_one()), async {
            // When a command that was sent after the second invest is answered, the processor has seen that one as well.
            let unknown = envelope(product(1_000)).await.unwrap();
            assert_eq!(unknown.decision, Err(Refusal::NotExist));
            proxy.let_through();
        });
        late
    });
    assert_eq!(early.unwrap().decision, Err(Refusal::NotExist));
    assert_eq!(late.unwrap().decision, Ok(()));
}

/// 1. The product's load is held up: its commands wait, as many as may.
/// 2. One more is told at once; commands for products at hand go on.
/// 3. The load ends: each that waited is decided.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounded_number_of_commands_awaits_a_load() {
    const MAX_COMMANDS_AWAITING_LOAD: i64 = 2_048;
    let neighbours = Neighbours::new().await;
    let first = neighbours.the_load_is_held_up(1).await;
    let crowd: Vec<_> = (1..MAX_COMMANDS_AWAITING_LOAD)
        .map(|_| neighbours.commands(1))
        .collect();
    until("one more is shed", async || {
        let mut shed = neighbours.commands(1);
        tokio::select! {
            outcome = &mut shed => outcome.unwrap() == Err(CommandError::Overloaded),
            // Not all of the crowd has come yet; this one waits with it.
            () = neighbours.the_other_goes_on_with_the_hot_one() => false,
        }
    })
    .await;
    neighbours.proxy.let_through();
    let outcomes = soon(join_all([first].into_iter().chain(crowd))).await;
    let told = |wanted: fn(&Result<CommandOutcome, CommandError>) -> bool| {
        outcomes
            .iter()
            .filter(|outcome| wanted(outcome.as_ref().unwrap()))
            .count()
    };
    let decided = told(|outcome| outcome.is_ok());
    let shed = told(|outcome| *outcome == Err(CommandError::Overloaded));
    assert_eq!((decided + shed) as i64, MAX_COMMANDS_AWAITING_LOAD);
    assert!(
        told(|outcome| outcome
            .as_ref()
            .is_ok_and(|outcome| outcome.decision == Ok(())))
            <= 10
    );
    neighbours
        .one
        .invest(the_cold_one(), 11)
        .sent()
        .await
        .is_sold_out(neighbours.test.remaining(the_cold_one()).await);
    neighbours.test.everything_adds_up().await;
}

/// Until this is let go no load gets far, and whatever needs none goes on.
async fn hold_up_loads(test: &WriteSide) -> PgConnection {
    let mut somebody = test.options().connect().await.unwrap();
    sqlx::raw_sql("begin; lock table product_snapshots in access exclusive mode")
        .execute(&mut somebody)
        .await
        .unwrap();
    somebody
}

#[tokio::test]
async fn an_unknown_product_is_looked_up_every_time_and_takes_no_room() {
    let (test, app) = WriteSide::with_app(1).await;
    let hot = app.opens(100).await;
    app.invest(product(1_000), 1).sent().await.is_refused(
        200,
        "NOT_EXIST_PRODUCT",
        "Not exist product : ",
    );

    let mut somebody = hold_up_loads(&test).await;
    let again = tokio::spawn({
        let (processors, envelope) = (
            app.processors.clone(),
            invest_command(product(1_000), "user1", 1),
        );
        async move { processors.submit(envelope).await }
    });
    test.until_there_is("pg_locks where relation = 'product_snapshots'::regclass and not granted")
        .await;
    app.invest(hot, 1).sent().await.is_ok();
    assert!(!again.is_finished());
    sqlx::raw_sql("rollback")
        .execute(&mut somebody)
        .await
        .unwrap();
    assert_eq!(answer(again).await, Err(Refusal::NotExist));
}

/// A load that fails says nothing of the product: who waited may come back, and finds it.
#[tokio::test]
async fn a_product_that_cannot_be_loaded_now_is_overload() {
    let test = WriteSide::with_one_partition().await;
    let cold = test.app().await.opens(100).await;
    let app = test.app().await;
    let mut somebody = hold_up_loads(&test).await;
    app.invest(cold, 1).sent().await.is_overloaded();
    sqlx::raw_sql("rollback")
        .execute(&mut somebody)
        .await
        .unwrap();
    app.invest(cold, 1).sent().await.is_ok();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_cold_products_are_loaded_a_few_at_a_time() {
    let test = WriteSide::with_one_partition().await;
    let before = test.app().await;
    let mut products = Vec::new();
    for _ in 0..60 {
        products.push(before.opens(10).await);
    }
    let app = test.app().await;
    let mut somebody = hold_up_loads(&test).await;
    let invests = products.iter().map(|&product| {
        let processors = app.processors.clone();
        tokio::spawn(async move {
            processors
                .submit(invest_command(product, "user1", 10))
                .await
        })
    });
    let invests: Vec<_> = invests.collect();
    test.until_there_is("pg_locks where relation = 'product_snapshots'::regclass and not granted")
        .await;
    sqlx::raw_sql("rollback")
        .execute(&mut somebody)
        .await
        .unwrap();
    for invest in invests {
        assert_eq!(answer(invest).await, Ok(()));
    }
    test.everything_adds_up().await;
}
