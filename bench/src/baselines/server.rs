//! What all baselines share: the request and the answers as Moa has them.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt as _;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::net::TcpListener;

/// A request to invest.
pub(super) struct Invest {
    pub(super) user_id: String,
    pub(super) product_id: i64,
    /// In won, positive.
    pub(super) amount: i64,
}

/// What became of one. An error is answered as 500.
pub(super) enum Outcome {
    /// It is kept, and survives a crash.
    Accepted,
    /// There is not so much left. Nothing happened.
    SoldOut,
    /// It was given up because of others. Nothing happened.
    Overloaded,
}

/// A way to keep the promise.
pub(super) trait Invests: Send + Sync + 'static {
    fn invest(&self, invest: Invest) -> impl Future<Output = anyhow::Result<Outcome>> + Send;
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    product_id: i64,
    invest_amount: i64,
}

/// The shape of Moa's answers.
#[derive(Serialize)]
struct Envelope {
    result: bool,
    code: &'static str,
    message: Option<&'static str>,
    data: Option<&'static str>,
    status: u16,
}

pub(super) fn routes(way: impl Invests) -> Router {
    Router::new()
        .route("/api/invest", post(invest))
        .with_state(Arc::new(way))
}

pub(super) async fn serve(listener: TcpListener, routes: Router) -> anyhow::Result<()> {
    let listener = listener.tap_io(|stream| _ = stream.set_nodelay(true));
    Ok(axum::serve(listener, routes).await?)
}

async fn invest<W: Invests>(
    State(way): State<Arc<W>>,
    headers: HeaderMap,
    Json(body): Json<Body>,
) -> Response {
    let Some(user_id) = headers
        .get("x-user-id")
        .and_then(|value| value.to_str().ok())
    else {
        return refused(
            StatusCode::BAD_REQUEST,
            "MISSING_X_USER_ID",
            "Missing X-USER-ID header value : ",
        );
    };
    if body.invest_amount <= 0 {
        return refused(
            StatusCode::BAD_REQUEST,
            "INVALID_REQUEST",
            "investAmount must be positive",
        );
    }
    let invest = Invest {
        user_id: user_id.to_owned(),
        product_id: body.product_id,
        amount: body.invest_amount,
    };
    match way.invest(invest).await {
        Ok(Outcome::Accepted) => Json(Envelope {
            result: true,
            code: "01",
            message: None,
            data: Some("OK"),
            status: 200,
        })
        .into_response(),
        Ok(Outcome::SoldOut) => refused(StatusCode::OK, "SOLD_OUT", "Product is sold out : "),
        Ok(Outcome::Overloaded) => refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "OVERLOADED",
            "Try again later",
        ),
        Err(error) => {
            eprintln!("an invest failed: {error:#}");
            refused(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                "It is not known whether it happened",
            )
        }
    }
}

fn refused(status: StatusCode, code: &'static str, message: &'static str) -> Response {
    let answer = Envelope {
        result: false,
        code,
        message: Some(message),
        data: None,
        status: status.as_u16(),
    };
    (status, Json(answer)).into_response()
}
