//! All calls to a provider over HTTP: a bounded number at a time, through the circuit breaker, counted and recorded. First calls have slots
//! that no other call gets, so they never wait for all the others.

use super::circuit_breaker::{CircuitBreaker, Failure, Permit, ProviderState, Purpose};
use super::protocol::{ProviderAnswer, ProviderCall, ProviderError};
use super::redact::redact;
use super::{Http, OpenInvestTask};
use crate::recorder::{PaymentCall, Recorder};
use chrono::{DateTime, Utc};
use event_log::DatabaseClock;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout};

/// Calls in flight in one process.
const MAX_CONCURRENT_CALLS: usize = 64;
/// Calls among them that are not the first about a reservation: queries, cancels, retries.
const MAX_CONCURRENT_FOLLOW_UPS: usize = 48;

pub(super) struct Calls {
    http: Http,
    slots: Arc<Semaphore>,
    follow_up_slots: Arc<Semaphore>,
    circuit: Arc<CircuitBreaker>,
    recorder: Option<Recorder>,
    ended: Notify,
}

/// A permit to make one call now.
pub(super) struct CallPermit {
    circuit_permit: Permit,
    _slots: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Calls {
    pub(super) fn to(http: Http, recorder: Option<Recorder>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_CONCURRENT_CALLS)),
            follow_up_slots: Arc::new(Semaphore::new(MAX_CONCURRENT_FOLLOW_UPS)),
            circuit: Arc::new(CircuitBreaker::new(http.timeouts())),
            http,
            recorder,
            ended: Notify::new(),
        }
    }

    /// A permit for the first call about a reservation, if there is one now.
    pub(super) fn first_call(&self) -> Option<CallPermit> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let circuit_permit = self
            .circuit
            .try_acquire(Purpose::FirstCall, Instant::now())?;
        Some(CallPermit {
            circuit_permit,
            _slots: (slot, None),
        })
    }

    /// A permit to retry a payment in trouble, if there is one now.
    pub(super) fn retry(&self) -> Option<CallPermit> {
        let follow_up = self.follow_up_slots.clone().try_acquire_owned().ok()?;
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let circuit_permit = self.circuit.try_acquire(Purpose::Retry, Instant::now())?;
        Some(CallPermit {
            circuit_permit,
            _slots: (slot, Some(follow_up)),
        })
    }

    /// A permit for any other call, within the time-out of a call, unless the circuit is open then.
    async fn follow_up(&self) -> Option<CallPermit> {
        let both = async {
            let follow_up = self.follow_up_slots.clone().acquire_owned().await.ok()?;
            Some((
                self.slots.clone().acquire_owned().await.ok()?,
                Some(follow_up),
            ))
        };
        let _slots = timeout(self.http.timeouts().call, both).await.ok()??;
        let circuit_permit = self
            .circuit
            .try_acquire(Purpose::FollowUp, Instant::now())?;
        Some(CallPermit {
            circuit_permit,
            _slots,
        })
    }

    /// Makes one call, with this permit or else when there is one.
    pub(super) async fn ask(
        &self,
        asked: ProviderCall,
        due: &OpenInvestTask,
        clock: DatabaseClock,
        call_permit: Option<CallPermit>,
    ) -> Result<ProviderAnswer, ProviderError> {
        let call_permit = match call_permit {
            Some(call_permit) => call_permit,
            None => self.follow_up().await.ok_or(ProviderError::NotAsked)?,
        };
        let (asked_at, began) = (clock.now(), Instant::now());
        let answer = self.http.ask(asked, due).await;
        self.record(asked, due, &answer, asked_at, began);
        match &answer {
            Ok(answer) => {
                call_permit.circuit_permit.answered(Instant::now());
                count(answer.name());
            }
            Err(error) => {
                tracing::debug!(invest_id = %due.invest_id, ?asked, %error, "the payment provider did not answer");
                call_permit
                    .circuit_permit
                    .unanswered(Instant::now(), failure(due, error));
                count(error.name());
            }
        }
        drop(call_permit._slots);
        self.ended.notify_one();
        answer
    }

    /// Completes when a call ends, or at once if one has ended since the last time.
    pub(super) async fn call_ended(&self) {
        self.ended.notified().await;
    }

    fn record(
        &self,
        asked: ProviderCall,
        due: &OpenInvestTask,
        answer: &Result<ProviderAnswer, ProviderError>,
        asked_at: DateTime<Utc>,
        began: Instant,
    ) {
        let Some(recorder) = &self.recorder else {
            return;
        };
        let (answer, detail) = in_words(answer);
        recorder.payment_calls.record(PaymentCall {
            invest_id: due.invest_id,
            asked_at,
            call: asked.name(),
            answer,
            detail,
            took: began.elapsed(),
            attempt: due.attempts,
        });
    }

    /// Whether the circuit is open: then there are only probes, one at a time.
    pub(super) fn circuit_is_open(&self) -> bool {
        self.circuit.is_open()
    }

    /// Completes when the next probe for a first call may begin; never when there is none to wait for.
    pub(super) async fn probe_is_due(&self) {
        match self
            .circuit
            .next_first_call()
            .filter(|due| *due > Instant::now())
        {
            Some(due) => sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Whether the circuit is open, and a payment in trouble may be the next probe.
    pub(super) fn is_retry_due(&self) -> bool {
        self.circuit.is_retry_due(Instant::now())
    }

    /// There is no payment in trouble that is due.
    pub(super) fn no_retry_is_due(&self) {
        self.circuit.no_retry_is_due(Instant::now());
    }

    /// Begins no more calls; those in flight continue.
    pub(super) fn close(&self) {
        self.slots.close();
        self.follow_up_slots.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.slots.is_closed()
    }
}

/// What an error says about the payment, and about the provider.
fn failure(due: &OpenInvestTask, error: &ProviderError) -> Failure {
    let (is_news, provider) = match error {
        ProviderError::NotReached(_) => (true, ProviderState::Silent),
        ProviderError::Unanswered(_) | ProviderError::NotAsked => {
            (!due.cancelling, ProviderState::Silent)
        }
        ProviderError::Undecided(_) => (!due.cancelling, ProviderState::Failing),
    };
    Failure {
        into_trouble: is_news.then_some(due.invest_id),
        provider,
        why: error.to_string(),
    }
}

/// An answer in its stored words, with the provider's reason or the error.
fn in_words(answer: &Result<ProviderAnswer, ProviderError>) -> (&'static str, Option<String>) {
    match answer {
        Ok(ProviderAnswer::Paid) => ("PAID", None),
        Ok(ProviderAnswer::Refused(reason)) => (
            "REFUSED",
            Some(redact(reason)).filter(|reason| !reason.is_empty()),
        ),
        Ok(ProviderAnswer::Pending) => ("PENDING", None),
        Ok(ProviderAnswer::Cancelled) => ("CANCELLED", None),
        Ok(ProviderAnswer::Refunded) => ("REFUNDED", None),
        Ok(ProviderAnswer::NeverHeard) => ("NEVER_HEARD", None),
        Err(ProviderError::NotAsked) => ("NOT_ASKED", None),
        Err(ProviderError::NotReached(why)) => ("NOT_REACHED", Some(redact(why))),
        Err(ProviderError::Unanswered(why) | ProviderError::Undecided(why)) => {
            ("UNANSWERED", Some(redact(why)))
        }
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("moa_payments_total", "outcome" => outcome).increment(1);
}
