//! The database's answer to a commit is lost. The caller is told the truth if it can be found out in 2 s, else that it is
//! not known; never "refused".

use crate::app::{AppSettings, Decision, TestApp, invest_command};
use crate::write_side::{WriteSide, soon, until};
use command_api::processor::{CommandEnvelope, CommandError};
use domain::ProductId;
use futures::future::join_all;
use rstest::rstest;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};
use testbed::http::Answer;
use testbed::{Fault, FaultKind, Proxy};

/// An instance behind a proxy, at work: its statements are known to the database, so each is one request from now on.
async fn behind_a_proxy() -> (WriteSide, Proxy, TestApp, ProductId) {
    let test = WriteSide::with_one_partition().await;
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let app = test.app_at(options).await;
    let product = app.opens(100).await;
    app.invest(product, 10)
        .by("earlier")
        .key("earlier")
        .sent()
        .await
        .is_ok();
    app.invest(product, 10).by("earlier").sent().await.is_ok();
    app.invest(product, 101)
        .by("earlier")
        .key("refused")
        .sent()
        .await
        .is_sold_out(80);
    (test, proxy, app, product)
}

/// The request that carries this word into the log, as its correlation id.
const FATAL: &str = "the-fatal-invest";

fn the_insert(kind: FaultKind) -> Fault {
    Fault::at(FATAL, kind)
}

/// Of an invest with a key: the insert is one request, its commit the next.
fn the_commit(kind: FaultKind) -> Fault {
    Fault::at(FATAL, kind).later(1)
}

async fn fatal_reservations(test: &WriteSide) -> usize {
    test.reservations()
        .await
        .iter()
        .filter(|reserved| reserved.metadata.correlation_id == FATAL)
        .count()
}

async fn is_in_the_log_once(test: &WriteSide, answer: &Answer) {
    let reserved = test.reservations().await;
    let named: Vec<_> = reserved
        .iter()
        .filter(|reserved| reserved.metadata.correlation_id == FATAL)
        .collect();
    assert_eq!(named.len(), 1);
    let payload = serde_json::to_value(&named[0].event).unwrap();
    assert_eq!(
        payload["InvestReserved"]["investId"].as_str(),
        answer.header("x-invest-id")
    );
    test.everything_adds_up().await;
}

/// The database can be reached again: the processor goes on by itself.
async fn recovers(app: &TestApp, product: ProductId) {
    until("the processor accepts again", async || {
        let answer = app.invest(product, 1).by("later").sent().await;
        assert!(
            answer.status == 200 || answer.header("retry-after").is_some(),
            "{answer:?}"
        );
        answer.status == 200
    })
    .await;
}

#[rstest]
#[case::the_answer(FaultKind::LosesAnswer)]
#[case::the_request(FaultKind::LosesRequest)]
#[tokio::test]
async fn when_it_can_be_found_out_the_caller_gets_the_truth(#[case] lost: FaultKind) {
    let (test, proxy, app, product) = behind_a_proxy().await;
    proxy.stage(the_insert(lost));
    let answer = app.invest(product, 80).correlation_id(FATAL).sent().await;
    proxy.until_struck().await;
    answer.is_ok().is_fresh();
    is_in_the_log_once(&test, &answer).await;
    app.invest(product, 1).sent().await.is_sold_out(0);
}

#[rstest]
#[case::the_commits_answer(the_commit(FaultKind::LosesAnswer))]
#[case::the_commit(the_commit(FaultKind::LosesRequest))]
#[case::the_inserts_answer(the_insert(FaultKind::LosesAnswer))]
#[tokio::test]
async fn also_with_a_key_and_it_is_no_replay(#[case] fault: Fault) {
    let (test, proxy, app, product) = behind_a_proxy().await;
    proxy.stage(fault);
    let invest = app.invest(product, 80).correlation_id(FATAL).key("k");
    let answer = invest.clone().sent().await;
    proxy.until_struck().await;
    answer.is_ok().is_fresh();
    is_in_the_log_once(&test, &answer).await;
    let again = invest.sent().await;
    again.is_ok().is_replayed();
    assert_eq!(again.invest_id(), answer.invest_id());
    is_in_the_log_once(&test, &answer).await;
}

