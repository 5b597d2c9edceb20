//! One payment, from the first call to the provider's own word on it or to the next attempt.
//!
//! An invest fails only when the provider says that the money will never come: it refused, or it cancelled. Every process may repeat
//! each step: the provider gives the same answer, and the aggregate refuses a second fate. So a process may die between any two.

use super::calls::{CallPermit, Calls};
use super::protocol::{ProviderAnswer, ProviderCall, ProviderError};
use super::redact::redact;
use super::timeouts::Timeouts;
use super::{GivenBack, OpenInvestTask, fate, work_list};
use crate::processor::{PartitionProcessors, UntimedCommand};
use chrono::{DateTime, Utc};
use connection_pool::Pool;
use connection_pool::outage::POSTGRESQL;
use domain::{FailReason, ProductCommand};
use event_log::{DatabaseClock, Log};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

/// Attempts to cancel an invest after which it is reported to the operator, once: a minute or two.
const ALERT_AFTER_ATTEMPTS: i32 = 8;

/// New payments that continue after their first call, because they are pending or were not answered. Others are retried later, so that
/// first calls find a free slot.
const MAX_FOLLOWED_UP_PAYMENTS: usize = 384;

/// Why a payment that Moa never refunded does not stand.
const REFUNDED_BY_PROVIDER: &str = "the payment was refunded";

/// What all payments in flight share.
pub(super) struct Payments {
    processors: PartitionProcessors,
    pool: Pool,
    calls: Calls,
    timeouts: Timeouts,
    followed_up: Semaphore,
}

/// The next step for an invest.
enum Next {
    /// Its fate.
    Fate(UntimedCommand),
    /// It is retried later.
    Later { cancelling: bool },
}

impl Payments {
    pub(super) fn new(
        processors: PartitionProcessors,
        pool: Pool,
        calls: Calls,
        timeouts: Timeouts,
    ) -> Self {
        Self {
            processors,
            pool,
            calls,
            timeouts,
            followed_up: Semaphore::new(MAX_FOLLOWED_UP_PAYMENTS),
        }
    }

    pub(super) fn log(&self) -> &Log {
        self.processors.log()
    }

    pub(super) fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Settles one claimed invest. Its first call uses `call_permit`, or waits for one.
    pub(super) async fn settle_one(
        &self,
        due: OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) {
        // It waited too long for its call: another process may have claimed it by now.
        if due.claimed_until <= clock.now() {
            return;
        }
        match self.next(&due, clock, call_permit).await {
            Next::Fate(command) => {
                fate::count(&[fate::decide(&self.processors, &self.pool, due, command).await])
            }
            Next::Later { cancelling } => self.release(&due, cancelling).await,
        }
    }

    async fn next(
        &self,
        due: &OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) -> Next {
        match due.given_back {
            Some(GivenBack::Settled) => return self.refund(due, clock, call_permit).await,
            Some(GivenBack::Reserved) => {
                return self.cancel_withdrawn(due, clock, call_permit).await;
            }
            None => {}
        }
        // A process that has died may have requested the payment of an expired one.
        if due.is_in_trouble(clock.now()) {
            return self.cancel(due, clock, call_permit).await;
        }
        match self
            .calls
            .ask(ProviderCall::Pay, due, clock, call_permit)
            .await
        {
            Ok(ProviderAnswer::Paid) => Next::Fate(
                ProductCommand::SettleInvest {
                    invest_id: due.invest_id,
                }
                .into(),
            ),
            Ok(ProviderAnswer::Refused(reason)) => declined(due, &reason),
            Ok(ProviderAnswer::Refunded) => declined(due, REFUNDED_BY_PROVIDER),
            Err(ProviderError::NotAsked | ProviderError::NotReached(_)) => {
                Next::Later { cancelling: false }
            }
            Ok(ProviderAnswer::Pending) => match self.followed_up.try_acquire() {
                Ok(_permit) => self.pending(due, clock).await,
                // Requested again, it is the same payment.
                Err(_) => Next::Later { cancelling: false },
            },
            Ok(ProviderAnswer::Cancelled | ProviderAnswer::NeverHeard)
            | Err(ProviderError::Unanswered(_) | ProviderError::Undecided(_)) => {
                match self.followed_up.try_acquire() {
                    Ok(_permit) => self.cancel(due, clock, None).await,
                    Err(_) => Next::Later { cancelling: true },
                }
            }
        }
    }

    /// Queries a pending payment until it is decided, its time or the invest's is over, or the process stops.
    async fn pending(&self, due: &OpenInvestTask, clock: DatabaseClock) -> Next {
        let (until, mut pause) = (Instant::now() + self.timeouts.pending, self.timeouts.poll);
        while Instant::now() + pause < until && !due.has_expired(clock.now()) {
            sleep(pause).await;
            if self.calls.is_closed() {
                return Next::Later { cancelling: false };
            }
            match self.calls.ask(ProviderCall::Query, due, clock, None).await {
                Ok(ProviderAnswer::Paid) => {
                    return Next::Fate(
                        ProductCommand::SettleInvest {
                            invest_id: due.invest_id,
                        }
                        .into(),
                    );
                }
                Ok(ProviderAnswer::Refused(reason)) => return declined(due, &reason),
                Ok(ProviderAnswer::Refunded) => return declined(due, REFUNDED_BY_PROVIDER),
                // The provider has lost what it accepted: only a cancel is certain.
                Ok(ProviderAnswer::NeverHeard | ProviderAnswer::Cancelled) => break,
                Ok(ProviderAnswer::Pending) | Err(_) => {
                    pause = (pause * 2).min(self.timeouts.max_poll)
                }
            }
        }
        self.cancel(due, clock, None).await
    }

