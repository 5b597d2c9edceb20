//! Every call to a provider over HTTP goes through here: so many at a time, through the circuit breaker, counted, and
//! written down.

use super::answer::{Answer, Asked, NoAnswer};
use super::circuit::Circuit;
use super::reason::told;
use super::{Due, Http};
use crate::recorder::{PaymentCall, Recorder};
use chrono::{DateTime, Utc};
use event_log::DatabaseClock;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Calls under way at a time, in one process.
const CALLS: usize = 64;

pub(super) struct Calls {
    http: Http,
    slots: Semaphore,
    circuit: Circuit,
    recorder: Option<Recorder>,
}

impl Calls {
    pub(super) fn to(http: Http, recorder: Option<Recorder>) -> Self {
        let circuit = Circuit::new(http.waits());
        Self { http, slots: Semaphore::new(CALLS), circuit, recorder }
    }

    /// Asks the provider once, when it is this call's turn within the time of a call and the provider is not left alone.
    pub(super) async fn ask(&self, asked: Asked, due: &Due, clock: DatabaseClock) -> Result<Answer, NoAnswer> {
        let Ok(Ok(_slot)) = timeout(self.http.waits().call, self.slots.acquire()).await else {
            return Err(NoAnswer::NotAsked);
        };
        let Some(pass) = self.circuit.admit(Instant::now()) else { return Err(NoAnswer::NotAsked) };
        let (asked_at, began) = (clock.now(), Instant::now());
        let answer = self.http.ask(asked, due).await;
        self.note(asked, due, &answer, asked_at, began);
        match &answer {
            Ok(answer) => {
                pass.answered();
                count(answer.name());
            }
            Err(error) => {
                tracing::debug!(invest_id = %due.invest_id, ?asked, %error, "the payment provider did not answer");
                pass.unanswered(Instant::now(), &error.to_string());
                count(error.name());
            }
        }
        answer
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

    /// How many new payments to begin with, when `usual` would do with a provider that answers.
    pub(super) fn room(&self, usual: usize) -> usize {
        self.circuit.room(usual, Instant::now())
    }

    /// From now on no call is begun; those under way go on.
    pub(super) fn close(&self) {
        self.slots.close();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.slots.is_closed()
    }
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
        Err(NoAnswer::Unanswered(why)) => ("UNANSWERED", Some(told(why))),
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("moa_payments_total", "outcome" => outcome).increment(1);
}
