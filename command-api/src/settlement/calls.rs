//! Every call to a provider over HTTP goes through here: so many at a time, through the circuit breaker, counted, and
//! written down. First calls never wait for all the others: they have slots that no other call gets.

use super::answer::{Answer, Asked, NoAnswer};
use super::circuit::{Circuit, Failure, Pass, Purpose, Seems};
use super::reason::told;
use super::{Due, Http};
use crate::recorder::{PaymentCall, Recorder};
use chrono::{DateTime, Utc};
use event_log::DatabaseClock;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep_until, timeout};

/// Calls under way at a time, in one process.
const MAX_CONCURRENT_CALLS: usize = 64;
/// So many of them may be others than the first call about a reservation: looks, cancels, retries.
const MAX_CONCURRENT_FOLLOW_UPS: usize = 48;

pub(super) struct Calls {
    http: Http,
    slots: Arc<Semaphore>,
    follow_up_slots: Arc<Semaphore>,
    circuit: Arc<Circuit>,
    recorder: Option<Recorder>,
    ended: Notify,
}

/// Leave to make one call now.
pub(super) struct Turn {
    pass: Pass,
    _slots: (OwnedSemaphorePermit, Option<OwnedSemaphorePermit>),
}

impl Calls {
    pub(super) fn to(http: Http, recorder: Option<Recorder>) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_CONCURRENT_CALLS)),
            follow_up_slots: Arc::new(Semaphore::new(MAX_CONCURRENT_FOLLOW_UPS)),
            circuit: Arc::new(Circuit::new(http.waits())),
            http,
            recorder,
            ended: Notify::new(),
        }
    }

    /// A turn for the first call about a reservation, if there is one now.
    pub(super) fn first_call(&self) -> Option<Turn> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let pass = self.circuit.admit(Purpose::FirstCall, Instant::now())?;
        Some(Turn { pass, _slots: (slot, None) })
    }

    /// A turn for a payment in trouble, if there is one now.
    pub(super) fn retry(&self) -> Option<Turn> {
        let follow_up = self.follow_up_slots.clone().try_acquire_owned().ok()?;
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let pass = self.circuit.admit(Purpose::Retry, Instant::now())?;
        Some(Turn { pass, _slots: (slot, Some(follow_up)) })
    }

    /// A turn for any other call, when it comes within the time of a call and the provider is not left alone then.
    async fn follow_up(&self) -> Option<Turn> {
        let both = async {
            let follow_up = self.follow_up_slots.clone().acquire_owned().await.ok()?;
            Some((self.slots.clone().acquire_owned().await.ok()?, Some(follow_up)))
        };
        let _slots = timeout(self.http.waits().call, both).await.ok()??;
        let pass = self.circuit.admit(Purpose::FollowUp, Instant::now())?;
        Some(Turn { pass, _slots })
    }

    /// Asks the provider once, in this turn, or else when there is one.
    pub(super) async fn ask(
        &self,
        asked: Asked,
        due: &Due,
        clock: DatabaseClock,
        turn: Option<Turn>,
    ) -> Result<Answer, NoAnswer> {
        let turn = match turn {
            Some(turn) => turn,
            None => self.follow_up().await.ok_or(NoAnswer::NotAsked)?,
        };
        let (asked_at, began) = (clock.now(), Instant::now());
        let answer = self.http.ask(asked, due).await;
        self.note(asked, due, &answer, asked_at, began);
        match &answer {
            Ok(answer) => {
                turn.pass.answered(Instant::now());
                count(answer.name());
            }
            Err(error) => {
                tracing::debug!(invest_id = %due.invest_id, ?asked, %error, "the payment provider did not answer");
                turn.pass.unanswered(Instant::now(), failure(due, error));
                count(error.name());
            }
        }
        drop(turn._slots);
        self.ended.notify_one();
        answer
    }

    /// Until a call ends, or at once if one has ended since this was asked last.
    pub(super) async fn call_ended(&self) {
        self.ended.notified().await;
    }

    fn note(
        &self,
        asked: Asked,
        due: &Due,
        answer: &Result<Answer, NoAnswer>,
        asked_at: DateTime<Utc>,
        began: Instant,
    ) {
        let Some(recorder) = &self.recorder else { return };
        let (answer, detail) = in_words(answer);
        recorder.payment_calls.note(PaymentCall {
            invest_id: due.invest_id,
            asked_at,
            call: asked.name(),
            answer,
            detail,
            took: began.elapsed(),
            attempt: due.attempts,
        });
    }

    /// Whether the provider answers nobody: then there are only probes, one at a time.
    pub(super) fn is_left_alone(&self) -> bool {
        self.circuit.is_open()
    }

    /// Until the next probe for a first call may begin; for ever when there is none to wait for, or it might have begun.
    pub(super) async fn probe_is_due(&self) {
        match self.circuit.next_first_call().filter(|due| *due > Instant::now()) {
            Some(due) => sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    }

    /// Whether the provider is left alone, and a payment in trouble is to be the next probe.
    pub(super) fn owes_a_retry(&self) -> bool {
        self.circuit.owes_a_retry(Instant::now())
    }

    /// There is no payment in trouble that is due.
    pub(super) fn has_no_retry(&self) {
        self.circuit.has_no_retry(Instant::now());
    }

    /// From now on no call is begun; those under way go on.
    pub(super) fn close(&self) {
        self.slots.close();
        self.follow_up_slots.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.slots.is_closed()
    }
}

/// What an error says about the payment, and about the provider. Where nothing could be sent the payment has no part in it.
fn failure(due: &Due, error: &NoAnswer) -> Failure {
    let (is_news, provider) = match error {
        NoAnswer::NotReached(_) => (true, Seems::Silent),
        NoAnswer::Unanswered(_) | NoAnswer::NotAsked => (!due.cancelling, Seems::Silent),
        NoAnswer::Undecided(_) => (!due.cancelling, Seems::Failing),
    };
    Failure { into_trouble: is_news.then_some(due.invest_id), provider, why: error.to_string() }
}

/// An answer as it is written down, and why it is none.
fn in_words(answer: &Result<Answer, NoAnswer>) -> (&'static str, Option<String>) {
    match answer {
        Ok(Answer::Paid) => ("PAID", None),
        Ok(Answer::Refused(reason)) => ("REFUSED", Some(told(reason)).filter(|reason| !reason.is_empty())),
        Ok(Answer::Pending) => ("PENDING", None),
        Ok(Answer::Cancelled) => ("CANCELLED", None),
        Ok(Answer::NeverHeard) => ("NEVER_HEARD", None),
        Err(NoAnswer::NotAsked) => ("NOT_ASKED", None),
        Err(NoAnswer::NotReached(why)) => ("NOT_REACHED", Some(told(why))),
        Err(NoAnswer::Unanswered(why) | NoAnswer::Undecided(why)) => ("UNANSWERED", Some(told(why))),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("moa_payments_total", "outcome" => outcome).increment(1);
}
