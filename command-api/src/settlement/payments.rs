//! Settlement with a provider over HTTP: a bounded number of payments in flight, none of which delays another or the sweep.
//!
//! New reservations and payments in trouble are kept apart (bulkheads): each kind has its own share of a sweep, of the payments in flight,
//! of the concurrent calls, and of the probes while the circuit is open.

use super::calls::{CallPermit, Calls};
use super::first_calls::{self, FirstCalls, MAX_CLAIMED_WAITING};
use super::payment::Payments;
use super::work_list::Wanted;
use super::{FastPathReceiver, Http, OpenInvestTask, SWEEP_INTERVAL, work_list};
use crate::processor::PartitionProcessors;
use chrono::TimeDelta;
use connection_pool::Pool;
use event_log::{DatabaseClock, RepeatedFault};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// New payments in flight in one process.
const MAX_NEW_IN_FLIGHT: usize = 512;
/// Payments in trouble in flight besides them.
const MAX_RETRIES_IN_FLIGHT: usize = 32;
/// How long calls in flight may take after the shutdown; a later answer is requested again.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// The payments in flight, and the queue of the next ones.
struct Settlement<'a> {
    pool: &'a Pool,
    payments: Arc<Payments>,
    visibility_timeout: TimeDelta,
    first_calls: FirstCalls,
    new_in_flight: JoinSet<()>,
    retries_in_flight: JoinSet<()>,
    /// No payment begins before the time is known.
    clock: Option<DatabaseClock>,
    /// Whether the last sweep left something of its kind on the list.
    more: Wanted<bool>,
    /// The fault of an unreadable list.
    fault: RepeatedFault,
}

pub(super) async fn settle(
    processors: PartitionProcessors,
    pool: &Pool,
    http: Http,
    mut fast_path: FastPathReceiver,
    shutdown: &CancellationToken,
) {
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut settlement = Settlement::new(processors, pool, http);
    let mut new = Vec::new();
    while !shutdown.is_cancelled() {
        let free_slots = settlement.first_calls.free_slots();
        let wanted = free_slots > 0 && settlement.clock.is_some() && !fast_path.is_over();
        let (calls, is_needed) = (
            settlement.payments.calls(),
            settlement.may_probe_a_first_call(),
        );
        // Not biased: a branch that is always ready must not starve the others.
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = sweep.tick() => settlement.sweep().await,
            Some(ended) = settlement.new_in_flight.join_next() => log_panic(ended),
            Some(ended) = settlement.retries_in_flight.join_next() => log_panic(ended),
            () = calls.call_ended() => {}
            () = calls.probe_is_due(), if is_needed => {}
            _ = fast_path.0.recv_many(&mut new, free_slots), if wanted => settlement.first_calls.push_new(new.drain(..)),
        }
        settlement.begin();
        if settlement.should_sweep_now() {
            sweep.reset_immediately();
        }
    }
    settlement.finish().await;
}

impl<'a> Settlement<'a> {
    fn new(processors: PartitionProcessors, pool: &'a Pool, http: Http) -> Self {
        let fault = work_list::fault(processors.log());
        let (timeouts, calls) = (
            *http.timeouts(),
            Calls::to(http, processors.recorder().cloned()),
        );
        let payments = Arc::new(Payments::new(processors, pool.clone(), calls, timeouts));
        Self {
            pool,
            payments,
            visibility_timeout: timeouts.visibility_timeout(),
            first_calls: FirstCalls::default(),
            new_in_flight: JoinSet::new(),
            retries_in_flight: JoinSet::new(),
            clock: None,
            more: Wanted::default(),
            fault,
        }
    }

