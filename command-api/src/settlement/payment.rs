//! The course of one payment, to the provider's own word on it or to the next attempt.
//!
//! An invest fails only on the provider's word that the money will never come: it refused, or it cancelled. Each step can
//! be repeated by anyone: the provider answers alike, and the desk refuses a second fate. So a process may die between
//! any two of them.

use super::answer::{Answer, Asked, NoAnswer};
use super::calls::{Calls, Turn};
use super::reason::told;
use super::waits::Waits;
use super::{Due, fate, work_list};
use crate::desk::{Desks, Request};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use domain::FailReason;
use event_log::{DatabaseClock, Log};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// An invest that was to be cancelled for so many attempts in vain is named to the operator, once: after a minute
/// or two.
const IN_VAIN: i32 = 8;

/// So many new payments may go on after their first call, because they are pending or were not answered. Others come
/// back later, so that first calls have room.
const MAX_FOLLOWED_UP: usize = 384;

/// What all payments in hand share.
pub(super) struct Payments {
    desks: Desks,
    pool: Pool,
    calls: Calls,
    waits: Waits,
    followed_up: Semaphore,
}

/// What is next for an invest.
enum Next {
    /// Its fate, for the desk.
    Fate(Request),
    /// It is due again later.
    Later { cancelling: bool },
}

impl Payments {
    pub(super) fn new(desks: Desks, pool: Pool, calls: Calls, waits: Waits) -> Self {
        Self { desks, pool, calls, waits, followed_up: Semaphore::new(MAX_FOLLOWED_UP) }
    }

    pub(super) fn log(&self) -> &Log {
        self.desks.log()
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Sees to one invest that was taken; its first call is made in this turn, or else when there is one.
    pub(super) async fn see_to(&self, due: Due, clock: DatabaseClock, turn: Option<Turn>) {
        // Handed over, and waited too long for its turn: it is a sweep's by now.
        if due.taken_until <= clock.now() {
            return;
        }
        match self.next(&due, clock, turn).await {
            Next::Fate(request) => fate::count(&[fate::give(&self.desks, due, request).await]),
            Next::Later { cancelling } => self.put_back(&due, cancelling).await,
        }
    }

    async fn next(&self, due: &Due, clock: DatabaseClock, turn: Option<Turn>) -> Next {
        // Somebody who died since may have asked for the payment of an expired one.
        if due.is_in_trouble(clock.now()) {
            return self.cancel(due, clock, turn).await;
        }
        match self.calls.ask(Asked::Pay, due, clock, turn).await {
            Ok(Answer::Paid) => Next::Fate(Request::Settle(due.invest_id)),
            Ok(Answer::Refused(reason)) => declined(due, &reason),
            Err(NoAnswer::NotAsked | NoAnswer::NotReached(_)) => Next::Later { cancelling: false },
            Ok(Answer::Pending) => match self.followed_up.try_acquire() {
                Ok(_room) => self.pending(due, clock).await,
                // Asked for again it is the same payment.
                Err(_) => Next::Later { cancelling: false },
            },
            Ok(Answer::Cancelled | Answer::NeverHeard) | Err(NoAnswer::Unanswered(_) | NoAnswer::Undecided(_)) => {
                match self.followed_up.try_acquire() {
                    Ok(_room) => self.cancel(due, clock, None).await,
                    Err(_) => Next::Later { cancelling: true },
                }
            }
        }
    }

    /// Looks at a pending payment until it is decided, its time or the invest's is over, or we stop.
    async fn pending(&self, due: &Due, clock: DatabaseClock) -> Next {
        let (until, mut pause) = (Instant::now() + self.waits.pending, self.waits.look);
        while Instant::now() + pause < until && !due.has_expired(clock.now()) {
            sleep(pause).await;
            if self.calls.is_closed() {
                return Next::Later { cancelling: false };
            }
            match self.calls.ask(Asked::Look, due, clock, None).await {
                Ok(Answer::Paid) => return Next::Fate(Request::Settle(due.invest_id)),
                Ok(Answer::Refused(reason)) => return declined(due, &reason),
                // It has lost what it accepted; only a cancel makes sure.
                Ok(Answer::NeverHeard | Answer::Cancelled) => break,
                Ok(Answer::Pending) | Err(_) => pause = (pause * 2).min(self.waits.look_most),
            }
        }
        self.cancel(due, clock, None).await
    }

    /// The answer to this is the fate, whatever was asked before, and whoever asked.
    async fn cancel(&self, due: &Due, clock: DatabaseClock, turn: Option<Turn>) -> Next {
        let answer = self.calls.ask(Asked::Cancel, due, clock, turn).await;
        let expired = due.has_expired(clock.now());
        match answer {
            Ok(Answer::Paid) => Next::Fate(Request::Settle(due.invest_id)),
            Ok(Answer::Cancelled | Answer::Refused(_)) if expired => Next::Fate(Request::Expire(due.invest_id)),
            Ok(Answer::Cancelled) => fail(due, "PAYMENT_TIMEOUT", "the payment was not made in time and was cancelled"),
            Ok(Answer::Refused(reason)) => declined(due, &reason),
            Ok(Answer::Pending | Answer::NeverHeard) | Err(_) => Next::Later { cancelling: true },
        }
    }

    /// When this fails, the invest is due again when its taking is over. If it should have been marked as cancelling,
    /// payment will be asked for once more, which is the same payment to the provider.
    async fn put_back(&self, due: &Due, cancelling: bool) {
        let after = self.waits.before_again(due.attempts, due.invest_id);
        if let Err(error) = work_list::put_back(self.desks.log(), &self.pool, due.invest_id, after, cancelling).await {
            tracing::warn!(invest_id = %due.invest_id, %error, "an open invest was not put back; it is due a little later");
        }
        if due.cancelling && due.attempts == IN_VAIN {
            tracing::error!(
                invest_id = %due.invest_id,
                "the payment provider does not say what became of this payment: look it up there; its reservation stays \
                 open, and Moa goes on asking"
            );
        }
    }
}

impl Due {
    /// Whether it is only to be cancelled: payment was asked for without an answer, or its time is over.
    pub(super) fn is_in_trouble(&self, now: DateTime<Utc>) -> bool {
        self.cancelling || self.has_expired(now)
    }

    fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at <= now
    }
}

/// The provider's reason is kept in the log and shown to users, as far as it may be.
fn declined(due: &Due, reason: &str) -> Next {
    fail(due, "PAYMENT_DECLINED", &told(reason))
}

fn fail(due: &Due, code: &str, detail: &str) -> Next {
    match FailReason::new(code, detail) {
        Ok(reason) => Next::Fate(Request::Fail(due.invest_id, reason)),
        Err(error) => {
            tracing::error!(invest_id = %due.invest_id, %error, "an open invest got no fate");
            Next::Later { cancelling: true }
        }
    }
}
