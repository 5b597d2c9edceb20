//! The streams of real processes: an invest is sent to who listens, a restart loses nothing, a stop ends them.

use serde_json::Value;
use std::time::{Duration, Instant};

use crate::harness::{StreamListener, TestApp, ask};

const PRODUCTS: &str = "/api/product/stream";
const INVESTS: &str = "/api/invest/log/stream";
const TOTAL_WON: i64 = 1_000_000;
/// A process with streams alone has nothing to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

fn shows(product: i64, amount: i64) -> impl Fn(&Value) -> bool {
    move |data| data["productId"] == product && data["currentInvestingAmount"] == amount
}

fn is_in_state(state: &'static str, product: i64) -> impl Fn(&Value) -> bool {
    move |data| data["state"] == state && data["productId"] == product
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_sees_every_invest_and_its_user_what_becomes_of_it() {
    const TIMES: i64 = 20;
    let app = TestApp::open().await;
    let product = app.open_product("streamed", TOTAL_WON).await;
    let read = &app.processes[0].read;
    let mut mine = StreamListener::open(read, INVESTS, &[("X-USER-ID", "ann")]).await;
    let mut others = StreamListener::open(read, INVESTS, &[("X-USER-ID", "bob")]).await;
    let mut products = StreamListener::open(read, PRODUCTS, &[]).await;
    products.until(shows(product, 0)).await;
    for amount in 1..=TIMES {
        assert!(app.invest(ask("ann", product, 1)).await.is_accepted());
        products.until(shows(product, amount)).await;
    }

    let event = mine.until(is_in_state("SETTLED", product)).await;
    let shown = app
        .api(0)
        .get_as(
            "ann",
            &format!(
                "/api/invest/log/{}",
                event.data["investId"].as_str().unwrap()
            ),
        )
        .await;
    assert_eq!(
        (event.name.as_str(), &event.data),
        ("invest", &shown.data())
    );
    // Whatever was sent of others would have come first.
    assert!(app.invest(ask("bob", product, 1)).await.is_accepted());
    let first = others.until(|_| true).await;
    assert_eq!(
        (
            &first.data["accrueUserInvest"],
            &first.data["accrueProductInvest"]
        ),
        (&1.into(), &(TIMES + 1).into())
    );
    let event = products.until(shows(product, TIMES + 1)).await;
    // The id is a token like any other.
    let answer = app
        .api(0)
        .read_with("/api/product", &[("X-Consistency-Token", &event.id)])
        .await;
    assert_eq!(
        (answer.status, answer.header("x-consistency")),
        (200, Some("reached"))
    );
}

/// 1. Somebody listens at one process of two, and sees an invest. 2. That process is killed. 3. Invests in two products at the other.
/// 4. A third process starts; the listener comes back to it with its last id, and is sent both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_resumes_at_another_process_misses_nothing() {
    let mut app = TestApp::with_processes(2).await;
    let (one, two) = (
        app.open_product("one", TOTAL_WON).await,
        app.open_product("two", TOTAL_WON).await,
    );
    let mut products = StreamListener::open(&app.processes[0].read, PRODUCTS, &[]).await;
    assert!(app.api(1).invest(ask("ann", one, 5)).await.is_accepted());
    let mut mine =
        StreamListener::open(&app.processes[0].read, INVESTS, &[("X-USER-ID", "ann")]).await;
    let invest = mine.until(is_in_state("SETTLED", one)).await;
    let last = products.until(shows(one, 5)).await.id;
    app.processes.remove(0).killed().await;
    products.ended().await;
    assert!(app.api(0).invest(ask("ann", one, 5)).await.is_accepted());
    assert!(app.api(0).invest(ask("ann", two, 7)).await.is_accepted());
    app.add_process().await;
    for process in &app.processes {
        for (product, amount) in [(one, 10), (two, 7)] {
            let mut products =
                StreamListener::open(&process.read, PRODUCTS, &[("Last-Event-ID", &last)]).await;
            assert_eq!(products.header("x-consistency"), Some("reached"));
            products.until(shows(product, amount)).await;
        }
        let headers = [("X-USER-ID", "ann"), ("Last-Event-ID", invest.id.as_str())];
        let mut mine = StreamListener::open(&process.read, INVESTS, &headers).await;
        mine.until(is_in_state("SETTLED", two)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_do_not_hold_up_a_stop() {
    const LISTENERS: usize = 50;
    let mut app = TestApp::open().await;
    let product = app.open_product("stopped", TOTAL_WON).await;
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        listeners.push(StreamListener::open(&app.processes[0].read, PRODUCTS, &[]).await);
    }
    for listener in &mut listeners {
        listener.until(shows(product, 0)).await;
    }
    app.settled().await;
    let began = Instant::now();
    let ended = app.processes.remove(0).stopped(STOP_TIMEOUT).await;
    assert!(ended.status.success(), "{}", ended.err);
    println!("ended with {LISTENERS} streams after {:?}", began.elapsed());
    for listener in &mut listeners {
        listener.ended().await;
        assert!(
            listener
                .reader
                .retry()
                .is_some_and(|millis| millis >= 1_000),
            "it says when to come again"
        );
    }
}
