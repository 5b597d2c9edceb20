//! Settlement with a provider over HTTP: so many payments in hand, none of which holds up another or the sweep.
//!
//! New reservations and payments in trouble are kept apart all the way: each have their own share of a sweep, of the
//! payments in hand, of the calls at a time, and of the probes while the provider is left alone.

use super::calls::{Calls, Turn};
use super::payment::Payments;
use super::waiting::{self, MAX_TAKEN, Waiting};
use super::work_list::Wanted;
use super::{Due, Handed, Http, SWEEP, work_list};
use crate::desk::Desks;
use chrono::TimeDelta;
use connection_pool::Pool;
use event_log::{DatabaseClock, RepeatedFault};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// New payments in hand in one process: those of a first call, those whose fate is being written, and those that go on.
const MAX_NEW_IN_HAND: usize = 512;
/// Payments in trouble in hand beside them.
const MAX_RETRIES_IN_HAND: usize = 32;
/// How long calls that are under way when we stop may take; an answer that comes later is asked for again.
const FINISH: Duration = Duration::from_secs(4);

/// The payments in hand, and where the next ones come from.
struct Settlement<'a> {
    pool: &'a Pool,
    payments: Arc<Payments>,
    taken_for: TimeDelta,
    waiting: Waiting,
    new_in_hand: JoinSet<()>,
    retries_in_hand: JoinSet<()>,
    /// Nothing is begun before the time is known.
    clock: Option<DatabaseClock>,
    /// Whether the last sweep left something of its kind on the list.
    more: Wanted<bool>,
    /// That the list cannot be read.
    fault: RepeatedFault,
}

pub(super) async fn settle(desks: Desks, pool: &Pool, http: Http, mut handed: Handed, shutdown: &CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut settlement = Settlement::new(desks, pool, http);
    let mut new = Vec::new();
    while !shutdown.is_cancelled() {
        let room = settlement.waiting.room();
        let wanted = room > 0 && settlement.clock.is_some() && !handed.is_over();
        let (calls, is_needed) = (settlement.payments.calls(), settlement.may_probe_a_first_call());
        // In no order: whatever is always ready must not starve the others.
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = sweep.tick() => settlement.sweep().await,
            Some(ended) = settlement.new_in_hand.join_next() => tell(ended),
            Some(ended) = settlement.retries_in_hand.join_next() => tell(ended),
            () = calls.call_ended() => {}
            () = calls.probe_is_due(), if is_needed => {}
            _ = handed.0.recv_many(&mut new, room), if wanted => settlement.waiting.handed_over(new.drain(..)),
        }
        settlement.begin();
        if settlement.is_worth_a_sweep() {
            sweep.reset_immediately();
        }
    }
    settlement.finish().await;
}

impl<'a> Settlement<'a> {
    fn new(desks: Desks, pool: &'a Pool, http: Http) -> Self {
        let fault = work_list::fault(desks.log());
        let (waits, calls) = (*http.waits(), Calls::to(http, desks.recorder().cloned()));
        let payments = Arc::new(Payments::new(desks, pool.clone(), calls, waits));
        Self {
            pool,
            payments,
            taken_for: waits.taken_for(),
            waiting: Waiting::default(),
            new_in_hand: JoinSet::new(),
            retries_in_hand: JoinSet::new(),
            clock: None,
            more: Wanted::default(),
            fault,
        }
    }

    /// Takes from the list what there is room for, and begins with payments in trouble.
    async fn sweep(&mut self) {
        let wanted = self.wanted();
        let Some((clock, rows)) =
            work_list::taken(self.payments.log(), self.pool, wanted, self.taken_for, &mut self.fault).await
        else {
            return;
        };
        self.clock = Some(clock);
        let (retries, new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|due| due.is_in_trouble(clock.now()));
        let all = |got: usize, wanted: usize| wanted > 0 && got >= wanted;
        self.more = Wanted { new: all(new.len(), wanted.new), retries: all(retries.len(), wanted.retries) };
        new.into_iter().for_each(|due| self.waiting.taken(due));
        if self.is_turn_of_a_retry() {
            self.probe_a_retry(retries, clock);
        } else {
            retries.into_iter().for_each(|due| self.begin_retry(due, clock, None));
        }
    }

    /// While the provider is left alone only what may be the next probe.
    fn wanted(&self) -> Wanted<usize> {
        if self.payments.calls().is_left_alone() {
            let new = usize::from(self.waiting.taken_count() == 0);
            return Wanted { new, retries: usize::from(self.is_turn_of_a_retry()) };
        }
        Wanted {
            new: MAX_TAKEN.saturating_sub(self.waiting.taken_count()),
            retries: MAX_RETRIES_IN_HAND.saturating_sub(self.retries_in_hand.len()),
        }
    }

    /// Whether the next probe is one of a payment in trouble: those have turns of the oldest.
    fn is_turn_of_a_retry(&self) -> bool {
        let is_free = self.waiting.turn() == waiting::Turn::Oldest || self.waiting.is_empty();
        is_free && self.payments.calls().owes_a_retry()
    }

    fn may_probe_a_first_call(&self) -> bool {
        !self.waiting.is_empty() && !self.is_turn_of_a_retry()
    }

    /// Whether it is time for another sweep: there was more, and half of the room for it is free.
    fn is_worth_a_sweep(&self) -> bool {
        let new = self.more.new && self.waiting.taken_count() <= MAX_TAKEN / 2;
        let retries = self.more.retries && self.retries_in_hand.len() <= MAX_RETRIES_IN_HAND / 2;
        (new || retries) && !self.payments.calls().is_left_alone()
    }

    /// Begins with new reservations as long as there is room for them and for their first call.
    fn begin(&mut self) {
        let Some(clock) = self.clock else { return };
        self.waiting.forget_overdue(clock.now());
        while self.may_probe_a_first_call() && self.new_in_hand.len() < MAX_NEW_IN_HAND {
            let Some(turn) = self.payments.calls().first_call() else { return };
            let Some(due) = self.waiting.next(clock.now()) else { return };
            let payments = self.payments.clone();
            self.new_in_hand.spawn(async move { payments.see_to(due, clock, Some(turn)).await });
        }
    }

    fn begin_retry(&mut self, due: Due, clock: DatabaseClock, turn: Option<Turn>) {
        let payments = self.payments.clone();
        self.retries_in_hand.spawn(async move { payments.see_to(due, clock, turn).await });
    }

    /// The one that was taken for it, as soon as no other probe is under way.
    fn probe_a_retry(&mut self, retries: Vec<Due>, clock: DatabaseClock) {
        if retries.is_empty() {
            self.payments.calls().has_no_retry();
        }
        for due in retries {
            let turn = self.payments.calls().retry();
            self.begin_retry(due, clock, turn);
        }
        self.waiting.pass_turn();
    }

    /// Begins no call any more, and waits for those under way.
    async fn finish(mut self) {
        self.payments.calls().close();
        let all = async {
            while self.new_in_hand.join_next().await.is_some() {}
            while self.retries_in_hand.join_next().await.is_some() {}
        };
        if tokio::time::timeout(FINISH, all).await.is_err() {
            let left = self.new_in_hand.len() + self.retries_in_hand.len();
            tracing::info!(left, "payments were left under way; they are due again a little later");
        }
    }
}

fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a payment ended without a word; it is due again a little later");
    }
}