/// A batch of refusals commits as well when it stores keys; its first event, there being none, cannot be looked for.
#[tokio::test]
async fn also_when_it_is_a_refusal_with_a_key() {
    let (_test, proxy, app, product) = behind_a_proxy().await;
    let invest = app.invest(product, 81).by("the-fatal-user").key("k");
    proxy.stage(Fault::at("the-fatal-user", FaultKind::LosesAnswer).later(2));
    let answer = invest.clone().sent().await;
    proxy.until_struck().await;
    answer.is_sold_out(80).is_fresh();
    invest.sent().await.is_sold_out(80).is_replayed();
}

/// Is at its processor when this returns.
fn submitted(
    app: &TestApp,
    envelope: CommandEnvelope,
) -> impl Future<Output = Result<Decision, CommandError>> + use<> {
    let processors = app.processors.clone();
    let mut outcome = Box::pin(async move {
        processors
            .submit(envelope)
            .await
            .map(|outcome| outcome.decision)
    });
    assert!(
        outcome
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    outcome
}

/// 1. The largest batch there is waits for the append lock, then is carried out; its answer is lost.
/// 2. The processor reads what it missed, which is too much to take the append lock with it.
/// 3. When it takes the append lock, the connection is lost once more.
/// 4. It takes the append lock, and has not forgotten what it read at 2.
#[tokio::test]
async fn a_large_batch_is_found_out_though_the_way_there_is_broken() {
    const BATCH: usize = 1_000;
    let (test, proxy, app, _) = behind_a_proxy().await;
    let product = app.opens(1_000_000).await;
    let holder = test.hold_append_lock(test.log.partition_of(product)).await;
    let first = tokio::spawn(submitted(&app, invest_command(product, "first", 1)));
    test.until_waiting_for_append_lock(1).await;
    let batch: Vec<_> = (0..BATCH)
        .map(|_| tokio::spawn(submitted(&app, invest_command(product, FATAL, 1))))
        .collect();
    proxy.stage(the_insert(FaultKind::LosesAnswer));
    proxy.stage(Fault::at("begin", FaultKind::LosesRequest));
    holder.release().await;
    assert_eq!(soon(first).await.unwrap(), Ok(Ok(())));
    for outcome in soon(join_all(batch)).await {
        assert_eq!(outcome.unwrap(), Ok(Ok(())));
    }
    proxy.until_all_struck().await;
    assert_eq!(test.remaining(product).await, 1_000_000 - 1 - BATCH as i64);
    test.everything_adds_up().await;
}

/// 1. A commit is carried out; its answer is lost and the database cannot be reached any more.
/// 2. After 2 s the caller is told that it is not known, and which invest to ask for.
/// 3. The log tells: it is there.
/// 4. The database can be reached again: the processor goes on, and what it did not know it has taken over.
#[tokio::test]
async fn what_cannot_be_found_out_is_not_known_and_the_log_tells() {
    let (test, proxy, app, product) = behind_a_proxy().await;
    proxy.stage(the_insert(FaultKind::LosesAnswer).and_cuts());
    let asked = Instant::now();
    let answer = app.invest(product, 70).correlation_id(FATAL).sent().await;
    answer
        .is_outcome_unknown()
        .is_fresh()
        .is_silent_about("x-consistency-token");
    assert!(
        (2_000..4_000).contains(&asked.elapsed().as_millis()),
        "{:?}",
        asked.elapsed()
    );
    is_in_the_log_once(&test, &answer).await;

    proxy.mend();
    recovers(&app, product).await;
    is_in_the_log_once(&test, &answer).await;
    let remaining = test.remaining(product).await;
    app.invest(product, remaining + 1)
        .sent()
        .await
        .is_sold_out(remaining);
}

/// As above, with a key. The request is lost: the log tells that it never happened, and the key is free. Or it was carried
/// out: the key gives the answer that was lost.
#[rstest]
#[case::that_never_arrived(FaultKind::LosesRequest, false)]
#[case::that_was_carried_out(FaultKind::LosesAnswer, true)]
#[tokio::test]
async fn the_key_of_a_commit_whose_outcome_is_unknown_tells(
    #[case] lost: FaultKind,
    #[case] is_there: bool,
) {
    let (test, proxy, app, product) = behind_a_proxy().await;
    proxy.stage(the_commit(lost).and_cuts());
    let invest = app.invest(product, 70).correlation_id(FATAL).key("k");
    let answer = invest.clone().sent().await;
    answer.is_outcome_unknown();
    assert_eq!(fatal_reservations(&test).await, usize::from(is_there));

    proxy.mend();
    recovers(&app, product).await;
    let again = invest.sent().await;
    let is_replayed = again.is_ok().header("idempotency-replayed").is_some();
    assert_eq!(
        (is_replayed, again.invest_id() == answer.invest_id()),
        (is_there, is_there)
    );
    is_in_the_log_once(&test, &again).await;
}

/// 1. The database cannot be reached, and nothing was under way: that is overload, nothing happened.
/// 2. It can be reached again: the processor goes on.
#[tokio::test]
async fn a_database_that_cannot_be_reached_is_overload_once_that_is_known() {
    let (test, proxy, app, product) = behind_a_proxy().await;
    proxy.cut();
    // The first to find the connection gone cannot know what became of its own request.
    assert_eq!(app.invest(product, 1).sent().await.status, 503);
    app.invest(product, 70).sent().await.is_overloaded();
    proxy.mend();
    recovers(&app, product).await;
    assert_eq!(fatal_reservations(&test).await, 0);
    app.invest(product, 70).sent().await.is_ok();
    test.everything_adds_up().await;
}

/// 1. An invest's append is under way, held by the proxy. It has waited for some time.
/// 2. The connection is cut. For as long as the invest may wait, the database cannot be reached.
/// 3. It can be reached again. The processor takes the append lock: nothing has happened, and the invest is too old to be tried again.
/// 4. The caller cannot be told that it was not accepted, for
/// 5. now the append arrives after all, and nobody has the append lock.
#[tokio::test]
async fn what_may_still_arrive_is_never_called_refused() {
    let (test, proxy, app, product) = behind_a_proxy().await;
    proxy.stage(the_insert(FaultKind::HoldsRequest));
    let asked = Instant::now();
    let passed = async |millis| {
        until("time passes", async || {
            asked.elapsed() >= Duration::from_millis(millis)
        })
        .await
    };
    let meanwhile = async {
        proxy.until_struck().await;
        passed(800).await;
        proxy.cut();
        passed(2_300).await;
        proxy.mend();
    };
    let (answer, ()) = tokio::join!(
        app.invest(product, 70).correlation_id(FATAL).sent(),
        meanwhile
    );
    answer.is_outcome_unknown();
    assert_eq!(fatal_reservations(&test).await, 0);

    proxy.let_through();
    until("the append arrives", async || {
        fatal_reservations(&test).await == 1
    })
    .await;
    is_in_the_log_once(&test, &answer).await;
    recovers(&app, product).await;
    test.everything_adds_up().await;
}

/// The request's own time limit comes first: the invest is on its way, and the caller is told which one to ask for.
#[tokio::test]
async fn when_the_request_is_given_up_the_caller_is_told_which_invest_it_was() {
    let test = WriteSide::with_one_partition().await;
    let (proxy, options) = Proxy::before_database(test.options()).await;
    let opens = AppSettings {
        time_limit: |_| Duration::from_millis(300),
        ..AppSettings::default()
    };
    let app = TestApp::start(options, 1, opens).await;
    let product = app.opens(100).await;
    proxy.stage(the_insert(FaultKind::HoldsAnswer));
    let answer = app.invest(product, 80).correlation_id(FATAL).sent().await;
    assert!(
        answer.status == 503 && answer.body.contains("OUTCOME_UNKNOWN"),
        "{answer:?}"
    );
    proxy.until_struck().await;
    proxy.let_through();
    until("it is in the log", async || {
        fatal_reservations(&test).await > 0
    })
    .await;
    is_in_the_log_once(&test, &answer).await;
}
