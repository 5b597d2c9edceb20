//! `moa audit invest`: the story of an invest, on a terminal, whatever became of it.

use serde_json::Value;
use std::time::Duration;
use testbed::payments::{Call, Payments, Trouble};
use uuid::Uuid;

use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, consumers, within};

async fn app(payments: &Payments, reservation_seconds: &str) -> TestApp {
    let settings = [
        "--payment-provider",
        "http",
        "--payment-url",
        &payments.url(),
        "--reservation-seconds",
    ];
    TestApp::of(
        1,
        Start::serve().with(&settings).with(&[reservation_seconds]),
    )
    .await
}

/// Invests 10 of a fresh product, and says as what.
async fn invest(app: &TestApp, user: &str) -> String {
    let product = app.open_product("of stories", 100).await;
    app.invest(ask(user, product, 10))
        .await
        .invest_id()
        .unwrap()
        .to_string()
}

async fn data(app: &TestApp, invest: &str) -> Value {
    let ended = app.operator(&["audit", "invest", invest, "--json"]).await;
    serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{}{}", ended.out, ended.err))
}

/// The story once this became of it by the answer to this last call, and every consumer has applied all of it.
async fn once(app: &TestApp, invest: &str, state: &str, call: &str) -> Value {
    let told = async || {
        let story = data(app, invest).await;
        let steps = story["steps"].as_array().unwrap();
        let all_applied = steps.iter().all(|step| step["what"] != "NOT_APPLIED");
        // Calls are written down in batches, a moment later.
        (story["state"] == state
            && all_applied
            && calls(&story).last().is_some_and(|last| last == call))
        .then_some(story)
    };
    within(TEST_TIMEOUT, state, told).await
}

/// The timeline as it is printed, without what is never the same: times, ids, and who of the consumers was first.
async fn timeline(app: &TestApp, invest: &str) -> String {
    let ended = app.operator(&["audit", "invest", invest]).await;
    let mut lines: Vec<String> = ended.out.lines().map(normalised).collect();
    let applied = |line: &String| line.contains("applied by consumer");
    for run in lines.chunk_by_mut(|one, other| applied(one) && applied(other)) {
        run.sort_unstable();
    }
    lines.join("\n")
}

fn normalised(line: &str) -> String {
    let words: Vec<_> = line.split_inclusive([' ', ',', '(', ')']).collect();
    let one = |(at, word): (usize, &&str)| {
        let bare = word.trim_end_matches([' ', ',', '(', ')']);
        let after_took = at > 0 && words[at - 1] == "took ";
        let what = match bare {
            _ if Uuid::try_parse(bare).is_ok() => "ID",
            _ if bare.len() >= 19 && bare.as_bytes()[10] == b'T' && bare.starts_with("20") => {
                "TIME"
            }
            // Two clocks are compared: it may even be before.
            _ if bare.starts_with(['+', '-']) && bare.ends_with('s') => "+PASSED",
            _ if after_took => "N",
            _ => bare,
        };
        word.replacen(bare, what, 1)
    };
    let line = words.iter().enumerate().map(one).collect::<String>();
    // A whole second has no fraction, ten seconds have a digit more: columns that are filled up.
    match line.split_once("+PASSED") {
        Some((time, rest)) => format!("{}  +PASSED{rest}", time.trim_end()),
        None => line,
    }
}

fn steps<'a>(story: &'a Value, what: &str) -> Vec<&'a Value> {
    story["steps"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|step| step["what"] == what)
        .collect()
}

