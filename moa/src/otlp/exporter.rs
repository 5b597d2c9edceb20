//! The exporter: a bounded queue of spans, and one task that sends them in batches. Whoever ends a span never waits for it; what cannot be
//! kept or sent is dropped and counted.

use super::config::Config;
use super::encode;
use crate::trust;
use event_log::Backoff;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use traces::Span;

/// Spans that wait to be sent, some 5 MB of them; one more is dropped.
const MAX_QUEUED_SPANS: usize = 8_192;
/// Spans of one request.
const MAX_SPANS_PER_REQUEST: usize = 1_024;
/// How long spans gather before they are sent, unless they are many.
const EXPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How long the collector may take for one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a batch is sent that the collector does not take.
const MAX_ATTEMPTS: usize = 4;
/// The first and the longest wait between two of them.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(5);
/// How long the last spans may take when the process stops.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// A longer answer is not read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends what is recorded, until it is stopped.
#[derive(Debug)]
pub struct Exporter {
    stop: CancellationToken,
    sending: JoinHandle<()>,
}

impl Exporter {
    /// Records spans from now on. The collector need not be there yet.
    pub(super) fn start(config: Config) -> anyhow::Result<Self> {
        let client = trust::http_client()
            .timeout(REQUEST_TIMEOUT)
            .redirect(Policy::none());
        let client = client.default_headers(config.headers).build()?;
        let (queue, spans) = mpsc::channel(MAX_QUEUED_SPANS);
        let sender = Sender {
            client,
            url: config.url,
            resource: config.resource,
            spans,
            lost: None,
        };
        let stop = CancellationToken::new();
        let sending = tokio::spawn(sender.run(stop.clone()));
        traces::record_with(config.ratio, move |span| {
            if queue.try_send(span).is_err() {
                count_dropped("full", 1);
            }
        });
        Ok(Self { stop, sending })
    }

    /// Sends what is left, within 2 s.
    pub async fn stop(self) {
        self.stop.cancel();
        timeout(FLUSH_TIMEOUT, self.sending).await.ok();
    }
}

fn count_dropped(reason: &'static str, spans: u64) {
    metrics::counter!("moa_trace_spans_dropped_total", "reason" => reason).increment(spans);
}

struct Sender {
    client: Client,
    url: Url,
    resource: Vec<(String, String)>,
    spans: mpsc::Receiver<Span>,
    /// Since when the collector takes nothing, and how many spans that has cost.
    lost: Option<(Instant, u64)>,
}

/// Why the collector did not take a request.
enum SendError {
    /// It may take it later.
    Unanswered(anyhow::Error),
    /// It never will.
    Refused(StatusCode),
}

impl Sender {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        while stop
            .run_until_cancelled(self.gather(&mut batch))
            .await
            .is_some()
        {
            self.send(std::mem::take(&mut batch)).await;
        }
        self.spans.close();
        while !batch.is_empty()
            || self
                .spans
                .recv_many(&mut batch, MAX_SPANS_PER_REQUEST)
                .await
                > 0
        {
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Waits until there are spans, and for more. Dropping the future loses none.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        let mut received = self.spans.recv_many(batch, MAX_SPANS_PER_REQUEST).await;
        if received == 0 {
            // Nobody records any more.
            return std::future::pending().await;
        }
        let until = Instant::now() + EXPORT_INTERVAL;
        while received > 0 && batch.len() < MAX_SPANS_PER_REQUEST {
            let room = MAX_SPANS_PER_REQUEST - batch.len();
            received = timeout_at(until, self.spans.recv_many(batch, room))
                .await
                .unwrap_or(0);
        }
    }

    /// Sends a batch, again where the collector may take it later; then drops it.
    async fn send(&mut self, batch: Vec<Span>) {
        let (spans, mut backoff) = (
            batch.len() as u64,
            Backoff::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY),
        );
        let body = encode::request(&self.resource, batch);
        for _ in 0..MAX_ATTEMPTS {
            match self.post(body.clone()).await {
                Ok(rejected) => {
                    self.report_back();
                    return count_dropped("refused", rejected);
                }
                Err(SendError::Refused(status)) => {
                    self.report_lost(&format_args!("it answered {status}"));
                    return self.drop_spans("refused", spans);
                }
                Err(SendError::Unanswered(error)) => {
                    self.report_lost(&format_args!("{error:#}"));
                    backoff.wait().await;
                }
            }
        }
        self.drop_spans("unsent", spans);
    }

    /// Returns how many spans the collector did not want.
    async fn post(&self, body: Vec<u8>) -> Result<u64, SendError> {
        let sending = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        // The URL may hold a secret.
        let answer = sending
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .map_err(trust::explained);
        let answer = answer.map_err(|error| SendError::Unanswered(error.into()))?;
        match answer.status() {
            status if status.is_success() => Ok(rejected_spans(answer).await),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Err(SendError::Unanswered(anyhow::anyhow!(
                "it answered {}",
                answer.status()
            ))),
            status => Err(SendError::Refused(status)),
        }
    }

    fn drop_spans(&mut self, reason: &'static str, spans: u64) {
        count_dropped(reason, spans);
        if let Some((_, dropped)) = &mut self.lost {
            *dropped += spans;
        }
    }

    /// Logs once that the collector takes nothing.
    fn report_lost(&mut self, error: &dyn std::fmt::Display) {
        if self.lost.is_none() {
            self.lost = Some((Instant::now(), 0));
            tracing::warn!(%error, "the collector of traces takes no spans; they are dropped until it does, and nothing else waits for it");
        }
    }

    /// Logs once that it takes them again.
    fn report_back(&mut self) {
        if let Some((since, dropped)) = self.lost.take() {
            let seconds = since.elapsed().as_secs();
            tracing::info!(
                seconds,
                dropped,
                "the collector of traces takes spans again"
            );
        }
    }
}

/// What an answer that can be read says; it may be empty.
async fn rejected_spans(mut answer: Response) -> u64 {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER_BYTES {
            return 0;
        }
    }
    let answer = ExportTraceServiceResponse::decode(body.as_slice()).unwrap_or_default();
    let rejected = answer
        .partial_success
        .map_or(0, |partial| partial.rejected_spans);
    u64::try_from(rejected).unwrap_or(0)
}
