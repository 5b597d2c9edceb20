//! What an HTTP client is answered, and the contract's envelope as it is printed.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use domain::InvestId;
use serde_json::Value;
use tower::ServiceExt as _;

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// As a number.
    pub status: u16,
    /// All of them.
    pub headers: HeaderMap,
    /// As text.
    pub body: String,
}

/// What `routes` answer, with nothing between.
pub async fn call(routes: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| {
        request.header(*name, *value)
    });
    let answer = routes
        .clone()
        .oneshot(request.body(Body::empty()).expect("a request"))
        .await;
    let (parts, body) = answer.expect("an answer").into_parts();
    let body = to_bytes(body, usize::MAX)
        .await
        .expect("a whole answer")
        .to_vec();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: String::from_utf8(body).expect("text"),
    }
}

impl Answer {
    /// The header's only value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().expect("text"));
        let only = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        only
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("it is no JSON: {}", self.body))
    }

    /// Asserts status, body and media type.
    #[track_caller]
    pub fn is(&self, status: u16, body: &str) -> &Self {
        assert_eq!((self.status, self.body.as_str()), (status, body));
        assert_eq!(self.header("content-type"), Some("application/json"));
        self
    }

    /// Asserts that it is a refusal, whole.
    #[track_caller]
    pub fn is_refused(&self, status: u16, code: &str, message: &str) -> &Self {
        self.is(status, &refusal(status, code, message))
    }

    /// Asserts that it is 400, with what is wrong in the words of the contract.
    #[track_caller]
    pub fn is_invalid(&self, what: &str) -> &Self {
        self.is_refused(400, "00", &format!("Invalid value : {what}"))
    }

    /// Asserts that it is the success of an invest.
    #[track_caller]
    pub fn is_ok(&self) -> &Self {
        self.is(200, &success(r#""OK""#))
    }

    /// Asserts that it is 200 and refused; what remains is told in a header.
    #[track_caller]
    pub fn is_sold_out(&self, remaining: i64) -> &Self {
        self.is_refused(200, "SOLD_OUT", "Product is sold out : ")
            .says("x-remaining-amount", &remaining.to_string())
    }

    /// Asserts that nothing happened, for want of time.
    #[track_caller]
    pub fn is_overloaded(&self) -> &Self {
        self.is_refused(
            503,
            "OVERLOADED",
            "Overloaded and not accepted, try again later : ",
        )
        .says("retry-after", "1");
        self.is_silent_about("x-invest-id")
    }

    /// Asserts that it does not say whether anything happened.
    #[track_caller]
    pub fn is_outcome_unknown(&self) -> &Self {
        self.is_refused(
            503,
            "OUTCOME_UNKNOWN",
            "Outcome is unknown, look before trying again : ",
        );
        self.says("retry-after", "1")
    }

    /// Asserts that the idempotency key was used for something else.
    #[track_caller]
    pub fn is_key_reused(&self) -> &Self {
        let message = "Idempotency-Key was used for another request, take a new key : ";
        self.is_refused(422, "IDEMPOTENCY_KEY_REUSED", message)
            .is_silent_about("x-invest-id")
    }

    /// Asserts that it was given before.
    #[track_caller]
    pub fn is_replayed(&self) -> &Self {
        self.says("idempotency-replayed", "true")
    }

    /// Asserts that it was not.
    #[track_caller]
    pub fn is_fresh(&self) -> &Self {
        self.is_silent_about("idempotency-replayed")
    }

    /// The invest that it names.
    #[track_caller]
    pub fn invest_id(&self) -> InvestId {
        InvestId(
            self.header("x-invest-id")
                .and_then(|id| id.parse().ok())
                .expect("it names no invest"),
        )
    }

    /// The position in the log that the answer reflects.
    pub fn consistency_token(&self) -> &str {
        self.header("x-consistency-token").expect("a token")
    }

    /// The `field` of each item of its list, in order.
    pub fn each(&self, field: &str) -> Vec<Value> {
        let items = self.json()["data"]["list"]
            .as_array()
            .cloned()
            .expect("a list");
        items.iter().map(|item| item[field].clone()).collect()
    }

    /// How many items there are, on all pages.
    pub fn total_count(&self) -> i64 {
        self.json()["data"]["totalCount"]
            .as_i64()
            .expect("a number")
    }

    /// Asserts that the header has this one value.
    #[track_caller]
    pub fn says(&self, header: &str, value: &str) -> &Self {
        assert_eq!(self.header(header), Some(value), "{header}");
        self
    }

    /// Asserts that there is no such header.
    #[track_caller]
    pub fn is_silent_about(&self, header: &str) -> &Self {
        assert_eq!(self.header(header), None, "{header}");
        self
    }
}

/// A success with this data, as the seed prints it.
pub fn success(data: &str) -> String {
    format!(r#"{{"result":true,"code":"01","message":null,"data":{data},"status":200}}"#)
}

/// A refusal, whole.
pub fn refusal(status: u16, code: &str, message: &str) -> String {
    let message = Value::from(message);
    format!(
        r#"{{"result":false,"code":"{code}","message":{message},"data":null,"status":{status}}}"#
    )
}
