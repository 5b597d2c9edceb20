//! What every answer that is not a success says.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use domain::InvestId;
use std::borrow::Cow;
use std::error::Error;

use crate::request_limits::{
    BODY_TIMEOUT, HEAD_TIMEOUT, MAX_BODY_BYTES, MAX_HEAD_BYTES, MAX_HEADERS, MAX_URI_BYTES,
};
use crate::{AuthFault, FieldProblem, OverRate, header as ours};

/// When a caller that met overload, a limit or a lost answer may try again, in seconds.
const RETRY_AFTER_SECONDS: u16 = 1;

const TOKEN_OUTDATED: &str =
    "The log lost events since this token was given, read again without it : ";
const KEY_REUSED: &str = "Idempotency-Key was used for another request, take a new key : ";
const OVERLOADED: &str = "Overloaded and not accepted, try again later : ";
const RATE_LIMITED: &str = "Too many requests and not accepted, try again later : ";
const OUTCOME_UNKNOWN: &str = "Outcome is unknown, look before trying again : ";
const WRONG_HOST: &str = "Not for this host, use localhost or this listener's address, or add the name to MOA_ALLOWED_HOSTS : ";
/// Ends in the correlation id once the middleware has added it.
pub(crate) const INTERNAL_ERROR: &str = "Internal error : ";

/// What was not done, and what the caller should do about it. One row of the contract's table each.
#[derive(Debug)]
pub enum Problem {
    /// No product with this id: check the id.
    NotExistProduct,
    /// The total would be exceeded: ask for at most `remaining`.
    SoldOut {
        /// What is left, in won.
        remaining: i64,
    },
    /// Below the product's minimum: ask for `smallest` or more.
    BelowMinimum {
        /// The smallest amount that the product takes, in won.
        smallest: i64,
    },
    /// No multiple of the product's unit: ask for one.
    NotAMultiple {
        /// The unit, in won.
        unit: i64,
    },
    /// The user would have more of the product than its terms allow: ask for at most `remaining`.
    LimitExceeded {
        /// What the user may still have, in won.
        remaining: i64,
    },
    /// Before `startedAt`: come back then.
    NotStarted,
    /// At or after `finishedAt`: choose another product.
    Finished,
    /// Closed by its operator: choose another product.
    Closed,
    /// Cancelled by its operator: choose another product.
    Cancelled,
    /// It missed its target: choose another product.
    Failed,
    /// No invest with this id, or another user's: check the id.
    NotExistInvest,
    /// Its product gives no such right, the right is over, or the invest does not stand any more: look at the invest log.
    NotWithdrawable,
    /// Send exactly one good `X-USER-ID`.
    MissingUserId,
    /// Put right each of these fields or parameters.
    Invalid(Vec<FieldProblem>),
    /// The log lost events since the token was given: read again without it.
    TokenOutdated,
    /// Nothing here, or nothing that this caller may know of.
    NotFound,
    /// No call has this path: see the reference.
    UnknownPath,
    /// Use one of the methods in `Allow`, which the router adds.
    MethodNotAllowed,
    /// Send `application/json`.
    UnsupportedMediaType,
    /// Send a smaller body.
    TooLarge,
    /// The body did not arrive in time: send it faster.
    TooSlow,
    /// Send a shorter target: this path or query cannot be one of ours.
    UriTooLong,
    /// Send fewer or smaller headers.
    HeadTooLarge,
    /// The head did not arrive in time: send it faster.
    HeadTooSlow,
    /// The request is for another host: use one of this listener's names, or add the name to the setting.
    WrongHost,
    /// Not as things stand: do what the sentence says first.
    Conflict(String),
    /// The key named another request: take a new one.
    IdempotencyKeyReused,
    /// Definitely not accepted: try again after the time in `Retry-After`.
    Overloaded,
    /// Definitely not accepted, too many at once of this caller's: try again after the time in `Retry-After`.
    RateLimited,
    /// Definitely not accepted, too many in a time: try again after the time in `Retry-After`.
    OverRate(OverRate),
    /// It is nobody's: prove whose it is.
    Unauthenticated(AuthFault),
    /// It may have happened: look before trying again.
    OutcomeUnknown {
        /// What to ask the invest log for, when it was an invest.
        invest_id: Option<InvestId>,
    },
    /// Send a good bearer token.
    Unauthorized,
    /// The token's role may not do this.
    Forbidden,
    /// Our fault. The source is logged once and never shown; the answer has only the correlation id.
    Internal(Box<dyn Error + Send + Sync>),
}

