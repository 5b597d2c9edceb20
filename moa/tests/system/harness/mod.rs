//! An app to test: real `moa` processes on one database, clients with a journal, and a reader of the log.

mod browser;
mod client;
mod follower;
mod journal;
mod load;
mod process;
mod shared_servers;
mod stream;
mod test_app;

pub use browser::Browser;
pub use client::{Answer, ApiClient, Sighting, View, client};
pub use follower::Follower;
pub use journal::{Ask, Call, Journal, Outcome, ask};
pub use load::Load;
pub use process::{AUDITOR, Ended, MoaProcess, OPERATOR, Start, signal};
pub use shared_servers::{Leftovers, servers};
pub use stream::StreamListener;
pub use test_app::{TestApp, seconds_from};

use std::time::{Duration, Instant};

/// How long anything in the background is waited for: on the slowest machine it comes sooner, or never.
pub const TEST_TIMEOUT: Duration = Duration::from_secs(90);
/// How often it is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The names of the read models, from the projector's list. The checker shares no other code with it.
pub fn read_models() -> impl Iterator<Item = &'static str> {
    projector::PROJECTIONS
        .iter()
        .map(|projection| projection.name)
}

/// Every consumer with checkpoints in PostgreSQL.
pub fn consumers() -> Vec<&'static str> {
    read_models().chain(["open_invest"]).collect()
}

/// Looks until `found` gives something, at most `bound`.
pub async fn within<T, F>(bound: Duration, what: &str, mut found: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = found().await {
            return found;
        }
        assert!(
            start.elapsed() < bound,
            "waited {bound:?} in vain for {what}"
        );
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