fn calls(story: &Value) -> Vec<String> {
    let call = |step: &&Value| {
        format!("{} {}", step["details"]["call"], step["details"]["answer"]).replace('"', "")
    };
    steps(story, "PAYMENT_CALL").iter().map(call).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_nobody_answers_is_cancelled_and_that_is_the_story() {
    let payments = Payments::open().await;
    let app = app(&payments, "600").await;
    payments.troubles(Call::Pay, Trouble::Silent);
    let invest = invest(&app, "ann").await;
    let story = once(&app, &invest, "FAILED", "CANCEL CANCELLED").await;
    assert_eq!(calls(&story), ["PAY UNANSWERED", "CANCEL CANCELLED"]);
    assert_eq!(timeline(&app, &invest).await, cancelled());
}

/// A line for each consumer that has applied an event, at this depth.
fn applied(depth: usize) -> String {
    let mut names = consumers();
    names.sort_unstable();
    let line = |name| {
        format!(
            "TIME  +PASSED  {:depth$}applied by consumer {name}, not before TIME\n",
            "",
            depth = 2 * depth
        )
    };
    names.into_iter().map(line).collect()
}

fn cancelled() -> String {
    CANCELLED
        .replace("APPLIED 2\n", &applied(2))
        .replace("APPLIED 3\n", &applied(3))
}

const CANCELLED: &str = "\
Invest ID of user ann: 10 won in product 1, FAILED
correlation ID

TIME  +PASSED  requested by user ann: 10 won (time of the invest id)
TIME  +PASSED    reserved until TIME (event ID, sequence 2, partition 1 position 2)
APPLIED 2
TIME  +PASSED      settlement asks the payment provider to PAY: UNANSWERED: it did not answer in time (took N ms, attempt 0)
TIME  +PASSED      settlement asks the payment provider to CANCEL: CANCELLED (took N ms, attempt 0)
TIME  +PASSED      failed by settlement: PAYMENT_TIMEOUT : the payment was not made in time and was cancelled (event ID, sequence 3, partition 1 position 3)
APPLIED 3

Note: the counters in Redis are not listed: they keep no time.";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fate_has_its_story() {
    let payments = Payments::open().await;
    let app = app(&payments, "2").await;
    payments.refuses("poor", "no money");
    payments.pends("slow", u32::MAX);

    let paid = once(&app, &invest(&app, "rich").await, "SETTLED", "PAY PAID").await;
    assert_eq!(calls(&paid), ["PAY PAID"]);
    let [fate] = steps(&paid, "SETTLED")[..] else {
        panic!("{paid}")
    };
    let [reserved] = steps(&paid, "RESERVED")[..] else {
        panic!("{paid}")
    };
    assert_eq!(fate["causationId"], reserved["details"]["eventId"]);
    for applied in steps(&paid, "APPLIED") {
        let (after, before) = (
            &applied["details"]["appliedAfter"],
            &applied["details"]["appliedBefore"],
        );
        assert!(
            after.as_str() <= before.as_str() && after.is_string(),
            "{applied}"
        );
    }

    let refused = once(&app, &invest(&app, "poor").await, "FAILED", "PAY REFUSED").await;
    assert_eq!(calls(&refused), ["PAY REFUSED"]);
    let code = |story: &Value| steps(story, "FAILED")[0]["details"]["code"].clone();
    assert_eq!(code(&refused), "PAYMENT_DECLINED");

    let slow = invest(&app, "slow").await;
    let open = data(&app, &slow).await;
    assert_eq!(
        (&open["state"], steps(&open, "FAILED").len()),
        (&"RESERVED".into(), 0)
    );
    let expired = once(&app, &slow, "FAILED", "CANCEL CANCELLED").await;
    assert_eq!(code(&expired), "EXPIRED");
    assert_eq!(calls(&expired)[..2], ["PAY PENDING", "LOOK PENDING"]);

    payments.closes().await;
    let away = invest(&app, "away").await;
    let open = within(TEST_TIMEOUT, "a call", async || {
        let story = data(&app, &away).await;
        (!calls(&story).is_empty()).then_some(story)
    });
    assert_eq!(calls(&open.await)[0], "PAY NOT_REACHED");
}

/// What is not known is said, and the command fails.
#[tokio::test]
async fn an_unknown_invest_has_none() {
    let app = TestApp::open().await;
    app.open_product("nobody invests", 1).await;
    for (id, said) in [
        (Uuid::now_v7().to_string(), "there is none with this id"),
        ("x".into(), "an invest id is a UUID"),
    ] {
        let ended = app.operator(&["audit", "invest", &id]).await;
        assert!(
            !ended.status.success() && ended.err.contains(said),
            "{}",
            ended.err
        );
    }
}

/// The commands of the past, on a terminal and as data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_things_stood_can_be_asked_on_a_terminal() {
    let app = TestApp::open().await;
    let product = app.open_product("of the past", 100).await;
    assert!(app.invest(ask("ann", product, 10)).await.is_accepted());
    app.settled().await;
    // A writer knows the database's clock only nearly.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let at: String = sqlx::query_scalar(
        "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    )
    .fetch_one(&app.pool)
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(app.invest(ask("ann", product, 5)).await.is_accepted());
    app.settled().await;
    let asked: [(&[&str], &str, &str); 5] = [
        (&["product", "1"], "settledAmount", "As it stood at"),
        (&["products"], "totalCount", "1 of 1 open products"),
        (
            &["holdings", "--user", "ann"],
            "totalCount",
            "1 of 1 holdings",
        ),
        (
            &["invest-log", "--user", "ann", "--product", "1"],
            "totalCount",
            "1 of 1 invests",
        ),
        (&["summary", "--user", "ann"], "summary", "SETTLED"),
    ];
    for (args, field, said) in asked {
        let args = [&["audit"], args, &["--at", &at]].concat();
        let ended = app.operator(&args).await;
        assert!(
            ended.out.contains(said),
            "{args:?}: {}{}",
            ended.out,
            ended.err
        );
        let ended = app.operator(&[&args, &["--json"][..]].concat()).await;
        let data: Value = serde_json::from_str(&ended.out).unwrap();
        let shown = if field == "summary" {
            &data["summary"]["settledAmount"]
        } else {
            &data[field]
        };
        assert_eq!(*shown, if field == "totalCount" { 1 } else { 10 }, "{data}");
    }
    let now = app.operator(&["audit", "product", "1", "--json"]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&now.out).unwrap()["settledAmount"],
        15
    );
}