    /// The answer to a cancel is the fate, whatever was requested before.
    async fn cancel(
        &self,
        due: &OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) -> Next {
        let answer = self
            .calls
            .ask(ProviderCall::Cancel, due, clock, call_permit)
            .await;
        let expired = due.has_expired(clock.now());
        match answer {
            Ok(ProviderAnswer::Paid) => Next::Fate(
                ProductCommand::SettleInvest {
                    invest_id: due.invest_id,
                }
                .into(),
            ),
            Ok(
                ProviderAnswer::Cancelled | ProviderAnswer::Refused(_) | ProviderAnswer::Refunded,
            ) if expired => Next::Fate(UntimedCommand::Expire(due.invest_id)),
            Ok(ProviderAnswer::Cancelled) => fail(
                due,
                "PAYMENT_TIMEOUT",
                "the payment was not made in time and was cancelled",
            ),
            Ok(ProviderAnswer::Refused(reason)) => declined(due, &reason),
            Ok(ProviderAnswer::Refunded) => declined(due, REFUNDED_BY_PROVIDER),
            Ok(ProviderAnswer::Pending | ProviderAnswer::NeverHeard) | Err(_) => {
                Next::Later { cancelling: true }
            }
        }
    }

    /// The payment of a withdrawn reservation may be under way: it is cancelled, or refunded if that is too late.
    async fn cancel_withdrawn(
        &self,
        due: &OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) -> Next {
        match self
            .calls
            .ask(ProviderCall::Cancel, due, clock, call_permit)
            .await
        {
            Ok(
                ProviderAnswer::Cancelled | ProviderAnswer::Refused(_) | ProviderAnswer::Refunded,
            ) => Next::Fate(due.refunded().into()),
            Ok(ProviderAnswer::Paid) => self.refund(due, clock, None).await,
            Ok(ProviderAnswer::Pending | ProviderAnswer::NeverHeard) | Err(_) => {
                Next::Later { cancelling: true }
            }
        }
    }

    /// Asked until the provider says that the money is given back, or that it never came.
    async fn refund(
        &self,
        due: &OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) -> Next {
        match self
            .calls
            .ask(ProviderCall::Refund, due, clock, call_permit)
            .await
        {
            Ok(
                ProviderAnswer::Refunded | ProviderAnswer::Cancelled | ProviderAnswer::Refused(_),
            ) => Next::Fate(due.refunded().into()),
            Ok(ProviderAnswer::Pending | ProviderAnswer::Paid | ProviderAnswer::NeverHeard)
            | Err(_) => Next::Later { cancelling: true },
        }
    }

    /// Releases the claim. When this fails, the invest is due when its claim ends; if it was to be cancelled, its payment is requested
    /// once more, which is the same payment to the provider.
    async fn release(&self, due: &OpenInvestTask, cancelling: bool) {
        let after = self.timeouts.retry_delay(due.attempts, due.invest_id);
        let released = work_list::release(
            self.processors.log(),
            &self.pool,
            due.invest_id,
            after,
            cancelling,
        )
        .await;
        if let Err(error) = released
            && !POSTGRESQL.explains_failures()
        {
            tracing::warn!(invest_id = %due.invest_id, %error, "the claim of an open invest was not released; it is due when the claim ends");
        }
        if due.cancelling && due.attempts == ALERT_AFTER_ATTEMPTS {
            tracing::error!(
                invest_id = %due.invest_id,
                "the payment provider does not say what became of this payment: look it up there; its reservation stays \
                 open, and Moa keeps asking"
            );
        }
    }
}

impl OpenInvestTask {
    /// Whether it is only to be cancelled: its payment was requested without an answer, or its time is over.
    pub(super) fn is_in_trouble(&self, now: DateTime<Utc>) -> bool {
        self.cancelling || self.has_expired(now)
    }

    fn has_expired(&self, now: DateTime<Utc>) -> bool {
        self.expires_at <= now
    }
}

/// The provider's reason is kept in the log and shown to users, redacted.
fn declined(due: &OpenInvestTask, reason: &str) -> Next {
    fail(due, "PAYMENT_DECLINED", &redact(reason))
}

fn fail(due: &OpenInvestTask, code: &str, detail: &str) -> Next {
    match FailReason::new(code, detail) {
        Ok(reason) => Next::Fate(
            ProductCommand::FailInvest {
                invest_id: due.invest_id,
                reason,
            }
            .into(),
        ),
        Err(error) => {
            tracing::error!(invest_id = %due.invest_id, %error, "an open invest got no fate");
            Next::Later { cancelling: true }
        }
    }
}
