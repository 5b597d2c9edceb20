//! What the clients saw: each request with its answer, and when it was sent and answered by their own clock.

use std::sync::{Arc, Mutex};
use std::time::Instant;
use uuid::Uuid;

/// An invest to be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ask {
    pub user: String,
    pub product: i64,
    pub amount: i64,
    pub key: Option<String>,
}

pub fn ask(user: impl Into<String>, product: i64, amount: i64) -> Ask {
    Ask {
        user: user.into(),
        product,
        amount,
        key: None,
    }
}

impl Ask {
    pub fn with_key(self, key: impl Into<String>) -> Self {
        Self {
            key: Some(key.into()),
            ..self
        }
    }
}

/// What a client knows after its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Accepted {
        invest_id: Uuid,
    },
    /// Certainly not accepted: the code says why.
    Refused {
        code: String,
        remaining: Option<i64>,
    },
    /// It may have happened: no answer, an answer that says so, or an internal error.
    Unknown(String),
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Call {
    pub ask: Ask,
    /// Sent as `X-Correlation-Id`, so that the log tells which request an event goes back to.
    pub correlation: String,
    pub api: usize,
    pub sent: Instant,
    pub answered: Instant,
    pub outcome: Outcome,
    /// The answer says that it was given before.
    pub replayed: bool,
    pub token: Option<String>,
}

impl Call {
    pub fn is_accepted(&self) -> bool {
        matches!(self.outcome, Outcome::Accepted { .. })
    }

    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown(_))
    }

    pub fn is_refused(&self, with: &str) -> bool {
        matches!(&self.outcome, Outcome::Refused { code, .. } if code == with)
    }

    pub fn invest_id(&self) -> Option<Uuid> {
        match self.outcome {
            Outcome::Accepted { invest_id } => Some(invest_id),
            Outcome::Refused { .. } | Outcome::Unknown(_) => None,
        }
    }
}

/// Every call of every client of a app.
#[derive(Clone, Default)]
pub struct Journal {
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Journal {
    pub fn write(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }

    pub fn read(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub fn count(&self, of: impl Fn(&Call) -> bool) -> usize {
        self.calls
            .lock()
            .unwrap()
            .iter()
            .filter(|call| of(call))
            .count()
    }
}
