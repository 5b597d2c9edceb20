//! Admission control: while more invests arrive than can be decided, most are rejected at once instead of after a long wait in the queue.
//!
//! A queue that is never empty shows how many commands a second the processor manages. When commands have waited longer than
//! [`MAX_QUEUED_DURATION`], or the last in the queue will by what the last batch took, only as many may wait from then on as the
//! processor manages in that time, until the queue has been empty. A rush that the processor is able to decide in that time fills the
//! queue, and nobody is rejected.
//!
//! A batch of all that waits would take seconds on a slow database, and nothing would be known before its end. So after a pause the
//! first batch is small, and each full one doubles the next.

use super::COMMAND_QUEUE_CAPACITY;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Commands that are decided and committed together at most.
pub(super) const MAX_BATCH_COMMANDS: usize = 1_000;
/// The same for the first batch after a pause.
const FIRST_BATCH_COMMANDS: usize = 256;
/// An empty queue of this long is a pause: what was known of the database is old.
const PAUSE_DURATION: Duration = Duration::from_millis(100);
/// How long an invest may wait in the queue while there are too many.
const MAX_QUEUED_DURATION: Duration = Duration::from_millis(500);
/// A batch of so many commands tells what a command costs.
const TELLING_BATCH_COMMANDS: usize = 64;
/// Invests that may always wait.
const MIN_WAITING_INVESTS: usize = 64;
/// How much a batch counts in the running mean of commands a second.
const RATE_WEIGHT: f64 = 0.2;

/// How many commands may wait for an invest to be admitted behind them.
#[derive(Debug)]
pub(super) struct AdmissionLimit(AtomicUsize);

impl AdmissionLimit {
    pub(super) fn admits(&self, waiting: usize) -> bool {
        waiting < self.0.load(Ordering::Relaxed)
    }
}

/// Sets the limit and the size of batches; the processor has it.
#[derive(Debug)]
pub(super) struct AdmissionControl {
    limit: Arc<AdmissionLimit>,
    batch_commands: usize,
    empty_since: Option<Instant>,
    /// Since the queue was last empty.
    busy: Option<Busy>,
}

/// What is known of a queue that is not empty.
#[derive(Debug)]
struct Busy {
    last_ended: Instant,
    /// The shortest batch: the least that a commit takes.
    shortest: Duration,
    /// Commands a second, a running mean.
    per_second: Option<f64>,
    is_limited: bool,
}

/// What a batch was.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedBatch {
    pub(super) commands: usize,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    /// How long the first of them had waited when it began.
    pub(super) longest_wait: Duration,
    /// Commands in the queue when it ended.
    pub(super) waiting: usize,
}

impl AdmissionControl {
    pub(super) fn new() -> Self {
        let limit = Arc::new(AdmissionLimit(AtomicUsize::new(COMMAND_QUEUE_CAPACITY)));
        Self {
            limit,
            batch_commands: FIRST_BATCH_COMMANDS,
            empty_since: None,
            busy: None,
        }
    }

    pub(super) fn limit(&self) -> Arc<AdmissionLimit> {
        self.limit.clone()
    }

    /// The queue is empty: whatever was slow is over.
    pub(super) fn queue_is_empty(&mut self, now: Instant) {
        self.empty_since.get_or_insert(now);
        self.busy = None;
        self.set(COMMAND_QUEUE_CAPACITY);
    }

    /// How many commands are taken at most, now that there are some.
    pub(super) fn batch_commands(&mut self, now: Instant) -> usize {
        let empty_since = self.empty_since.take();
        if empty_since.is_some_and(|since| now - since >= PAUSE_DURATION) {
            self.batch_commands = FIRST_BATCH_COMMANDS;
        }
        self.batch_commands
    }

    pub(super) fn batch_ended(&mut self, batch: EndedBatch) {
        if batch.commands >= self.batch_commands {
            self.batch_commands = (self.batch_commands * 2).min(MAX_BATCH_COMMANDS);
        }
        let Some(busy) = &mut self.busy else {
            self.busy = Some(Busy::since(batch));
            return;
        };
        let per_second = busy.per_second(batch);
        busy.is_limited |= batch.longest_wait.max(busy.wait_of_last(batch)) > MAX_QUEUED_DURATION;
        if busy.is_limited {
            self.set((per_second * MAX_QUEUED_DURATION.as_secs_f64()) as usize);
        }
    }

    fn set(&self, limit: usize) {
        self.limit.0.store(
            limit.clamp(MIN_WAITING_INVESTS, COMMAND_QUEUE_CAPACITY),
            Ordering::Relaxed,
        );
    }
}

impl Busy {
    fn since(batch: EndedBatch) -> Self {
        Self {
            last_ended: batch.ended,
            shortest: batch.ended - batch.began,
            per_second: None,
            is_limited: false,
        }
    }

