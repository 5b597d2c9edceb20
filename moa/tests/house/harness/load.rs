//! Steady load on loopback, bounded by who starts it: so many clients per process, each with one request at a time.

use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::client::Door;
use super::journal::ask;

/// What a client rests when it got no answer, so that a dead process is not asked in a tight loop.
const REST: Duration = Duration::from_millis(20);

pub struct Load {
    stop: CancellationToken,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// `clients` at each of `doors` invest 1 won after another in one product after another; every second one with
    /// idempotency keys.
    pub fn start(doors: &[Door], clients: usize, products: &[i64]) -> Self {
        let stop = CancellationToken::new();
        let places = doors.iter().enumerate().flat_map(|(at, door)| (0..clients).map(move |client| (at, client, door)));
        let clients = places.map(|(at, client, door)| {
            let user = format!("door{at}-client{client}");
            tokio::spawn(invest_on(door.clone(), user, client % 2 == 0, products.to_vec(), stop.clone()))
        });
        Self { clients: clients.collect(), stop }
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

async fn invest_on(door: Door, user: String, keyed: bool, products: Vec<i64>, stop: CancellationToken) {
    for (number, product) in products.iter().cycle().enumerate() {
        let ask = ask(&user, *product, 1);
        let ask = if keyed { ask.with_key(format!("{user}-{number}")) } else { ask };
        let call = door.invest(ask).await;
        if call.is_unknown() {
            tokio::time::sleep(REST).await;
        }
        if stop.is_cancelled() {
            return;
        }
    }
}
