//! The record of operators' acts, beside the log: who did what, and what came of it.
//!
//! An act is recorded before it takes effect, on the disk; where that cannot be done, it is not begun. What came of it is a record of its
//! own, so that nothing is ever rewritten. `moa_record_act()` in `migrations/0020_acts.sql` numbers, dates and hashes the rows, one after
//! another, and nobody but the owner of the table can insert any other.

mod stored;

pub use log_format::StoredAct;
pub use stored::read_after;

use connection_pool::Pool;
use serde_json::{Value, json};
use std::future::Future;
use std::time::Duration;
use tokio::time::timeout;
use tracing::Instrument as _;

/// How long recording may take before the caller is told to try later.
const RECORD_TIMEOUT: Duration = Duration::from_secs(4);
/// Characters of a subject that are kept.
const MAX_SUBJECT_CHARS: usize = 200;

/// Every act there is, by its name.
pub const ACTS: [&str; 14] = [
    "OPEN_PRODUCT",
    "CLOSE_PRODUCT",
    "CANCEL_PRODUCT",
    "REBUILD",
    "DIFF",
    "SWITCH",
    "ROLLBACK",
    "PAUSE",
    "RESUME",
    "DROP_STANDBYS",
    "DROP_PARKED",
    "ACCEPT_LOSS",
    "ACCEPT_CLOCK",
    "REPLAY",
];

/// Who acts: the name of a token, or nobody but the database's login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ActBy {
    /// Whoever shows the operator's token of this name.
    Operator(String),
    /// A command that works in the database itself, and knows its login alone.
    Direct,
}

impl ActBy {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Operator(name) => Some(name),
            Self::Direct => None,
        }
    }

    fn role(&self) -> &'static str {
        match self {
            Self::Operator(_) => "OPERATOR",
            Self::Direct => "DIRECT",
        }
    }
}

/// An act that is about to begin.
#[derive(Clone, Debug)]
pub struct NewAct {
    /// Who acts.
    pub by: ActBy,
    /// What: one of [`ACTS`].
    pub act: &'static str,
    /// On what, such as `product 7` or `holdings`. Its beginning is kept.
    pub subject: String,
    /// How: an object. It must hold no personal data, because it is never rewritten.
    pub parameters: Value,
    /// The request that asks for it.
    pub correlation_id: Option<String>,
}

/// What came of an act.
#[derive(Clone, Debug, PartialEq)]
pub enum ActOutcome {
    /// It took effect; an object says how.
    Done(Value),
    /// Nothing happened, with the code that says why.
    Refused(String),
    /// It may have taken effect, or a part of it, with the code that says why that is not known.
    Failed(String),
}

impl ActOutcome {
    fn name(&self) -> &'static str {
        match self {
            Self::Done(_) => "DONE",
            Self::Refused(_) => "REFUSED",
            Self::Failed(_) => "FAILED",
        }
    }

    fn parameters(&self) -> Value {
        match self {
            Self::Done(how) if how.is_object() => how.clone(),
            Self::Done(_) => json!({}),
            Self::Refused(code) | Self::Failed(code) => json!({ "code": code }),
        }
    }
}

/// An act could not be recorded, so it was not begun: try it again.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The database refused the record, or is away.
    #[error("the act cannot be recorded, so it was not begun: {0}")]
    Database(#[from] sqlx::Error),
    /// The database does not answer.
    #[error("the act cannot be recorded, so it was not begun: the database does not answer")]
    TimedOut,
    /// The work itself broke down; whether it took effect is not known.
    #[error("the act was begun and broke down: {0}")]
    Broken(#[from] tokio::task::JoinError),
}

/// Records acts; clones are cheap. Its login must be a member of `moa_writer` or `moa_relay`.
#[derive(Clone, Debug)]
pub struct Acts {
    pool: Pool,
}

impl Acts {
    /// Over `pool`, which may write.
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Records `act`, does `work`, and records what `outcome` says came of it. The work is done to its end even when the caller goes
    /// away.
    ///
    /// # Errors
    /// The act could not be recorded, and was not begun. An outcome that cannot be recorded is logged: the act stands without one.
    pub async fn perform<T: Send + 'static>(
        &self,
        act: NewAct,
        work: impl Future<Output = T> + Send + 'static,
        outcome: impl FnOnce(&T) -> ActOutcome + Send + 'static,
    ) -> Result<T, ActError> {
        let acts = self.clone();
        let doing = async move {
            let number = acts.record(&act, None).await?;
            let done = work.await;
            acts.end(&act, number, &outcome(&done)).await;
            Ok(done)
        };
        tokio::spawn(doing.in_current_span()).await?
    }

    async fn end(&self, act: &NewAct, number: i64, outcome: &ActOutcome) {
        let NewAct {
            by,
            act: what,
            subject,
            ..
        } = act;
        let (actor, role) = (by.name(), by.role());
        let (outcome_name, how) = (outcome.name(), outcome.parameters());
        tracing::info!(number, actor, role, act = what, subject, outcome = outcome_name, %how, "an operator acted");
        if let Err(error) = self.record(act, Some((number, outcome))).await {
            tracing::error!(%error, number, outcome = outcome_name, "the outcome of an act cannot be recorded");
        }
    }

    /// Adds a row: of the act, or of its outcome. Returns its number.
    async fn record(
        &self,
        act: &NewAct,
        outcome: Option<(i64, &ActOutcome)>,
    ) -> Result<i64, ActError> {
        let subject: String = act
            .subject
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_SUBJECT_CHARS)
            .collect();
        let parameters = outcome.map_or_else(
            || act.parameters.clone(),
            |(_, outcome)| outcome.parameters(),
        );
        let recording = sqlx::query_scalar("select moa_record_act($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(act.by.name())
            .bind(act.by.role())
            .bind(act.act)
            .bind(subject)
            // Written by serde_json on one line, where a line feed is escaped.
            .bind(parameters.to_string())
            .bind(act.correlation_id.as_deref())
            .bind(outcome.map(|(of, _)| of))
            .bind(outcome.map(|(_, outcome)| outcome.name()))
            .fetch_one(&self.pool);
        Ok(timeout(RECORD_TIMEOUT, recording)
            .await
            .map_err(|_| ActError::TimedOut)??)
    }
}