impl Problem {
    /// One field or parameter is wrong.
    pub fn invalid(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
    }

    /// Our fault, from any error.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// Whether it is certain that nothing was done.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Internal(_) | Self::OutcomeUnknown { .. })
    }

    /// The contract's code.
    pub fn code(&self) -> &'static str {
        self.row().1
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.row().0
    }

    /// The contract's table: status, code, message.
    pub(crate) fn row(&self) -> (StatusCode, &'static str, Cow<'static, str>) {
        let row = |status, code, message| (status, code, Cow::Borrowed(message));
        match self {
            Self::NotExistProduct => {
                row(StatusCode::OK, "NOT_EXIST_PRODUCT", "Not exist product : ")
            }
            Self::SoldOut { .. } => row(StatusCode::OK, "SOLD_OUT", "Product is sold out : "),
            Self::BelowMinimum { smallest } => (
                StatusCode::OK,
                "BELOW_MINIMUM",
                format!("Amount is below the minimum : {smallest}").into(),
            ),
            Self::NotAMultiple { unit } => (
                StatusCode::OK,
                "NOT_A_MULTIPLE",
                format!("Amount is not a multiple of the unit : {unit}").into(),
            ),
            Self::LimitExceeded { remaining } => (
                StatusCode::OK,
                "LIMIT_EXCEEDED",
                format!("Limit per user is exceeded : {remaining}").into(),
            ),
            Self::NotStarted => row(StatusCode::OK, "NOT_STARTED", "Product is not started : "),
            Self::Finished => row(StatusCode::OK, "FINISHED", "Product is finished : "),
            Self::Closed => row(StatusCode::OK, "CLOSED", "Product is closed : "),
            Self::Cancelled => row(StatusCode::OK, "CANCELLED", "Product is cancelled : "),
            Self::Failed => row(StatusCode::OK, "FAILED", "Product has failed : "),
            Self::NotExistInvest => row(StatusCode::OK, "NOT_EXIST_INVEST", "Not exist invest : "),
            Self::NotWithdrawable => row(
                StatusCode::OK,
                "NOT_WITHDRAWABLE",
                "Invest cannot be withdrawn : ",
            ),
            Self::MissingUserId => row(
                StatusCode::BAD_REQUEST,
                "MISSING_X_USER_ID",
                "Missing X-USER-ID header value : ",
            ),
            Self::Invalid(problems) => (StatusCode::BAD_REQUEST, "00", invalid(problems).into()),
            Self::TokenOutdated => row(StatusCode::BAD_REQUEST, "TOKEN_OUTDATED", TOKEN_OUTDATED),
            Self::NotFound => row(StatusCode::NOT_FOUND, "404", "Not found : "),
            Self::UnknownPath => row(
                StatusCode::NOT_FOUND,
                "404",
                "Not found : /docs lists the calls",
            ),
            Self::MethodNotAllowed => row(
                StatusCode::METHOD_NOT_ALLOWED,
                "405",
                "Method not allowed, see the Allow header : ",
            ),
            Self::UnsupportedMediaType => row(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "415",
                "Unsupported media type, send application/json : ",
            ),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "413", too_large().into()),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "408", too_slow().into()),
            Self::UriTooLong => (StatusCode::URI_TOO_LONG, "414", uri_too_long().into()),
            Self::HeadTooLarge => (
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "431",
                head_too_large().into(),
            ),
            Self::HeadTooSlow => (StatusCode::REQUEST_TIMEOUT, "408", head_too_slow().into()),
            Self::WrongHost => row(StatusCode::MISDIRECTED_REQUEST, "421", WRONG_HOST),
            Self::Conflict(why) => (StatusCode::CONFLICT, "409", format!("{why} : ").into()),
            Self::IdempotencyKeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "IDEMPOTENCY_KEY_REUSED",
                KEY_REUSED.into(),
            ),
            Self::Overloaded => (
                StatusCode::SERVICE_UNAVAILABLE,
                "OVERLOADED",
                OVERLOADED.into(),
            ),
            Self::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                RATE_LIMITED.into(),
            ),
            Self::OverRate(over) => (
                StatusCode::TOO_MANY_REQUESTS,
                "RATE_LIMITED",
                over_rate(*over).into(),
            ),
            Self::Unauthenticated(fault) => row(StatusCode::UNAUTHORIZED, "401", fault.message()),
            Self::OutcomeUnknown { .. } => (
                StatusCode::SERVICE_UNAVAILABLE,
                "OUTCOME_UNKNOWN",
                OUTCOME_UNKNOWN.into(),
            ),
            Self::Unauthorized => row(
                StatusCode::UNAUTHORIZED,
                "401",
                "Missing or wrong bearer token : ",
            ),
            Self::Forbidden => row(
                StatusCode::FORBIDDEN,
                "403",
                "The token's role may not do this : ",
            ),
            Self::Internal(_) => row(StatusCode::INTERNAL_SERVER_ERROR, "500", INTERNAL_ERROR),
        }
    }

    /// What a caller's program reads without the message.
    pub(crate) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match self {
            Self::SoldOut { remaining } => {
                headers.insert(ours::REMAINING_AMOUNT, (*remaining).into());
            }
            Self::LimitExceeded { remaining } => {
                headers.insert(ours::REMAINING_LIMIT, (*remaining).into());
            }
            Self::OutcomeUnknown {
                invest_id: Some(invest_id),
            } => {
                headers.extend(
                    HeaderValue::try_from(invest_id.to_string()).map(|id| (ours::INVEST_ID, id)),
                );
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Unauthenticated(fault) => {
                headers.insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(fault.challenge()),
                );
            }
            Self::OverRate(over) => headers.extend(over.headers()),
            Self::TooLarge | Self::TooSlow => {
                // The rest of the body is not read, so nothing after it can be.
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        if matches!(
            self,
            Self::Overloaded | Self::RateLimited | Self::OutcomeUnknown { .. }
        ) {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        headers
    }
}

fn over_rate(OverRate { whose, rate, .. }: OverRate) -> String {
    let whose = match whose {
        "user" => "one user",
        "address" => "one address",
        _ => "all together",
    };
    format!(
        "{RATE_LIMITED}at most {} in {} s from {whose}",
        rate.burst(),
        rate.window().as_secs_f64().ceil()
    )
}

fn invalid(problems: &[FieldProblem]) -> String {
    let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("Invalid value : {}", sentences.join("; "))
}

fn too_large() -> String {
    format!("Body is too large, send at most {MAX_BODY_BYTES} bytes : ")
}

fn too_slow() -> String {
    format!(
        "Body came too slowly, send it within {} seconds : ",
        BODY_TIMEOUT.as_secs()
    )
}

fn uri_too_long() -> String {
    format!("Path and query are too long, send at most {MAX_URI_BYTES} bytes : ")
}

fn head_too_large() -> String {
    format!(
        "Headers are too large or too many, send at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers : "
    )
}

fn head_too_slow() -> String {
    format!(
        "Headers came too slowly, send them within {} seconds : ",
        HEAD_TIMEOUT.as_secs()
    )
}

/// Logs the source of our fault, which no answer shows.
pub(crate) fn log_source(source: &dyn Error) {
    tracing::error!(error = chain(source), "request failed");
}

/// The error and its sources, outermost first.
fn chain(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        sentence = format!("{sentence}: {error}");
        source = error.source();
    }
    sentence
}
