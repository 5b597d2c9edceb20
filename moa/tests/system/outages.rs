//! What the log says while a server is away: dozens of components miss it, and one line says so.

use serde_json::Value;
use testbed::Proxy;

use crate::harness::{Start, TEST_TIMEOUT, TestApp, ask, servers, within};

/// A Moa with everything, and each of its servers behind a proxy.
struct Outages {
    app: TestApp,
    postgresql: Proxy,
    rabbitmq: Proxy,
    redis: Proxy,
}

/// A proxy before the server that `url` names, and the same URL by way of it.
async fn proxied(url: &str) -> (Proxy, String) {
    let mut url = reqwest::Url::parse(url).unwrap();
    let proxy = Proxy::before((url.host_str().unwrap().to_owned(), url.port().unwrap())).await;
    url.set_host(Some("127.0.0.1")).unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    (proxy, url.into())
}

impl Outages {
    async fn open() -> Self {
        let mut app = TestApp::of(0, Start::serve()).await;
        let (amqp, cache) = servers();
        let ((postgresql, database), (rabbitmq, amqp), (redis, cache)) = (
            proxied(&app.url()).await,
            proxied(&amqp).await,
            proxied(&cache).await,
        );
        let start = app
            .start()
            .clone()
            .on(&database)
            .env("AMQP_URL", &amqp)
            .env("REDIS_URL", &cache);
        app.processes.push(start.open().await);
        Self {
            app,
            postgresql,
            rabbitmq,
            redis,
        }
    }

    /// What is logged, without the fields that differ from one run to the next.
    fn lines(&self) -> Vec<String> {
        let logged = self.app.processes[0].logged();
        let lines = logged
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect(line));
        lines
            .map(|line| line["message"].as_str().unwrap().to_owned())
            .collect()
    }

    async fn logs(&self, end: &str) {
        let ends = async || {
            self.lines()
                .last()
                .is_some_and(|line| line.ends_with(end))
                .then_some(())
        };
        let logged = tokio::time::timeout(TEST_TIMEOUT, within(2 * TEST_TIMEOUT, end, ends)).await;
        assert!(
            logged.is_ok(),
            "{end} is not the last line: {}",
            self.app.processes[0].logged()
        );
    }

    /// Everything that people and probes do meanwhile.
    async fn is_used(&self, product: i64) {
        let api = self.app.api(0);
        self.app.invest(ask("ann", product, 1)).await;
        let headers = [("X-USER-ID", "ann")];
        for path in [
            "/api/product",
            "/api/product/my/invest",
            "/api/product/invest/log",
        ] {
            api.read_with(path, &headers).await;
        }
        reqwest::get(format!("{}/readyz", self.app.processes[0].ops))
            .await
            .unwrap();
        self.app.operator(&["status"]).await;
    }
}

/// Steps, for each server: it is cut off, people go on asking until it was tried again in vain so often, it comes back. The log has
/// two lines.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_two_lines_whatever_the_server() {
    let outages = Outages::open().await;
    let product = outages.app.open_product("missed", 1_000_000).await;
    assert!(
        outages
            .app
            .invest(ask("ann", product, 1))
            .await
            .is_accepted()
    );
    outages.app.settled().await;
    for (server, proxy, tries) in [
        ("RabbitMQ", &outages.rabbitmq, 6),
        ("Redis", &outages.redis, 6),
        ("PostgreSQL", &outages.postgresql, 60),
    ] {
        outages.is_used(product).await;
        let before = outages.lines().len();
        proxy.cut();
        let away =
            format!("{server} is away: what needs it waits, or is refused, until it is back");
        outages.logs(&away).await;
        let refused = proxy.refused();
        let is_tried = async || {
            outages.is_used(product).await;
            (proxy.refused() >= refused + tries).then_some(())
        };
        within(TEST_TIMEOUT, "it is tried again and again", is_tried).await;
        proxy.mend();
        outages.logs(&format!("{server} is back")).await;
        outages.is_used(product).await;
        outages.app.settled().await;
        assert_eq!(
            outages.lines()[before..],
            [away, format!("{server} is back")],
            "{}",
            outages.app.processes[0].logged()
        );
    }
}
