//! The protocol with a provider over HTTP: its calls, and what counts as an answer. Half an answer is none.

use domain::InvestId;
use reqwest::StatusCode;
use serde::Deserialize;

/// One of the four calls of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProviderCall {
    /// `POST /payment`: make it.
    Pay,
    /// `GET /payment/{id}`: what became of it.
    Query,
    /// `POST /payment/{id}/cancel`: make it never, or say that it is made.
    Cancel,
    /// `POST /payment/{id}/refund`: give it back, or make it never.
    Refund,
}

impl ProviderCall {
    /// Its stored name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pay => "PAY",
            Self::Query => "LOOK",
            Self::Cancel => "CANCEL",
            Self::Refund => "REFUND",
        }
    }
}

/// A certain answer of the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProviderAnswer {
    /// The money has come.
    Paid,
    /// It will never come; why, in the provider's words.
    Refused(String),
    /// It is not decided yet.
    Pending,
    /// It will never come, because Moa cancelled it.
    Cancelled,
    /// It came, and was given back.
    Refunded,
    /// There was never such a payment.
    NeverHeard,
}

impl ProviderAnswer {
    /// Its label in the metrics.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Refused(_) => "refused",
            Self::Pending => "pending",
            Self::Cancelled => "cancelled",
            Self::Refunded => "refunded",
            Self::NeverHeard => "never_heard",
        }
    }
}

/// Why there is no certain answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProviderError {
    /// No call was made: try later.
    #[error("it was not asked")]
    NotAsked,
    /// There was no connection, so nothing was sent: try later.
    #[error("no connection: {0}")]
    NotReached(String),
    /// The call was sent and nothing came back: the provider may have acted on it, and only a cancel tells.
    #[error("{0}")]
    Unanswered(String),
    /// Something came back, but not what became of this payment: the provider is there, and only a cancel tells.
    #[error("{0}")]
    Undecided(String),
}

impl ProviderError {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::NotReached(_) => "not_reached",
            Self::Unanswered(_) | Self::Undecided(_) => "unanswered",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    payment_id: String,
    state: State,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    Paid,
    Refused,
    Pending,
    Cancelled,
    Refunded,
}

/// The answer that `status` and `body` give to the call `asked` about this invest.
pub(super) fn read(
    asked: ProviderCall,
    about: InvestId,
    status: StatusCode,
    body: &[u8],
) -> Result<ProviderAnswer, ProviderError> {
    if (asked, status) == (ProviderCall::Query, StatusCode::NOT_FOUND) {
        return Ok(ProviderAnswer::NeverHeard);
    }
    let with_status = || format!("it answered with status {}", status.as_u16());
    if is_of_a_gateway(status) {
        return Err(ProviderError::Unanswered(with_status()));
    }
    if !matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Err(ProviderError::Undecided(with_status()));
    }
    let body: Body =
        serde_json::from_slice(body).map_err(|_| undecided("its answer cannot be read"))?;
    if body.payment_id != about.to_string() {
        return Err(undecided("it answered for another payment"));
    }
    said(asked, status, body).ok_or_else(|| undecided("its answer does not fit what it was asked"))
}

