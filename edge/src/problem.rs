//! Every way an answer can be other than success.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::InvestId;
use std::error::Error;

use crate::envelope::refusal;
use crate::{FieldProblem, header as ours};

/// When a caller that met overload, a limit or a lost answer may try again, in seconds.
const RETRY_AFTER_SECONDS: u16 = 1;

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
    /// Before `startedAt`: come back then.
    NotStarted,
    /// At or after `finishedAt`: choose another product.
    Finished,
    /// Withdrawn by its operator: choose another product.
    Closed,
    /// Send exactly one good `X-USER-ID`.
    MissingUserId,
    /// Put right each of these fields or parameters.
    Invalid(Vec<FieldProblem>),
    /// Nothing here, or nothing that this caller may know of.
    NotFound,
    /// Use one of the methods in `Allow`, which the router adds.
    MethodNotAllowed,
    /// Send `application/json`.
    UnsupportedMediaType,
    /// Send a smaller body.
    TooLarge,
    /// The body did not arrive in time: send it faster.
    TooSlow,
    /// The key named another request: take a new one.
    IdempotencyKeyReused,
    /// Definitely not accepted: try again after the time in `Retry-After`.
    Overloaded,
    /// Definitely not accepted, too many from this caller: try again after the time in `Retry-After`.
    RateLimited,
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

/// Marks an answer whose message is to end in the correlation id, which only the middleware knows.
#[derive(Clone)]
pub(crate) struct OurFault;

impl Problem {
    /// One field or parameter is wrong.
    pub fn invalid(problem: FieldProblem) -> Self {
        Self::Invalid(vec![problem])
    }

    /// Our fault, from any error.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    fn message(&self) -> String {
        let fixed = match self {
            Self::NotExistProduct => "Not exist product : ",
            Self::SoldOut { .. } => "Product is sold out : ",
            Self::NotStarted => "Product is not started : ",
            Self::Finished => "Product is finished : ",
            Self::Closed => "Product is closed : ",
            Self::MissingUserId => "Missing X-USER-ID header value : ",
            Self::Invalid(problems) => return invalid_message(problems),
            Self::NotFound => "Not found : ",
            Self::MethodNotAllowed => "Method not allowed, see the Allow header : ",
            Self::UnsupportedMediaType => "Unsupported media type, send application/json : ",
            Self::TooLarge => "Body is too large, send at most 16384 bytes : ",
            Self::TooSlow => "Body came too slowly, send it within 5 seconds : ",
            Self::IdempotencyKeyReused => "Idempotency-Key was used for another request, take a new key : ",
            Self::Overloaded => "Overloaded and not accepted, try again later : ",
            Self::RateLimited => "Too many requests and not accepted, try again later : ",
            Self::OutcomeUnknown { .. } => "Outcome is unknown, look before trying again : ",
            Self::Unauthorized => "Missing or wrong bearer token : ",
            Self::Forbidden => "The token's role may not do this : ",
            Self::Internal(_) => "Internal error : ",
        };
        fixed.to_owned()
    }

    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotExistProduct => (StatusCode::OK, "NOT_EXIST_PRODUCT"),
            Self::SoldOut { .. } => (StatusCode::OK, "SOLD_OUT"),
            Self::NotStarted => (StatusCode::OK, "NOT_STARTED"),
            Self::Finished => (StatusCode::OK, "FINISHED"),
            Self::Closed => (StatusCode::OK, "CLOSED"),
            Self::MissingUserId => (StatusCode::BAD_REQUEST, "MISSING_X_USER_ID"),
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "00"),
            Self::NotFound => (StatusCode::NOT_FOUND, "404"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "405"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "415"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "413"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "408"),
            Self::IdempotencyKeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "IDEMPOTENCY_KEY_REUSED"),
            Self::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED"),
            Self::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "RATE_LIMITED"),
            Self::OutcomeUnknown { .. } => (StatusCode::SERVICE_UNAVAILABLE, "OUTCOME_UNKNOWN"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "401"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "403"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "500"),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code) = self.status_and_code();
        let mut response = refusal(status, code, self.message());
        let headers = response.headers_mut();
        match self {
            Self::SoldOut { remaining } => {
                headers.insert(ours::REMAINING_AMOUNT, remaining.into());
            }
            Self::Overloaded | Self::RateLimited => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            Self::OutcomeUnknown { invest_id } => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
                if let Some(value) = invest_id.and_then(|id| HeaderValue::try_from(id.to_string()).ok()) {
                    headers.insert(ours::INVEST_ID, value);
                }
            }
            Self::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::TooLarge | Self::TooSlow => {
                // The rest of the body is not read, so nothing after it can be.
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::Internal(source) => {
                tracing::error!(error = %chain(&*source), "request failed");
                response.extensions_mut().insert(OurFault);
            }
            _ => {}
        }
        response
    }
}

fn invalid_message(problems: &[FieldProblem]) -> String {
    let sentences: Vec<String> = problems.iter().map(ToString::to_string).collect();
    format!("Invalid value : {}", sentences.join("; "))
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
