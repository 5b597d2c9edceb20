//! Settlement with a provider over HTTP: so many payments in hand, none of which holds up another or the sweep.

use super::calls::Calls;
use super::payment::Payments;
use super::{Due, Handed, Http, SWEEP, TOGETHER, work_list};
use crate::desk::Desks;
use chrono::TimeDelta;
use event_log::DatabaseClock;
use sqlx::PgPool;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// Payments in hand in one process: most of them wait for their turn to call, or for a pending payment.
const IN_HAND: usize = 512;
/// When this many of them have room the list is swept again at once, if there was more on it.
const WORTH_A_SWEEP: usize = IN_HAND / 2;
/// How long calls that are under way when we stop may take; an answer that comes later is asked for again.
const FINISH: Duration = Duration::from_secs(4);

/// The payments in hand, and where the next ones come from.
struct Settlement<'a> {
    pool: &'a PgPool,
    payments: Arc<Payments>,
    taken_for: TimeDelta,
    in_hand: JoinSet<()>,
    due: Vec<Due>,
    /// Nothing is begun before the time is known.
    clock: Option<DatabaseClock>,
    /// Whether the last sweep left something on the list.
    more: bool,
}

pub(super) async fn settle(desks: Desks, pool: &PgPool, http: Http, mut handed: Handed, shutdown: &CancellationToken) {
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut settlement = Settlement::new(desks, pool, http);
    while !shutdown.is_cancelled() {
        let room = settlement.room();
        let wanted = room > 0 && settlement.clock.is_some() && !handed.is_over();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            _ = sweep.tick() => settlement.sweep().await,
            Some(ended) = settlement.in_hand.join_next() => if settlement.ended(ended) { sweep.reset_immediately() },
            _ = handed.0.recv_many(&mut settlement.due, room), if wanted => {}
        }
        settlement.begin();
    }
    settlement.finish().await;
}

impl<'a> Settlement<'a> {
    fn new(desks: Desks, pool: &'a PgPool, http: Http) -> Self {
        let (waits, calls) = (*http.waits(), Calls::to(http, desks.recorder().cloned()));
        let payments = Arc::new(Payments::new(desks, pool.clone(), calls, waits));
        let (in_hand, due) = (JoinSet::new(), Vec::with_capacity(TOGETHER));
        Self { pool, payments, taken_for: waits.taken_for(), in_hand, due, clock: None, more: false }
    }

    /// How many may be begun with now: one at most while the provider is tried again, none while it is left alone.
    fn room(&self) -> usize {
        self.payments.calls().room(IN_HAND.saturating_sub(self.in_hand.len()))
    }

    /// Takes from the list what there is room for.
    async fn sweep(&mut self) {
        let limit = self.room().min(TOGETHER);
        if limit == 0 {
            return;
        }
        if let Some((clock, rows)) = work_list::taken(self.pool, limit, self.taken_for).await {
            self.more = rows.len() == limit;
            self.clock = Some(clock);
            self.due.extend(rows);
        }
    }

    /// Whether it is time for another sweep.
    fn ended(&self, ended: Result<(), JoinError>) -> bool {
        if let Err(error) = ended {
            tracing::error!(%error, "a payment ended without a word; it is due again a little later");
        }
        self.more && self.room() >= WORTH_A_SWEEP
    }

    fn begin(&mut self) {
        let Some(clock) = self.clock else { return };
        for due in self.due.drain(..) {
            let payments = self.payments.clone();
            self.in_hand.spawn(async move { payments.see_to(due, clock).await });
        }
    }

    /// Begins no call any more, and waits for those under way.
    async fn finish(mut self) {
        self.payments.calls().close();
        let all = async { while self.in_hand.join_next().await.is_some() {} };
        if tokio::time::timeout(FINISH, all).await.is_err() {
            tracing::info!(
                left = self.in_hand.len(),
                "payments were left under way; they are due again a little later"
            );
        }
    }
}
