//! The client of a payment provider over HTTP: one call, to the end of its answer or its time-out.

use super::OpenInvestTask;
use super::call_span::CallSpan;
use super::protocol::{self, ProviderAnswer, ProviderCall, ProviderError};
use super::timeouts::Timeouts;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Serialize;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tls::Trust;
use uuid::Uuid;

/// Bytes of an answer at most; a longer one counts as none.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
/// Idle connections are closed after this: providers mostly close them later, so that they do not break during a call, which would
/// cost the invest its payment.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(2);

/// A payment provider at some URL. Clones are cheap and share its connections.
#[derive(Clone, Debug)]
pub struct Http(Arc<HttpClient>);

#[derive(Debug)]
struct HttpClient {
    client: Client,
    base: Url,
    timeouts: Timeouts,
}

/// The payment provider's URL is not valid. The text says why, and never has the URL: it might hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment provider's URL {0}")]
pub struct InvalidPaymentUrlError(String);

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payment<'a> {
    payment_id: Uuid,
    product_id: i64,
    user_id: &'a str,
    amount: i64,
}

impl Http {
    pub(super) fn at(url: &str, trust: &Trust) -> Result<Self, InvalidPaymentUrlError> {
        Self::that(url, trust, Timeouts::DEFAULT)
    }

    pub(super) fn with_scaled_down_timeouts(
        url: &str,
        times: u32,
    ) -> Result<Self, InvalidPaymentUrlError> {
        Self::that(url, &Trust::default(), Timeouts::DEFAULT.scaled_down(times))
    }

    fn that(url: &str, trust: &Trust, timeouts: Timeouts) -> Result<Self, InvalidPaymentUrlError> {
        let base = parse(url).map_err(|why| InvalidPaymentUrlError(why.to_owned()))?;
        let client = Client::builder()
            .connect_timeout(timeouts.connect)
            .timeout(timeouts.call)
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .redirect(Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(trust.client_config())
            .build()
            .map_err(|error| {
                InvalidPaymentUrlError(format!("cannot be used: {}", root_cause(error)))
            })?;
        Ok(Self(Arc::new(HttpClient {
            client,
            base,
            timeouts,
        })))
    }

    pub(super) fn timeouts(&self) -> &Timeouts {
        &self.0.timeouts
    }

    /// Makes one call about an invest. Never [`ProviderError::NotAsked`].
    pub(super) async fn ask(
        &self,
        asked: ProviderCall,
        due: &OpenInvestTask,
    ) -> Result<ProviderAnswer, ProviderError> {
        let span = CallSpan::begin(asked, due.traceparent.as_deref());
        let traceparent = span
            .as_ref()
            .map(CallSpan::traceparent)
            .or_else(|| due.traceparent.clone());
        let sent = self
            .request(asked, due)
            .headers(origin(due, traceparent))
            .send()
            .await;
        let status = sent.as_ref().ok().map(Response::status);
        let answer = match sent {
            Ok(response) => read(asked, due, response).await,
            Err(error) => Err(no_answer(error)),
        };
        if let Some(span) = span {
            span.end(&self.0.base, status, &answer);
        }
        answer
    }

    fn request(&self, asked: ProviderCall, due: &OpenInvestTask) -> RequestBuilder {
        let (client, id) = (&self.0.client, due.invest_id.to_string());
        match asked {
            ProviderCall::Pay => client.post(self.url(&["payment"])).json(&Payment {
                payment_id: due.invest_id.0,
                product_id: due.product_id.get(),
                user_id: due.user_id.as_str(),
                amount: due.amount.won(),
            }),
            ProviderCall::Query => client.get(self.url(&["payment", &id])),
            ProviderCall::Cancel => client.post(self.url(&["payment", &id, "cancel"])),
            ProviderCall::Refund => client.post(self.url(&["payment", &id, "refund"])),
        }
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.0.base.clone();
        // An http URL always has a path.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }
}

fn parse(url: &str) -> Result<Url, &'static str> {
    let url =
        Url::parse(url).map_err(|_| "cannot be read: give one such as http://payments:9000")?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err("must begin with http:// or https:// and name a host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user and password: let a proxy beside Moa add them");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its path: leave away what begins with ? or #");
    }
    Ok(url)
}

/// The invest's origin, for the provider's own logs and traces. What does not fit into a header is left out.
fn origin(due: &OpenInvestTask, traceparent: Option<String>) -> HeaderMap {
    let named = |name, value: &str| {
        Some((
            HeaderName::from_static(name),
            HeaderValue::from_str(value).ok()?,
        ))
    };
    let correlation =
        named("x-correlation-id", &due.correlation_id).filter(|_| !due.correlation_id.is_empty());
    let trace = traceparent.and_then(|trace| named("traceparent", &trace));
    correlation.into_iter().chain(trace).collect()
}

async fn read(
    asked: ProviderCall,
    due: &OpenInvestTask,
    mut response: Response,
) -> Result<ProviderAnswer, ProviderError> {
    let body = body(&mut response).await?;
    protocol::read(asked, due.invest_id, response.status(), &body)
}

async fn body(response: &mut Response) -> Result<Vec<u8>, ProviderError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(half_an_answer)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return Err(ProviderError::Undecided(format!(
                "its answer is longer than {MAX_ANSWER_BYTES} bytes"
            )));
        }
    }
    Ok(body)
}

fn no_answer(error: reqwest::Error) -> ProviderError {
    if error.is_connect() {
        return ProviderError::NotReached(root_cause(error));
    }
    ProviderError::Unanswered(why(error))
}

/// The head has arrived, so the provider is there.
fn half_an_answer(error: reqwest::Error) -> ProviderError {
    ProviderError::Undecided(why(error))
}

fn why(error: reqwest::Error) -> String {
    if error.is_timeout() {
        "it did not answer in time".to_owned()
    } else {
        root_cause(error)
    }
}

/// What TLS has to say of it, else the innermost cause; without the URL.
fn root_cause(error: reqwest::Error) -> String {
    let error = error.without_url();
    if let Some(why) = tls::explain(&error) {
        return why;
    }
    let mut cause: &dyn Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("http://payments:9000", "http://payments:9000/payment/7/cancel")]
    #[case("http://payments:9000/", "http://payments:9000/payment/7/cancel")]
    #[case("http://127.0.0.1/pay/v1", "http://127.0.0.1/pay/v1/payment/7/cancel")]
    #[case("http://[::1]:9000/pay/", "http://[::1]:9000/pay/payment/7/cancel")]
    #[case("https://payments/v1", "https://payments/v1/payment/7/cancel")]
    fn calls_go_below_the_providers_url(#[case] base: &str, #[case] url: &str) {
        assert_eq!(
            Http::at(base, &Trust::default())
                .unwrap()
                .url(&["payment", "7", "cancel"])
                .as_str(),
            url
        );
    }

    #[rstest]
    #[case("", "cannot be read: give one such as http://payments:9000")]
    #[case("payments:9000", "must begin with http:// or https:// and name a host")]
    #[case(
        "ftp://hunter2/",
        "must begin with http:// or https:// and name a host"
    )]
    #[case(
        "http://moa:hunter2@payments",
        "must have no user and password: let a proxy beside Moa add them"
    )]
    #[case(
        "http://payments?key=hunter2",
        "must end with its path: leave away what begins with ? or #"
    )]
    fn a_url_that_will_not_do_is_refused_with_a_sentence(#[case] url: &str, #[case] why: &str) {
        let refused = Http::at(url, &Trust::default()).unwrap_err().to_string();
        assert_eq!(refused, format!("the payment provider's URL {why}"));
    }
}
