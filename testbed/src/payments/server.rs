//! The provider's HTTP: what comes is done in a task of its own, so that it is done even if the caller is gone.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::{FutureExt as _, StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::ledger::{Reply, Terms};
use super::{Call, Shared, Trouble};

/// How long an answer that breaks off stands there as a half.
const CUT_AFTER: Duration = Duration::from_millis(20);

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A call, read.
struct Asked {
    call: Call,
    id: Uuid,
    /// Of a call to pay.
    terms: Option<Terms>,
}

/// One more call under way, until it is dropped.
struct UnderWay(Arc<Shared>);

/// Serves until it is dropped; its connections break then.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            connections.spawn(converse(stream, shared.clone()));
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>) {
    let service = hyper::service::service_fn(|request| answer(request, shared.clone()));
    let served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    // A connection that breaks, on either side, is what this is for.
    served.await.ok();
}

/// An error closes the connection.
async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> io::Result<Response<Body>> {
    let _under_way = UnderWay::begins(&shared);
    let nth = shared.calls.fetch_add(1, Ordering::SeqCst);
    let headers = request.headers().clone();
    let Some(asked) = read(request).await else {
        return Ok(plain((400, json!({ "message": "no such call" }))));
    };
    let user = notes(&shared, &asked, &headers);
    let (delay, trouble) = {
        let troubles = shared.troubles();
        (
            troubles.delay,
            troubles.met(asked.call, user.as_deref(), nth),
        )
    };
    tokio::time::sleep(delay).await;
    let reply = if trouble.is_none_or(Trouble::is_done) {
        done(shared, asked, trouble).await
    } else {
        (200, json!({}))
    };
    troubled(reply, trouble).await
}

/// Whose payment it is, if that was ever told.
fn notes(shared: &Shared, asked: &Asked, headers: &HeaderMap) -> Option<String> {
    let named = |name| {
        headers
            .get(name)
            .and_then(|value| Some(value.to_str().ok()?.to_owned()))
    };
    let mut ledger = shared.ledger();
    let payment = ledger.entry(asked.id);
    payment.calls.push(asked.call);
    (payment.correlation_id, payment.traceparent) =
        (named("x-correlation-id"), named("traceparent"));
    if let Some(terms) = &asked.terms {
        ledger.users.insert(asked.id, terms.user_id.clone());
    }
    ledger.users.get(&asked.id).cloned()
}

async fn done(shared: Arc<Shared>, asked: Asked, trouble: Option<Trouble>) -> Reply {
    let doing = tokio::spawn(async move {
        if let Some(Trouble::Late(by)) = trouble {
            tokio::time::sleep(by).await;
        }
        let mut ledger = shared.ledger();
        match (asked.call, asked.terms) {
            (Call::Pay, Some(terms)) => ledger.pay(asked.id, terms),
            (Call::Pay, None) => (400, json!({ "message": "not a payment" })),
            (Call::Look, _) => ledger.look(asked.id),
            (Call::Cancel, _) => ledger.cancel(asked.id),
            (Call::Refund, _) => ledger.refund(asked.id),
        }
    });
    doing.await.unwrap_or_else(|_| (500, json!({})))
}

/// The answer that is given in place of `reply`.
async fn troubled((status, body): Reply, trouble: Option<Trouble>) -> io::Result<Response<Body>> {
    let Some(trouble) = trouble else {
        return Ok(plain((status, body)));
    };
    let half = Bytes::from_static(b"{\"paymentId\":");
    match trouble {
        Trouble::Late(_) => Ok(plain((status, body))),
        Trouble::Silent | Trouble::DoneAndSilent => std::future::pending().await,
        Trouble::Dropped | Trouble::DoneAndDropped => Err(io::Error::other("dropped")),
        Trouble::Fails | Trouble::DoneAndFails => {
            Ok(plain((500, json!({ "message": "out of order" }))))
        }
        Trouble::Moved => Ok(moved()),
        Trouble::DoneAndGarbled => Ok(whole(
            status,
            Bytes::from_static(b"<html>All is well, it is PAID</html>"),
        )),
        Trouble::DoneForAnother => Ok(plain((status, for_another(body)))),
        Trouble::DoneAndContradicted => Ok(plain((if status == 202 { 200 } else { 202 }, body))),
        Trouble::DoneAndCut => {
            let begins = stream::iter([Ok(Frame::data(half))]);
            // Not in one go: what is there goes out first.
            let breaks = async { tokio::time::sleep(CUT_AFTER).await }
                .map(|()| Err(io::Error::other("cut")));
            let cut = begins.chain(breaks.into_stream());
            Ok(response(status, StreamBody::new(cut).boxed_unsync()))
        }
        Trouble::DoneAndEndless => {
            let endless = stream::repeat(half).map(|half| Ok(Frame::data(half)));
            Ok(response(status, StreamBody::new(endless).boxed_unsync()))
        }
    }
}

fn for_another(mut body: Value) -> Value {
    body["paymentId"] = json!(Uuid::nil());
    body
}

fn moved() -> Response<Body> {
    let mut response = plain((302, json!({})));
    response
        .headers_mut()
        .insert(LOCATION, "/all-is-well".parse().expect("a path"));
    response
}

fn plain((status, body): Reply) -> Response<Body> {
    whole(status, body.to_string().into())
}

fn whole(status: u16, body: Bytes) -> Response<Body> {
    response(
        status,
        Full::new(body)
            .map_err(|never: Infallible| match never {})
            .boxed_unsync(),
    )
}

fn response(status: u16, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(
        CONTENT_TYPE,
        "application/json".parse().expect("a media type"),
    );
    response
}

async fn read(request: Request<Incoming>) -> Option<Asked> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let path: Vec<_> = path.split('/').skip(1).collect();
    match (&method, path.as_slice()) {
        (&Method::POST, ["payment"]) => {
            let body = request.into_body().collect().await.ok()?.to_bytes();
            let (id, terms) = terms(&serde_json::from_slice(&body).ok()?)?;
            Some(Asked {
                call: Call::Pay,
                id,
                terms: Some(terms),
            })
        }
        (&Method::GET, ["payment", id]) => Some(Asked {
            call: Call::Look,
            id: id.parse().ok()?,
            terms: None,
        }),
        (&Method::POST, ["payment", id, "refund"]) => Some(Asked {
            call: Call::Refund,
            id: id.parse().ok()?,
            terms: None,
        }),
        (&Method::POST, ["payment", id, "cancel"]) => Some(Asked {
            call: Call::Cancel,
            id: id.parse().ok()?,
            terms: None,
        }),
        _ => None,
    }
}

fn terms(body: &Value) -> Option<(Uuid, Terms)> {
    let id = body["paymentId"].as_str()?.parse().ok()?;
    let user_id = body["userId"].as_str()?.to_owned();
    Some((
        id,
        Terms {
            product_id: body["productId"].as_i64()?,
            user_id,
            amount: body["amount"].as_i64()?,
        },
    ))
}

impl UnderWay {
    fn begins(shared: &Arc<Shared>) -> Self {
        let now = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(now, Ordering::SeqCst);
        Self(shared.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}
