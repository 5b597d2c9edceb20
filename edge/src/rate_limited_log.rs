//! Warnings that would fill the log.

use std::time::Duration;
use tokio::time::Instant;

/// How often a repeated warning is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A warning that occurs again and again, and is logged once a minute.
#[derive(Debug, Default)]
pub(crate) struct RateLimitedLog {
    times: u64,
    logged_at: Option<Instant>,
}

impl RateLimitedLog {
    /// How often it occurred since it was logged last, when it is time to log it again.
    pub(crate) fn occurred(&mut self) -> Option<u64> {
        self.times += 1;
        let now = Instant::now();
        if self
            .logged_at
            .is_some_and(|logged_at| now - logged_at < LOG_INTERVAL)
        {
            return None;
        }
        self.logged_at = Some(now);
        Some(std::mem::take(&mut self.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_warning_is_logged_once_a_minute_with_its_count() {
        let mut log = RateLimitedLog::default();
        assert_eq!(log.occurred(), Some(1));
        assert_eq!([log.occurred(), log.occurred()], [None, None]);
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(log.occurred(), Some(3));
    }
}
