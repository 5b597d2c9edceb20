//! Every connection to the database falls silent, in every pool of the process: they stand, take what is sent and never
//! answer, as behind a NAT that forgot them. New ones work.

use std::time::{Duration, Instant};

use reqwest::Method;
use testbed::Proxy;

use crate::checker::chain_is_whole;
use crate::harness::{Answer, TEST_TIMEOUT, TestApp, ask, client, within};

/// No answer takes longer: a command waits 2 s, a read 2.5 s and once more; the rest is what a slow machine takes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// One in each partition.
const PRODUCTS: usize = 4;

struct Silent {
    app: TestApp,
    proxy: Proxy,
    /// At hand at the process behind the proxy.
    hot: Vec<i64>,
    /// Not at hand there.
    cold: i64,
}

impl Silent {
    async fn open() -> Self {
        let (app, proxy) = TestApp::behind_a_proxy().await;
        let mut hot = Vec::new();
        for number in 0..PRODUCTS {
            hot.push(app.open_product(&format!("hot {number}"), 1_000_000).await);
        }
        let silent = Self {
            cold: open_at(&app, 1).await,
            app,
            proxy,
            hot,
        };
        for product in &silent.hot {
            assert!(
                silent
                    .app
                    .invest(ask("ann", *product, 1))
                    .await
                    .is_accepted()
            );
        }
        silent.app.settled().await;
        silent
    }

    /// Each answer comes in time, and before long it is a yes.
    async fn accepts(&self, product: i64) {
        let api = self.app.api(0);
        within(TEST_TIMEOUT, "an accepted invest", async || {
            let began = Instant::now();
            let call = api.invest(ask("ann", product, 1)).await;
            assert!(
                began.elapsed() < ANSWER_TIMEOUT,
                "answered after {:?}",
                began.elapsed()
            );
            call.is_accepted().then_some(())
        })
        .await;
    }

    /// Every view answers at the first try.
    async fn shows(&self) {
        let api = self.app.api(0);
        let paths = [
            "/api/product",
            "/api/product/my/invest",
            "/api/invest/log",
            "/api/product/my/summary",
        ];
        let reads = paths.map(|path| {
            let api = api.clone();
            async move {
                let began = Instant::now();
                let answer = api.get_as("ann", path).await;
                assert!(
                    began.elapsed() < ANSWER_TIMEOUT,
                    "{path} answered after {:?}",
                    began.elapsed()
                );
                assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            }
        });
        futures::future::join_all(reads).await;
    }

    async fn is_ready(&self) {
        let (client, ops) = (client(), self.app.processes[0].ops.clone());
        within(TEST_TIMEOUT, "readiness", async || {
            let answer = client.get(format!("{ops}/readyz")).send().await.unwrap();
            (answer.status().as_u16() == 200).then_some(())
        })
        .await;
    }

    async fn operators_are_answered(&self) {
        for path in [
            "/admin/projection",
            "/admin/product",
            "/admin/audit/event?size=10",
            "/admin/audit/verify",
        ] {
            let ask = async || {
                let answer: Answer = self.app.api(0).operate(Method::GET, path, None).await;
                assert!(
                    [200, 503].contains(&answer.status),
                    "{path}: {}",
                    answer.body
                );
                (answer.status == 200).then_some(())
            };
            within(TEST_TIMEOUT, path, ask).await;
        }
    }
}

async fn open_at(app: &TestApp, number: usize) -> i64 {
    let body = serde_json::json!({"title": "cold", "totalInvestingAmount": 1_000_000,
                                  "startedAt": "2020-01-01T00:00:00Z", "finishedAt": "2099-01-01T00:00:00Z"});
    let answer = app
        .api(number)
        .operate(Method::POST, "/admin/product", Some(&body))
        .await;
    answer.data()["productId"]
        .as_i64()
        .unwrap_or_else(|| panic!("not opened: {}", answer.body))
}

/// Steps: a process has worked a while; every connection that stands falls silent; reads answer at the first try, products
/// at hand and one that is not take invests, everything settles and every consumer comes to the heads, operators and
/// auditors are answered; no silent connection is kept, so no pool is smaller than it was. Three times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_pool_is_whole_again_after_all_connections_fell_silent() {
    let silent = Silent::open().await;
    for _ in 0..3 {
        silent.proxy.silence();
        tokio::join!(silent.shows(), silent.accepts(silent.cold));
        for product in &silent.hot {
            silent.accepts(*product).await;
        }
        silent.app.settled().await;
        silent.shows().await;
        silent.operators_are_answered().await;
        silent.is_ready().await;
        let closed = async || (silent.proxy.silent() == 0).then_some(());
        within(TEST_TIMEOUT, "all silent connections to be closed", closed).await;
    }
    chain_is_whole(&silent.app.pool).await;
}

/// Steps: new connections are silent from the start, too; reads and invests are told so in time; then new ones work again,
/// and so does the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_nothing_is_heard_of_the_database_everybody_is_told_in_time() {
    let silent = Silent::open().await;
    silent.proxy.silence_new(true);
    silent.proxy.silence();
    for path in ["/api/product", "/api/invest/log"] {
        let began = Instant::now();
        let answer = silent.app.api(0).get_as("ann", path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert!(
            began.elapsed() < ANSWER_TIMEOUT,
            "{path} answered after {:?}",
            began.elapsed()
        );
    }
    for product in [silent.hot[0], silent.cold] {
        let began = Instant::now();
        assert!(
            !silent
                .app
                .invest(ask("ann", product, 1))
                .await
                .is_accepted()
        );
        assert!(
            began.elapsed() < ANSWER_TIMEOUT,
            "answered after {:?}",
            began.elapsed()
        );
    }
    silent.proxy.silence_new(false);
    silent.accepts(silent.hot[0]).await;
    silent.accepts(silent.cold).await;
    silent.app.settled().await;
    silent.shows().await;
    silent.is_ready().await;
}