    /// Commands a second, with this batch.
    fn per_second(&mut self, batch: EndedBatch) -> f64 {
        let took = batch.ended - std::mem::replace(&mut self.last_ended, batch.ended);
        let last = batch.commands as f64 / took.as_secs_f64().max(0.001);
        let mean = self
            .per_second
            .map_or(last, |mean| mean + RATE_WEIGHT * (last - mean));
        *self.per_second.insert(mean)
    }

    /// How long the last in the queue is going to wait, in large batches, where the batch tells: what it took beyond the shortest one,
    /// its commands took.
    fn wait_of_last(&mut self, batch: EndedBatch) -> Duration {
        let took = batch.ended - batch.began;
        self.shortest = self.shortest.min(took);
        if batch.commands < TELLING_BATCH_COMMANDS {
            return Duration::ZERO;
        }
        let command = (took - self.shortest).div_f64(batch.commands as f64);
        let batches = batch.waiting.div_ceil(MAX_BATCH_COMMANDS);
        command.mul_f64(batch.waiting as f64) + self.shortest.mul_f64(batches as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH_INTERVAL: Duration = Duration::from_millis(100);

    fn after_batches(commands: usize, longest_wait: Duration) -> AdmissionControl {
        let (mut control, mut now) = (AdmissionControl::new(), Instant::now());
        for _ in 0..50 {
            let (began, ended) = (now, now + BATCH_INTERVAL);
            control.batch_ended(EndedBatch {
                commands,
                began,
                ended,
                longest_wait,
                waiting: 0,
            });
            now = ended;
        }
        control
    }

    /// After a pause so many commands wait. A batch takes `commit`, and a second for `per_second`
    /// commands. Also how long it took until somebody is rejected, or all are decided, and when that was.
    fn after_rush(
        mut waiting: usize,
        per_second: f64,
        commit: Duration,
    ) -> (AdmissionControl, Duration, Instant) {
        let (mut control, start) = (AdmissionControl::new(), Instant::now());
        let (mut began, mut commands) = (start, 1);
        while commands > 0 && control.limit().admits(COMMAND_QUEUE_CAPACITY - 1) {
            waiting -= commands;
            let ended = began + commit + Duration::from_secs_f64(commands as f64 / per_second);
            control.batch_ended(EndedBatch {
                commands,
                began,
                ended,
                longest_wait: Duration::ZERO,
                waiting,
            });
            began = ended;
            commands = control.batch_commands(began).min(waiting);
        }
        (control, began - start, began)
    }

    #[test]
    fn a_queue_that_is_decided_in_time_takes_all() {
        let control = after_batches(10, MAX_QUEUED_DURATION);
        assert!(control.limit().admits(COMMAND_QUEUE_CAPACITY - 1));
    }

    #[test]
    fn a_slow_queue_takes_what_is_decided_in_time() {
        // 100 commands in 100 ms: 500 in half a second.
        let mut control = after_batches(100, MAX_QUEUED_DURATION + BATCH_INTERVAL);
        assert!(control.limit().admits(498) && !control.limit().admits(501));
        control.queue_is_empty(Instant::now());
        assert!(control.limit().admits(COMMAND_QUEUE_CAPACITY - 1));
    }

    #[test]
    fn who_would_wait_long_is_rejected_before_somebody_has() {
        let (control, after, _) = after_rush(2_000, 1_000.0, Duration::from_millis(2));
        assert!(control.limit().admits(480) && !control.limit().admits(520));
        assert!(after < MAX_QUEUED_DURATION, "{after:?}");
    }

    #[test]
    fn a_rush_on_a_database_far_away_is_not_rejected() {
        let (control, _, _) = after_rush(4_000, 20_000.0, Duration::from_millis(60));
        assert!(control.limit().admits(COMMAND_QUEUE_CAPACITY - 1));
    }

    #[test]
    fn the_limit_rises_when_a_stall_is_over() {
        let (mut control, _, began) = after_rush(2_000, 1_000.0, Duration::from_millis(2));
        control.batch_ended(EndedBatch {
            commands: 512,
            began,
            ended: began + Duration::from_millis(10),
            longest_wait: Duration::ZERO,
            waiting: 1_000,
        });
        assert!(control.limit().admits(5_000));
    }

    #[test]
    fn the_first_batch_after_a_pause_is_small() {
        let mut control = after_batches(MAX_BATCH_COMMANDS, Duration::ZERO);
        let now = Instant::now();
        for (empty, batch_commands) in [
            (Duration::from_millis(10), MAX_BATCH_COMMANDS),
            (PAUSE_DURATION, FIRST_BATCH_COMMANDS),
        ] {
            control.queue_is_empty(now);
            assert_eq!(control.batch_commands(now + empty), batch_commands);
        }
    }

    #[test]
    fn some_may_always_wait() {
        let control = after_batches(1, Duration::from_secs(2));
        assert!(
            control.limit().admits(MIN_WAITING_INVESTS - 1)
                && !control.limit().admits(MIN_WAITING_INVESTS)
        );
    }
}
