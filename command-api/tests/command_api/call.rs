//! What a client sends to an instance.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use testbed::http::Answer;
use testbed::soon;

/// A request on its way.
#[derive(Clone)]
pub struct Call<'a> {
    pub client: &'a reqwest::Client,
    pub method: reqwest::Method,
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Call<'_> {
    /// One more header; the same one again makes two.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.append(
            HeaderName::try_from(name).unwrap(),
            HeaderValue::from_bytes(value.as_ref()).unwrap(),
        );
        self
    }

    pub fn by(mut self, user: &str) -> Self {
        self.headers
            .insert("x-user-id", HeaderValue::from_str(user).unwrap());
        self
    }

    pub fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub fn correlation_id(self, id: &str) -> Self {
        self.header("X-Correlation-Id", id)
    }

    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    pub async fn sent(self) -> Answer {
        let request = self
            .client
            .request(self.method, self.url)
            .headers(self.headers)
            .body(self.body);
        let response = soon(request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer {
            status,
            headers,
            body: response.text().await.unwrap(),
        }
    }
}
