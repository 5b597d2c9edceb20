//! Steady load on loopback, bounded by who starts it: so many clients per process, each with one request at a time.

use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::ApiClient;
use super::journal::ask;

/// What a client rests when it got no answer, so that a dead process is not asked in a tight loop.
const REST_DELAY: Duration = Duration::from_millis(20);

pub struct Load {
    stop: CancellationToken,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `clients` at each of `apis` invest 1 won after another in one product after another; every second one with
    /// idempotency keys.
    pub fn start(apis: &[ApiClient], clients: usize, products: &[i64]) -> Self {
        let stop = CancellationToken::new();
        let places = apis
            .iter()
            .enumerate()
            .flat_map(|(at, api)| (0..clients).map(move |client| (at, client, api)));
        let clients = places.map(|(at, client, api)| {
            let user = format!("api{at}-client{client}");
            tokio::spawn(invest_on(
                api.clone(),
                user,
                client % 2 == 0,
                products.to_vec(),
                stop.clone(),
            ))
        });
        Self {
            clients: clients.collect(),
            stop,
        }
    }

    /// No client begins another request.
    pub fn ask_no_more(&self) {
        self.stop.cancel();
    }

    /// Lets the requests under way finish.
    pub async fn stop(self) {
        self.ask_no_more();
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

async fn invest_on(
    api: ApiClient,
    user: String,
    keyed: bool,
    products: Vec<i64>,
    stop: CancellationToken,
) {
    for (number, product) in products.iter().cycle().enumerate() {
        let ask = ask(&user, *product, 1);
        let ask = if keyed {
            ask.with_key(format!("{user}-{number}"))
        } else {
            ask
        };
        let call = api.invest(ask).await;
        if call.is_unknown() {
            tokio::time::sleep(REST_DELAY).await;
        }
        if stop.is_cancelled() {
            return;
        }
    }
}
