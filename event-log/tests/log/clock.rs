//! A database's clock that somebody sets: it is not believed, and meanwhile nothing is decided, opened, ended or forgotten.

use crate::support::*;
use chrono::{DateTime, TimeDelta, Utc};
use event_log::{Acceptance, Lease, Log, LogError, WriteStop, Writer};
use std::time::Duration;
use tokio_util::sync::DropGuard;

/// A database whose clock the test sets, for one process that is polled as in production.
struct SetClock {
    test: TestLog,
    process: Log,
    _polled: DropGuard,
}

impl SetClock {
    async fn new() -> Self {
        let test = TestLog::with_one_partition().await;
        let process = test.process_with(test.settable_clock().await).await;
        let _polled = poll_heads(&process);
        until("the clock is read", async || {
            process.trusted_time().is_some()
        })
        .await;
        Self {
            test,
            process,
            _polled,
        }
    }

    async fn is_off_by(&self, interval: &str) {
        self.test.set_clock(interval).await;
    }

    async fn writer(&self) -> Writer {
        Writer::open(self.process.clone(), 0).await.unwrap()
    }

    async fn until_stopped(&self, stopped: bool) {
        until("the jump is noticed", async || {
            self.process.write_stop(0).is_some() == stopped
        })
        .await;
    }

    fn believes_about(&self, time: DateTime<Utc>) {
        let off = self.process.trusted_time().unwrap() - time;
        assert!(off.abs() < TimeDelta::seconds(2), "{off}");
    }
}

/// 1. The clock is an hour ahead when an append is decided, and says so in its answer: it was recorded at the right time.
/// 2. The next one is refused, and readiness says why.
/// 3. The clock is back: writes are taken again, without anybody's word.
#[tokio::test]
async fn a_clock_that_jumped_is_not_believed_until_it_is_back() {
    let clock = SetClock::new().await;
    let mut writer = clock.writer().await;
    clock.is_off_by("1 hour").await;
    let recorded = writer
        .append(
            batch(vec![new_event(product(1), 1, opened(1))]),
            writer.now(),
        )
        .await;
    if let Ok(appended) = recorded {
        let recorded = committed(Ok(appended));
        assert!((recorded[0].recorded_at - Utc::now()).abs() < TimeDelta::minutes(1));
    }
    clock.until_stopped(true).await;
    let refused = writer.append(batch(vec![]), writer.now()).await;
    let Err(LogError::WritesStopped(WriteStop::ClockJumped { seconds })) = refused else {
        panic!("{refused:?}")
    };
    assert!((3_590..=3_610).contains(&seconds), "{seconds}");
    assert_eq!(clock.process.readiness().failed(), ["clock"]);
    clock.believes_about(Utc::now());

    clock.is_off_by("0").await;
    clock.until_stopped(false).await;
    assert_eq!(clock.process.readiness().failed().len(), 0);
    let next = writer.position() + 1;
    commit(
        &mut writer,
        vec![new_event(product(1), next, nth_event(next))],
    )
    .await;
}

#[tokio::test]
async fn a_clock_that_was_set_back_is_not_believed_either() {
    let clock = SetClock::new().await;
    clock.is_off_by("-10 minutes").await;
    clock.until_stopped(true).await;
    clock.believes_about(Utc::now());
}

#[tokio::test]
async fn an_operators_word_makes_a_clock_believed_that_jumped() {
    let clock = SetClock::new().await;
    clock.is_off_by("1 hour").await;
    clock.until_stopped(true).await;
    clock.test.log.accept(Acceptance::Clock).await.unwrap();
    clock.until_stopped(false).await;
    clock.believes_about(Utc::now() + TimeDelta::hours(1));
    commit(
        &mut clock.writer().await,
        vec![new_event(product(1), 1, opened(1))],
    )
    .await;
}

/// Two seconds are what another server's clock may differ by: it is followed.
#[tokio::test]
async fn a_small_step_is_believed() {
    let clock = SetClock::new().await;
    clock.is_off_by("2 seconds").await;
    until("it is followed", async || {
        clock.process.trusted_time().unwrap() - Utc::now() > TimeDelta::seconds(1)
    })
    .await;
    assert_eq!(clock.process.write_stop(0), None);
}

/// Keys are kept for a day, also where the clock is two days ahead for a moment.
#[tokio::test]
async fn nothing_is_forgotten_by_a_clock_that_is_ahead() {
    let clock = SetClock::new().await;
    clock
        .test
        .execute("insert into idempotency_keys values ('user1', 'key1', '', '1')")
        .await;
    clock.is_off_by("2 days").await;
    assert_eq!(clock.process.purge_idempotency_keys().await.unwrap(), 0);
    clock.until_stopped(true).await;
    assert_eq!(clock.process.purge_idempotency_keys().await.unwrap(), 0);
    assert_eq!(clock.test.count("idempotency_keys").await, 1);
}

/// Who took it while the clock was ahead may be gone: nobody waits an hour for its end.
#[tokio::test]
async fn a_lease_that_was_taken_by_a_clock_that_was_ahead_ends() {
    let clock = SetClock::new().await;
    clock.is_off_by("1 hour").await;
    let ahead = Lease::acquire(&clock.process, "relay.0", Duration::from_secs(10))
        .await
        .unwrap()
        .unwrap();
    clock.is_off_by("0").await;
    let taken = Lease::acquire(&clock.process, "relay.0", Duration::from_secs(10))
        .await
        .unwrap()
        .unwrap();
    assert!(!ahead.renew(Duration::from_secs(10)).await.unwrap());
    assert!(taken.renew(Duration::from_secs(10)).await.unwrap());
}
