//! Calls of the admin listener's routes, within the process.

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tower::ServiceExt as _;

use crate::session::Visitor;

/// The largest answer that is read, in bytes: some times that of the longest page of events.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

/// The admin listener's routes.
pub(crate) struct Backend(Router);

/// An answer that is no success, in the words of the call.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
}

impl Backend {
    pub(crate) fn new(routes: Router) -> Self {
        Self(routes)
    }

    /// The `data` of what `GET path` answers.
    pub(crate) async fn get(&self, visitor: &Visitor, path: &str) -> Result<Value, Refused> {
        self.call(visitor, Method::GET, path, None).await
    }

    /// The `data` of what `POST path` answers.
    pub(crate) async fn post(
        &self,
        visitor: &Visitor,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        self.call(visitor, Method::POST, path, body).await
    }

    async fn call(
        &self,
        visitor: &Visitor,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let sent = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .body(sent)
            .map_err(|_| malformed())?;
        let bearer =
            HeaderValue::from_str(&format!("Bearer {}", visitor.token)).map_err(|_| malformed())?;
        request.headers_mut().insert(AUTHORIZATION, bearer);
        if body.is_some() {
            request
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        visitor.origin.mark(&mut request);
        let response = self
            .0
            .clone()
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
        let status = response.status();
        let read = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| {
                tracing::warn!(%error, path, "an answer to the console could not be read");
                Refused {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    message: "The answer is too long to show.".into(),
                }
            })?;
        let answer: Value = serde_json::from_slice(&read.to_bytes()).unwrap_or_default();
        if status.is_success() && answer["result"] == true {
            return Ok(answer["data"].clone());
        }
        let message = answer["message"].as_str().unwrap_or("The call has failed.");
        // What is wrong with it follows the colon, where there is more to say.
        let message = message.strip_suffix(" : ").unwrap_or(message).to_owned();
        // A refusal by a rule is a success of HTTP.
        let status = if status.is_success() {
            StatusCode::CONFLICT
        } else {
            status
        };
        Err(Refused { status, message })
    }
}

/// A part of a path or a query that a visitor gave, as it may stand in a URL.
pub(crate) fn escaped(text: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

/// `path?name=value&...` of those that are not empty.
pub(crate) fn with_query<'a>(
    path: &str,
    query: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> String {
    let given = query.into_iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<_> = given
        .map(|(name, value)| format!("{name}={}", escaped(value)))
        .collect();
    if pairs.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", pairs.join("&"))
    }
}

fn malformed() -> Refused {
    Refused {
        status: StatusCode::BAD_REQUEST,
        message: "That cannot be asked for.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_visitor_typed_stays_one_value_of_the_query() {
        let query = [("userId", "a&b=c d/é"), ("type", ""), ("order", "desc")];
        assert_eq!(
            with_query("/e", query),
            "/e?userId=a%26b%3Dc%20d%2F%C3%A9&order=desc"
        );
        assert_eq!(with_query("/e", [("type", "")]), "/e");
    }
}
