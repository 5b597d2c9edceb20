//! The values that commands and events are made of. Each is parsed once, at the door; after that nobody checks again.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// The largest amount, in whole won, of one invest and of a product's total.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000;
const MAX_USER_ID_BYTES: usize = 100;
const MAX_TITLE_CHARS: usize = 500;
const MAX_CANCEL_REASON_CHARS: usize = 500;
const MAX_FAIL_CODE_BYTES: usize = 64;
const MAX_FAIL_DETAIL_CHARS: usize = 500;

/// A value outside its bounds. Says what would be right, never what was given: the door knows that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValueError(pub &'static str);

/// Which product. From 1, given by the log when a product is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct ProductId(i64);

impl ProductId {
    /// The number itself.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for ProductId {
    type Error = InvalidValueError;
    fn try_from(id: i64) -> Result<Self, InvalidValueError> {
        if id < 1 {
            Err(InvalidValueError("must be a whole number from 1"))
        } else {
            Ok(Self(id))
        }
    }
}

impl From<ProductId> for i64 {
    fn from(id: ProductId) -> i64 {
        id.0
    }
}

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which invest. A uuid v7, made when the request is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InvestId(pub Uuid);

impl fmt::Display for InvestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whole won, 1 to [`MAX_AMOUNT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Amount(i64);

impl Amount {
    /// Whole won.
    pub fn won(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for Amount {
    type Error = InvalidValueError;
    fn try_from(won: i64) -> Result<Self, InvalidValueError> {
        if (1..=MAX_AMOUNT).contains(&won) {
            Ok(Self(won))
        } else {
            Err(InvalidValueError(
                "must be a whole number from 1 to 1000000000000",
            ))
        }
    }
}

impl From<Amount> for i64 {
    fn from(amount: Amount) -> i64 {
        amount.0
    }
}

/// Whose money: 1 to 100 of `A-Z a-z 0-9 . _ -`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// The id as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidValueError;
    fn try_from(id: String) -> Result<Self, InvalidValueError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if (1..=MAX_USER_ID_BYTES).contains(&id.len()) && id.bytes().all(allowed) {
            Ok(Self(id))
        } else {
            Err(InvalidValueError("must be 1 to 100 of A-Z a-z 0-9 . _ -"))
        }
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> String {
        id.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A product's name: 1 to 500 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Title(String);

impl Title {
    /// The title as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Title {
    type Error = InvalidValueError;
    fn try_from(title: String) -> Result<Self, InvalidValueError> {
        if (1..=MAX_TITLE_CHARS).contains(&title.chars().count())
            && !title.chars().any(char::is_control)
        {
            Ok(Self(title))
        } else {
            Err(InvalidValueError(
                "must be 1 to 500 characters without control characters",
            ))
        }
    }
}

impl From<Title> for String {
    fn from(title: Title) -> String {
        title.0
    }
}

/// Why an operator cancelled a product, for people: 1 to 500 characters, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CancelReason(String);

impl CancelReason {
    /// The reason as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CancelReason {
    type Error = InvalidValueError;
    fn try_from(reason: String) -> Result<Self, InvalidValueError> {
        if (1..=MAX_CANCEL_REASON_CHARS).contains(&reason.chars().count())
            && !reason.chars().any(char::is_control)
        {
            Ok(Self(reason))
        } else {
            Err(InvalidValueError(
                "must be 1 to 500 characters without control characters",
            ))
        }
    }
}

impl From<CancelReason> for String {
    fn from(reason: CancelReason) -> String {
        reason.0
    }
}

/// When a product takes invests: from `started_at`, up to but not at `finished_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
}

impl Window {
    /// A window that holds at least one instant.
    pub fn new(
        started_at: DateTime<Utc>,
        finished_at: DateTime<Utc>,
    ) -> Result<Self, InvalidValueError> {
        if started_at < finished_at {
            Ok(Self {
                started_at,
                finished_at,
            })
        } else {
            Err(InvalidValueError("must be later than startedAt"))
        }
    }

    /// The first instant inside.
    pub fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// The first instant after.
    pub fn finished_at(&self) -> DateTime<Utc> {
        self.finished_at
    }
}

/// Why a reserved invest came to nothing; shown to its user as `CODE : detail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailReason {
    code: String,
    detail: String,
}

impl FailReason {
    /// `code`: 1 to 64 of `A-Z 0-9 _`. `detail`: at most 500 characters, none of them control characters.
    pub fn new(
        code: impl Into<String>,
        detail: impl Into<String>,
    ) -> Result<Self, InvalidValueError> {
        let (code, detail) = (code.into(), detail.into());
        let allowed = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if !(1..=MAX_FAIL_CODE_BYTES).contains(&code.len()) || !code.bytes().all(allowed) {
            return Err(InvalidValueError(
                "a fail code must be 1 to 64 of A-Z 0-9 _",
            ));
        }
        if detail.chars().count() > MAX_FAIL_DETAIL_CHARS || detail.chars().any(char::is_control) {
            return Err(InvalidValueError(
                "a fail detail must be at most 500 characters without control characters",
            ));
        }
        Ok(Self { code, detail })
    }

    /// The reservation was not settled before its `expires_at`.
    pub fn expired(expires_at: DateTime<Utc>) -> Self {
        Self {
            code: "EXPIRED".into(),
            detail: expires_at.to_rfc3339(),
        }
    }

    /// The machine's half.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The reader's half.
    pub fn detail(&self) -> &str {
        &self.detail
    }
}
