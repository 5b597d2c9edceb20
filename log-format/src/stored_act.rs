//! Acts as they are stored. How the hash is computed is in `docs/proof-format.md`.

use chrono::{DateTime, Utc};

/// A row of the record, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAct {
    /// Its number, from 1.
    pub number: i64,
    /// When, by the database's clock.
    pub at: DateTime<Utc>,
    /// The database's login.
    pub login: String,
    /// The name of the token; the login where there is none.
    pub actor: String,
    /// `OPERATOR` or `DIRECT`.
    pub role: String,
    /// What was done.
    pub act: String,
    /// To what.
    pub subject: String,
    /// How, or what came of it: the stored text of an object.
    pub parameters: String,
    /// The request that asked for it.
    pub correlation_id: Option<String>,
    /// The act that this is the outcome of.
    pub outcome_of: Option<i64>,
    /// `DONE`, `REFUSED` or `FAILED`.
    pub outcome: Option<String>,
    /// Covers all of it, and the row before.
    pub hash: Vec<u8>,
}