/// Whether the status says that the provider as a whole is not available: a gateway's answer, or an overloaded provider's.
fn is_of_a_gateway(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Each state has its status, and answers some calls only.
fn said(asked: ProviderCall, status: StatusCode, body: Body) -> Option<ProviderAnswer> {
    let (answer, fits) = match body.state {
        State::Paid => (ProviderAnswer::Paid, asked != ProviderCall::Refund),
        State::Refused => (
            ProviderAnswer::Refused(body.reason.unwrap_or_default()),
            true,
        ),
        State::Pending => (ProviderAnswer::Pending, asked != ProviderCall::Cancel),
        State::Cancelled => (
            ProviderAnswer::Cancelled,
            matches!(asked, ProviderCall::Cancel | ProviderCall::Refund),
        ),
        State::Refunded => (ProviderAnswer::Refunded, true),
    };
    let its_status = if answer == ProviderAnswer::Pending {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    (fits && status == its_status).then_some(answer)
}

fn undecided(why: &str) -> ProviderError {
    ProviderError::Undecided(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use uuid::Uuid;

    const ID: &str = "00000000-0000-0000-0000-000000000007";

    fn said_to(asked: ProviderCall, status: u16, body: &str) -> Option<ProviderAnswer> {
        let status = StatusCode::from_u16(status).unwrap();
        read(
            asked,
            InvestId(Uuid::from_u128(7)),
            status,
            body.replace("<id>", ID).as_bytes(),
        )
        .ok()
    }

    #[rstest]
    #[case(ProviderCall::Pay, 200, "PAID", Some(ProviderAnswer::Paid))]
    #[case(
        ProviderCall::Pay,
        200,
        "REFUSED",
        Some(ProviderAnswer::Refused(String::new()))
    )]
    #[case(ProviderCall::Pay, 202, "PENDING", Some(ProviderAnswer::Pending))]
    #[case(ProviderCall::Pay, 200, "CANCELLED", None)]
    #[case(ProviderCall::Pay, 202, "PAID", None)]
    #[case(ProviderCall::Pay, 200, "PENDING", None)]
    #[case(ProviderCall::Pay, 201, "PAID", None)]
    #[case(ProviderCall::Pay, 500, "PAID", None)]
    #[case(ProviderCall::Pay, 404, "REFUSED", None)]
    #[case(ProviderCall::Query, 200, "PAID", Some(ProviderAnswer::Paid))]
    #[case(
        ProviderCall::Query,
        200,
        "REFUSED",
        Some(ProviderAnswer::Refused(String::new()))
    )]
    #[case(ProviderCall::Query, 202, "PENDING", Some(ProviderAnswer::Pending))]
    #[case(ProviderCall::Query, 404, "REFUSED", Some(ProviderAnswer::NeverHeard))]
    #[case(ProviderCall::Query, 200, "CANCELLED", None)]
    #[case(
        ProviderCall::Cancel,
        200,
        "CANCELLED",
        Some(ProviderAnswer::Cancelled)
    )]
    #[case(ProviderCall::Cancel, 200, "PAID", Some(ProviderAnswer::Paid))]
    #[case(
        ProviderCall::Cancel,
        200,
        "REFUSED",
        Some(ProviderAnswer::Refused(String::new()))
    )]
    #[case(ProviderCall::Cancel, 202, "PENDING", None)]
    #[case(ProviderCall::Cancel, 404, "CANCELLED", None)]
    #[case(ProviderCall::Cancel, 200, "REFUNDED", Some(ProviderAnswer::Refunded))]
    #[case(ProviderCall::Pay, 200, "REFUNDED", Some(ProviderAnswer::Refunded))]
    #[case(ProviderCall::Query, 200, "REFUNDED", Some(ProviderAnswer::Refunded))]
    #[case(ProviderCall::Refund, 200, "REFUNDED", Some(ProviderAnswer::Refunded))]
    #[case(
        ProviderCall::Refund,
        200,
        "REFUSED",
        Some(ProviderAnswer::Refused(String::new()))
    )]
    #[case(
        ProviderCall::Refund,
        200,
        "CANCELLED",
        Some(ProviderAnswer::Cancelled)
    )]
    #[case(ProviderCall::Refund, 202, "PENDING", Some(ProviderAnswer::Pending))]
    #[case(ProviderCall::Refund, 200, "PAID", None)]
    #[case(ProviderCall::Refund, 202, "REFUNDED", None)]
    #[case(ProviderCall::Refund, 404, "REFUNDED", None)]
    fn a_state_is_an_answer_with_its_status_to_its_calls(
        #[case] asked: ProviderCall,
        #[case] status: u16,
        #[case] state: &str,
        #[case] answer: Option<ProviderAnswer>,
    ) {
        let body = format!(r#"{{"paymentId":"<id>","state":"{state}"}}"#);
        assert_eq!(said_to(asked, status, &body), answer);
    }

    #[rstest]
    #[case("")]
    #[case("PAID")]
    #[case(r#"{"paymentId":"<id>","state":"PAID""#)]
    #[case(r#"{"paymentId":"<id>","state":"PAID"} and more"#)]
    #[case(r#"{"paymentId":"<id>","state":"paid"}"#)]
    #[case(r#"{"paymentId":"<id>","state":"PAID","state":"REFUSED"}"#)]
    #[case(r#"{"paymentId":"<id>"}"#)]
    #[case(r#"{"state":"PAID"}"#)]
    #[case(r#"{"paymentId":"00000000-0000-0000-0000-000000000008","state":"PAID"}"#)]
    #[case(r#"[{"paymentId":"<id>","state":"PAID"}]"#)]
    fn half_an_answer_is_none(#[case] body: &str) {
        assert_eq!(said_to(ProviderCall::Pay, 200, body), None);
    }

    #[rstest]
    #[case(500, true)]
    #[case(501, true)]
    #[case(409, true)]
    #[case(302, true)]
    #[case(200, true)]
    #[case(502, false)]
    #[case(503, false)]
    #[case(504, false)]
    fn who_answers_without_an_answer_is_there_unless_a_gateway_says_otherwise(
        #[case] status: u16,
        #[case] is_there: bool,
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let no_answer =
            read(ProviderCall::Pay, InvestId(Uuid::from_u128(7)), status, b"").unwrap_err();
        assert_eq!(
            matches!(no_answer, ProviderError::Undecided(_)),
            is_there,
            "{no_answer:?}"
        );
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        let body = r#"{"paymentId":"<id>","state":"REFUSED","reason":"no funds","fee":3}"#;
        assert_eq!(
            said_to(ProviderCall::Pay, 200, body),
            Some(ProviderAnswer::Refused("no funds".to_owned()))
        );
    }
}
