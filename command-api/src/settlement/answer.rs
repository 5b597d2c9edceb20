//! What a provider over HTTP is asked, and what counts as its answer. Half an answer is none.

use domain::InvestId;
use reqwest::StatusCode;
use serde::Deserialize;

/// One of the three calls of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `POST /payment`: make it.
    Pay,
    /// `GET /payment/{id}`: what became of it.
    Look,
    /// `POST /payment/{id}/cancel`: make it never, or say that it is made.
    Cancel,
}

impl Asked {
    /// As it is written down.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Pay => "PAY",
            Self::Look => "LOOK",
            Self::Cancel => "CANCEL",
        }
    }
}

/// What the provider said, for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The money came, for good.
    Paid,
    /// It will never come; why, in the provider's words.
    Refused(String),
    /// It is not decided yet.
    Pending,
    /// It will never come, because we said so.
    Cancelled,
    /// There was never such a payment.
    NeverHeard,
}

impl Answer {
    /// As it is counted.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::Refused(_) => "refused",
            Self::Pending => "pending",
            Self::Cancelled => "cancelled",
            Self::NeverHeard => "never_heard",
        }
    }
}

/// Why it is not known what the provider says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoAnswer {
    /// No call was made: not now, try later.
    #[error("it was not asked")]
    NotAsked,
    /// There was no connection, so nothing was sent: try later.
    #[error("no connection: {0}")]
    NotReached(String),
    /// It was asked, may have done it or not, and nothing came back: only a cancel can tell.
    #[error("{0}")]
    Unanswered(String),
    /// The same, but something came back: it is there, and cannot say what became of this payment.
    #[error("{0}")]
    Undecided(String),
}

impl NoAnswer {
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
}

/// The answer that `status` and `body` give to what was `asked` about this invest, if they do.
pub(super) fn read(asked: Asked, about: InvestId, status: StatusCode, body: &[u8]) -> Result<Answer, NoAnswer> {
    if (asked, status) == (Asked::Look, StatusCode::NOT_FOUND) {
        return Ok(Answer::NeverHeard);
    }
    let with_status = || format!("it answered with status {}", status.as_u16());
    if is_of_a_gateway(status) {
        return Err(NoAnswer::Unanswered(with_status()));
    }
    if !matches!(status, StatusCode::OK | StatusCode::ACCEPTED) {
        return Err(NoAnswer::Undecided(with_status()));
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| undecided("its answer cannot be read"))?;
    if body.payment_id != about.to_string() {
        return Err(undecided("it answered for another payment"));
    }
    said(asked, status, body).ok_or_else(|| undecided("its answer does not fit what it was asked"))
}

/// Whether the status says, of the provider as a whole, that it is not there: a gateway's answer, or that of one overloaded.
fn is_of_a_gateway(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// Each state has its status, and can be an answer to some calls only.
fn said(asked: Asked, status: StatusCode, body: Body) -> Option<Answer> {
    let (answer, fits) = match body.state {
        State::Paid => (Answer::Paid, true),
        State::Refused => (Answer::Refused(body.reason.unwrap_or_default()), true),
        State::Pending => (Answer::Pending, asked != Asked::Cancel),
        State::Cancelled => (Answer::Cancelled, asked == Asked::Cancel),
    };
    let its_status = if answer == Answer::Pending { StatusCode::ACCEPTED } else { StatusCode::OK };
    (fits && status == its_status).then_some(answer)
}

fn undecided(why: &str) -> NoAnswer {
    NoAnswer::Undecided(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use uuid::Uuid;

    const ID: &str = "00000000-0000-0000-0000-000000000007";

    fn said_to(asked: Asked, status: u16, body: &str) -> Option<Answer> {
        let status = StatusCode::from_u16(status).unwrap();
        read(asked, InvestId(Uuid::from_u128(7)), status, body.replace("<id>", ID).as_bytes()).ok()
    }

    #[rstest]
    #[case(Asked::Pay, 200, "PAID", Some(Answer::Paid))]
    #[case(Asked::Pay, 200, "REFUSED", Some(Answer::Refused(String::new())))]
    #[case(Asked::Pay, 202, "PENDING", Some(Answer::Pending))]
    #[case(Asked::Pay, 200, "CANCELLED", None)]
    #[case(Asked::Pay, 202, "PAID", None)]
    #[case(Asked::Pay, 200, "PENDING", None)]
    #[case(Asked::Pay, 201, "PAID", None)]
    #[case(Asked::Pay, 500, "PAID", None)]
    #[case(Asked::Pay, 404, "REFUSED", None)]
    #[case(Asked::Look, 200, "PAID", Some(Answer::Paid))]
    #[case(Asked::Look, 200, "REFUSED", Some(Answer::Refused(String::new())))]
    #[case(Asked::Look, 202, "PENDING", Some(Answer::Pending))]
    #[case(Asked::Look, 404, "REFUSED", Some(Answer::NeverHeard))]
    #[case(Asked::Look, 200, "CANCELLED", None)]
    #[case(Asked::Cancel, 200, "CANCELLED", Some(Answer::Cancelled))]
    #[case(Asked::Cancel, 200, "PAID", Some(Answer::Paid))]
    #[case(Asked::Cancel, 200, "REFUSED", Some(Answer::Refused(String::new())))]
    #[case(Asked::Cancel, 202, "PENDING", None)]
    #[case(Asked::Cancel, 404, "CANCELLED", None)]
    fn a_state_is_an_answer_with_its_status_to_its_calls(
        #[case] asked: Asked,
        #[case] status: u16,
        #[case] state: &str,
        #[case] answer: Option<Answer>,
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
        assert_eq!(said_to(Asked::Pay, 200, body), None);
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
        let no_answer = read(Asked::Pay, InvestId(Uuid::from_u128(7)), status, b"").unwrap_err();
        assert_eq!(matches!(no_answer, NoAnswer::Undecided(_)), is_there, "{no_answer:?}");
    }

    #[test]
    fn what_is_not_known_is_ignored() {
        let body = r#"{"paymentId":"<id>","state":"REFUSED","reason":"no funds","fee":3}"#;
        assert_eq!(said_to(Asked::Pay, 200, body), Some(Answer::Refused("no funds".to_owned())));
    }
}
