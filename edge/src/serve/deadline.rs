//! A deadline that costs nothing as long as it is kept.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A time limit that is set and lifted for each request. Its timer is made once, and moved only when it rings too early or
/// must ring earlier, because moving a timer takes a lock that all connections share.
#[derive(Default)]
pub(super) struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Sets the limit, unless one is set already.
    pub(super) fn set(&mut self, within: Duration) {
        self.at.get_or_insert_with(|| Instant::now() + within);
    }

    /// Sets the limit again.
    pub(super) fn postpone(&mut self, within: Duration) {
        self.at = Some(Instant::now() + within);
    }

    /// Lifts the limit.
    pub(super) fn lift(&mut self) {
        self.at = None;
    }

    /// Ready once the limit has passed; without a limit never.
    pub(super) fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < at {
            timer.as_mut().reset(at);
            return timer.as_mut().poll(cx);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    const LONG_TIMEOUT: Duration = Duration::from_secs(75);
    const SHORT_TIMEOUT: Duration = Duration::from_secs(10);

    async fn passed(deadline: &mut Deadline) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| deadline.poll_passed(cx)).await;
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_limit_is_kept_whatever_was_set_before() {
        let mut deadline = Deadline::default();
        for limit in [LONG_TIMEOUT, SHORT_TIMEOUT, LONG_TIMEOUT] {
            deadline.set(limit);
            let taken = passed(&mut deadline).await;
            assert!(
                taken >= limit && taken < limit + Duration::from_secs(1),
                "{limit:?} took {taken:?}"
            );
            deadline.lift();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_is_lifted_and_set_again_counts_from_the_second_time() {
        let mut deadline = Deadline::default();
        deadline.set(LONG_TIMEOUT);
        assert!(
            tokio::time::timeout(LONG_TIMEOUT - SHORT_TIMEOUT, passed(&mut deadline))
                .await
                .is_err()
        );
        deadline.lift();
        deadline.set(LONG_TIMEOUT);
        assert!(passed(&mut deadline).await >= LONG_TIMEOUT);
    }
}
