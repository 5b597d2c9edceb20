//! Every call to a provider over HTTP goes through here: so many at a time, through the circuit breaker, counted.

use super::answer::{Answer, Asked, NoAnswer};
use super::circuit::Circuit;
use super::{Due, Http};
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Calls under way at a time, in one process.
const CALLS: usize = 64;

pub(super) struct Calls {
    http: Http,
    slots: Semaphore,
    circuit: Circuit,
}

impl Calls {
    pub(super) fn to(http: Http) -> Self {
        let circuit = Circuit::new(http.waits());
        Self { http, slots: Semaphore::new(CALLS), circuit }
    }

    /// Asks the provider once, when it is this call's turn within the time of a call and the provider is not left alone.
    pub(super) async fn ask(&self, asked: Asked, due: &Due) -> Result<Answer, NoAnswer> {
        let Ok(Ok(_slot)) = timeout(self.http.waits().call, self.slots.acquire()).await else {
            return Err(NoAnswer::NotAsked);
        };
        let Some(pass) = self.circuit.admit(Instant::now()) else { return Err(NoAnswer::NotAsked) };
        let answer = self.http.ask(asked, due).await;
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

fn count(outcome: &'static str) {
    metrics::counter!("moa_payments_total", "outcome" => outcome).increment(1);
}