    /// Claims from the list what there are free slots for, and begins payments in trouble.
    async fn sweep(&mut self) {
        let wanted = self.wanted();
        let Some((clock, rows)) = work_list::claim_due(
            self.payments.log(),
            self.pool,
            wanted,
            self.visibility_timeout,
            &mut self.fault,
        )
        .await
        else {
            return;
        };
        self.clock = Some(clock);
        let (retries, new): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|due| due.is_in_trouble(clock.now()));
        let all = |got: usize, wanted: usize| wanted > 0 && got >= wanted;
        self.more = Wanted {
            new: all(new.len(), wanted.new),
            retries: all(retries.len(), wanted.retries),
        };
        new.into_iter()
            .for_each(|due| self.first_calls.push_claimed(due));
        if self.is_retry_next() {
            self.probe_a_retry(retries, clock);
        } else {
            retries
                .into_iter()
                .for_each(|due| self.begin_retry(due, clock, None));
        }
    }

    /// While the circuit is open, only what may be the next probe.
    fn wanted(&self) -> Wanted<usize> {
        if self.payments.calls().circuit_is_open() {
            let new = usize::from(self.first_calls.claimed_count() == 0);
            return Wanted {
                new,
                retries: usize::from(self.is_retry_next()),
            };
        }
        Wanted {
            new: MAX_CLAIMED_WAITING.saturating_sub(self.first_calls.claimed_count()),
            retries: MAX_RETRIES_IN_FLIGHT.saturating_sub(self.retries_in_flight.len()),
        }
    }

    /// Whether the next probe is one of a payment in trouble: those have turns of the oldest.
    fn is_retry_next(&self) -> bool {
        let is_free =
            self.first_calls.pick() == first_calls::Pick::Oldest || self.first_calls.is_empty();
        is_free && self.payments.calls().is_retry_due()
    }

    fn may_probe_a_first_call(&self) -> bool {
        !self.first_calls.is_empty() && !self.is_retry_next()
    }

    /// Whether to sweep again now: there was more, and half of the slots for it are free.
    fn should_sweep_now(&self) -> bool {
        let new = self.more.new && self.first_calls.claimed_count() <= MAX_CLAIMED_WAITING / 2;
        let retries =
            self.more.retries && self.retries_in_flight.len() <= MAX_RETRIES_IN_FLIGHT / 2;
        (new || retries) && !self.payments.calls().circuit_is_open()
    }

    /// Begins new payments while there are slots for them and for their first call.
    fn begin(&mut self) {
        let Some(clock) = self.clock else { return };
        self.first_calls.forget_overdue(clock.now());
        while self.may_probe_a_first_call() && self.new_in_flight.len() < MAX_NEW_IN_FLIGHT {
            let Some(call_permit) = self.payments.calls().first_call() else {
                return;
            };
            let Some(due) = self.first_calls.next(clock.now()) else {
                return;
            };
            let payments = self.payments.clone();
            self.new_in_flight
                .spawn(async move { payments.settle_one(due, clock, Some(call_permit)).await });
        }
    }

    fn begin_retry(
        &mut self,
        due: OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) {
        let payments = self.payments.clone();
        self.retries_in_flight
            .spawn(async move { payments.settle_one(due, clock, call_permit).await });
    }

    /// Probes with the payment that was claimed for it, unless another probe is in flight.
    fn probe_a_retry(&mut self, retries: Vec<OpenInvestTask>, clock: DatabaseClock) {
        if retries.is_empty() {
            self.payments.calls().no_retry_is_due();
        }
        for due in retries {
            let call_permit = self.payments.calls().retry();
            self.begin_retry(due, clock, call_permit);
        }
        self.first_calls.pass_pick();
    }

    /// Begins no more calls, and waits for those in flight.
    async fn finish(mut self) {
        self.payments.calls().close();
        let all = async {
            while self.new_in_flight.join_next().await.is_some() {}
            while self.retries_in_flight.join_next().await.is_some() {}
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, all).await.is_err() {
            let left = self.new_in_flight.len() + self.retries_in_flight.len();
            tracing::info!(
                left,
                "payments are still in flight; they are due again when their claims end"
            );
        }
    }
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a payment task panicked; its invest is due again when its claim ends");
    }
}
