//! Problem details, RFC 9457, for whoever asks for them: the same refusal as in the envelope, in another shape.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::Correlation;

pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// What a refusal says, beside its response.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

/// Whether the caller names the media type in `Accept`; a wildcard is not enough.
pub(crate) fn are_wanted(headers: &HeaderMap) -> bool {
    let listed = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).any(|range| {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let is_refused = parameters
            .split(';')
            .filter_map(|parameter| parameter.trim().strip_prefix("q="));
        let is_refused = is_refused
            .filter_map(|weight| weight.parse().ok())
            .any(|weight: f32| weight <= 0.0);
        name.trim().eq_ignore_ascii_case(MEDIA_TYPE) && !is_refused
    })
}

/// The response with its refusal as problem details; any other as it is.
pub(crate) fn with_details(mut response: Response, correlation: &Correlation) -> Response {
    let Some(Refused { code, message }) = response.extensions_mut().remove::<Refused>() else {
        return response;
    };
    let status = status(response.status(), code);
    let details = body(status, code, &message, correlation.id());
    *response.status_mut() = status;
    *response.body_mut() = Body::from(details.to_string());
    let headers = response.headers_mut();
    [header::CONTENT_LENGTH, header::CONTENT_ENCODING]
        .iter()
        .for_each(|name| _ = headers.remove(name));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.append(header::VARY, HeaderValue::from_static("accept"));
    response
}

pub(crate) fn body(status: StatusCode, code: &str, message: &str, correlation: &str) -> Value {
    json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or_default(),
        "status": status.as_u16(),
        "detail": message.trim_end_matches(" : "),
        "code": code,
        "correlationId": correlation,
    })
}

/// The envelope says in HTTP 200 that a product's rules refuse. Problem details have a status of a failure.
pub(crate) fn status(in_envelope: StatusCode, code: &str) -> StatusCode {
    match in_envelope {
        StatusCode::OK if code.starts_with("NOT_EXIST_") => StatusCode::NOT_FOUND,
        StatusCode::OK => StatusCode::CONFLICT,
        status => status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::nothing(&[], false)]
    #[case::anything(&["*/*"], false)]
    #[case::json(&["application/json"], false)]
    #[case::named(&["application/problem+json"], true)]
    #[case::among_others(&["application/json, Application/Problem+JSON;q=0.5"], true)]
    #[case::in_a_second_header(&["text/html", "application/problem+json; charset=utf-8"], true)]
    #[case::refused(&["application/problem+json;q=0"], false)]
    #[case::refused_in_full(&["application/problem+json; q=0.000"], false)]
    #[case::longer(&["application/problem+json-seq"], false)]
    fn details_are_for_those_who_name_them(#[case] accepts: &[&'static str], #[case] wanted: bool) {
        let mut headers = HeaderMap::new();
        accepts
            .iter()
            .for_each(|value| _ = headers.append(header::ACCEPT, HeaderValue::from_static(value)));
        assert_eq!(are_wanted(&headers), wanted);
    }
}
