//! The middleware around every router's routes.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::cors::CorsLayer;
use tracing::Instrument;

use crate::cors::cors;
use crate::envelope::refusal;
use crate::problem::INTERNAL_ERROR;
use crate::problem_answer::InternalFault;
use crate::problem_details::{self, Refused};
use crate::request_span::{RequestSpan, UNKNOWN_ROUTE};
use crate::{CallerPolicy, Correlation, Problem, Submission, header as ours};

/// How long a handler may take. Handlers bound themselves more tightly; this is for those that fail to.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// As much of a path as a log line repeats, in bytes.
const MAX_LOGGED_PATH_CHARS: usize = 128;

/// The routes with 404 and 405 in the envelope, a correlation id on every answer and log line, a time limit, panics
/// answered, requests counted and timed, and callers treated as `callers` says. To be called last: it sees only the routes added before.
pub fn with_middleware(routes: Router, callers: impl Into<Arc<CallerPolicy>>) -> Router {
    with_middleware_and_timeouts(routes, callers, |_| REQUEST_TIMEOUT)
}

/// The same, where some routes may take longer: `limit` says how long, by the route as it is written in the program.
pub fn with_middleware_and_timeouts(
    routes: Router,
    callers: impl Into<Arc<CallerPolicy>>,
    limit: fn(&str) -> Duration,
) -> Router {
    let callers = callers.into();
    let router = routes
        .fallback(async || Problem::UnknownPath)
        .method_not_allowed_fallback(async || Problem::MethodNotAllowed);
    let cors = cors(&callers.origins).map(Arc::new);
    let around = Around {
        callers,
        cors,
        limit,
    };
    // One layer of ours, not one per concern: axum boxes a future for each.
    router.layer(from_fn(move |request, next| {
        handle(request, next, around.clone())
    }))
}

/// What is around the routes of one listener.
#[derive(Clone)]
struct Around {
    callers: Arc<CallerPolicy>,
    cors: Option<Arc<CorsLayer>>,
    limit: fn(&str) -> Duration,
}

async fn handle(mut request: Request, next: Next, around: Around) -> Response {
    let (began, route) = (Instant::now(), route(&request));
    let _in_flight = InFlight::one_more(&route);
    let correlation = Correlation::of(request.headers());
    let (method, path) = (request.method().clone(), logged(request.uri().path()));
    let mut trace = RequestSpan::begin(&request, &correlation, &route, &path);
    let correlation = match &trace {
        Some(span) => span.within(correlation),
        None => correlation,
    };
    request.extensions_mut().insert(correlation.clone());
    let wants_details = problem_details::are_wanted(request.headers());
    let span = tracing::info_span!("request", correlation_id = correlation.id(), %method, path);
    let limit = (around.limit)(&route);
    let response = answer(method, request, next, limit, around)
        .instrument(span)
        .await;
    let response = with_correlation(response, &correlation);
    let response = if wants_details {
        problem_details::with_details(response, &correlation)
    } else {
        response
    };
    if let Some(span) = &mut trace {
        span.answer(response.status());
    }
    count(route, &response, began);
    response
}

/// The route as it is written in the program, so that there are few: never what a client made up.
fn route(request: &Request) -> String {
    request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| UNKNOWN_ROUTE.into(), |path| path.as_str().into())
}

/// A request that has come and is not answered; also one whose client goes away.
struct InFlight(metrics::Gauge);

impl InFlight {
    fn one_more(route: &str) -> Self {
        let gauge = metrics::gauge!("moa_http_requests_in_flight", "route" => route.to_owned());
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

fn count(route: String, response: &Response, began: Instant) {
    metrics::histogram!("moa_http_request_seconds", "route" => route.clone())
        .record(began.elapsed());
    let status = response.status().as_str().to_owned();
    metrics::counter!("moa_http_requests_total", "route" => route, "status" => status).increment(1);
}

async fn answer(
    method: Method,
    mut request: Request,
    next: Next,
    limit: Duration,
    around: Around,
) -> Response {
    let submission = Submission::default();
    request.extensions_mut().insert(submission.clone());
    let mut response = pin!(run(request, next, around));
    let caught =
        poll_fn(
            |cx| match catch_unwind(AssertUnwindSafe(|| response.as_mut().poll(cx))) {
                Ok(poll) => poll.map(Ok),
                Err(panic) => std::task::Poll::Ready(Err(panic)),
            },
        );
    match timeout(limit, caught).await {
        Ok(Ok(response)) => response,
        // The panic hook has said where and why.
        Ok(Err(_)) => Problem::internal("a handler panicked").into_response(),
        Err(_) => out_of_time(&method, &submission).into_response(),
    }
}

/// With CORS where a page asks. Whoever is no page sends no `Origin`, and is not made to pay for a layer with a dozen lists in it.
async fn run(request: Request, next: Next, Around { callers, cors, .. }: Around) -> Response {
    let Some(cors) = cors else {
        return admitted(request, next, &callers).await;
    };
    if request.headers().contains_key(header::ORIGIN) {
        let routes = service_fn(move |request| {
            let (next, callers) = (next.clone(), callers.clone());
            async move { Ok::<_, Infallible>(admitted(request, next, &callers).await) }
        });
        return cors
            .layer(routes)
            .oneshot(request)
            .await
            .unwrap_or_else(|never| match never {});
    }
    let mut response = admitted(request, next, &callers).await;
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static("origin"));
    response
}

/// What the routes answer, to whom they may.
async fn admitted(mut request: Request, next: Next, callers: &Arc<CallerPolicy>) -> Response {
    match callers.admit(&mut request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn out_of_time(method: &Method, submission: &Submission) -> Problem {
    tracing::error!("request was given up after its time limit");
    // What only reads has certainly changed nothing; of anything else we cannot say.
    if method.is_safe() {
        Problem::Overloaded
    } else {
        Problem::OutcomeUnknown {
            invest_id: submission.invest_id(),
        }
    }
}

pub(crate) fn with_correlation(mut response: Response, correlation: &Correlation) -> Response {
    if response
        .extensions_mut()
        .remove::<InternalFault>()
        .is_some()
    {
        let message = format!("{INTERNAL_ERROR}{}", correlation.id());
        let sent = refusal(response.status(), "500", message.clone());
        response.extensions_mut().insert(Refused {
            code: "500",
            message,
        });
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = sent.into_body();
    }
    if let Some(id) = correlation.header_value() {
        response.headers_mut().insert(ours::CORRELATION_ID, id);
    }
    response
}

fn logged(path: &str) -> String {
    path.chars().take(MAX_LOGGED_PATH_CHARS).collect()
}
