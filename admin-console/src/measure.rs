//! Measures once a second how fast the log grows, while somebody is logged in.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::Advance;
use crate::console::Console;
use crate::samples::Sample;

/// How often it is measured.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// Measures until the process stops.
pub(crate) async fn keep(console: Arc<Console>) {
    let mut tick = interval(SAMPLE_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<(Advance, Instant)> = None;
    while console
        .shutdown
        .run_until_cancelled(tick.tick())
        .await
        .is_some()
    {
        if console.sessions.is_empty() {
            before = None;
            continue;
        }
        let from = before.as_ref().map(|(advance, _)| advance.heads.clone());
        let asking = console.process.advance(from);
        let Some(Some(advance)) = console.shutdown.run_until_cancelled(asking).await else {
            // The page says that Moa's database does not answer.
            before = None;
            continue;
        };
        let now = Instant::now();
        if let Some((from, at)) = &before {
            console
                .samples
                .push(Sample::between(from, &advance, (now - *at).as_secs_f64()));
        }
        before = Some((advance, now));
    }
}
