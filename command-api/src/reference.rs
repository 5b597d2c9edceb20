//! The reference of the write side: what its OpenAPI document says of each call.

use edge::reference::{
    CORRELATION_ID, Endpoint, IDEMPOTENCY_KEY, INVEST_ID, Listener, PRODUCT_ID, USER_ID, amount,
    health, product_id, time,
};
use edge::{AuthFault, FieldProblem, Problem};
use serde_json::{Value, json};

use crate::product::OpenedProduct;

/// The write side.
pub const LISTENER: Listener = Listener {
    title: "Moa: writes",
    description: "Invests. An answer is final: OK is durable, and every other answer means that nothing happened, except 503 \
                  OUTCOME_UNKNOWN and a broken connection: then ask the invest log for X-Invest-Id, or send an Idempotency-Key and repeat.",
    bearer: None,
    console: None,
};

/// Every public write.
pub fn endpoints() -> Vec<Endpoint> {
    let body = json!({"type": "object", "required": ["productId", "investAmount"],
                      "properties": {"productId": product_id(), "investAmount": amount()}});
    let invest = Endpoint::post("/api/invest", "invest", "Reserve an amount of a product")
        .described(
            "Refusals are HTTP 200 with result false. 429 and 503 OVERLOADED were definitely not accepted: try again after Retry-After. The \
             money follows in the background; the invest log shows what became of it.",
        )
        .takes([USER_ID, IDEMPOTENCY_KEY, CORRELATION_ID])
        .body(body, json!({"productId": 3, "investAmount": 10}))
        .gives::<String>(json!("OK"))
        .answers_with([
            ("X-Invest-Id", "The id of the accepted invest."),
            ("X-Consistency-Token", "Send it with the next read, which then shows this invest."),
            ("X-Remaining-Amount", "With SOLD_OUT: what is left of the product, in won."),
            ("X-Remaining-Limit", "With LIMIT_EXCEEDED: what this user may still have of the product, in won."),
            ("Idempotency-Replayed", "true when the answer was given before."),
            ("X-Correlation-Id", "The name of this request."),
        ])
        .refuses([
            Problem::NotExistProduct,
            Problem::Cancelled,
            Problem::Failed,
            Problem::Closed,
            Problem::NotStarted,
            Problem::Finished,
            Problem::BelowMinimum { smallest: 100 },
            Problem::NotAMultiple { unit: 50 },
            Problem::LimitExceeded { remaining: 0 },
            Problem::SoldOut { remaining: 7 },
            Problem::MissingUserId,
            Problem::Unauthenticated(AuthFault::NoToken),
            Problem::invalid(FieldProblem::new("investAmount", "must be a whole number from 1 to 1000000000000")),
            Problem::IdempotencyKeyReused,
            Problem::OutcomeUnknown { invest_id: None },
        ]);
    [invest, withdraw()].into_iter().chain(health()).collect()
}

fn withdraw() -> Endpoint {
    Endpoint::post("/api/invest/{investId}/withdraw", "withdraw", "Take an invest back")
        .described(
            "For products whose terms have withdrawableUntil, before that time. OK is durable and final: the amount is free for others at \
             once, and the money follows. The invest log shows WITHDRAWN, then REFUNDED. Asked again, the answer is the same.",
        )
        .takes([INVEST_ID, USER_ID, CORRELATION_ID])
        .gives::<String>(json!("OK"))
        .answers_with([
            ("X-Consistency-Token", "Send it with the next read, which then shows the withdrawal."),
            ("X-Correlation-Id", "The name of this request."),
        ])
        .refuses([
            Problem::NotExistInvest,
            Problem::NotWithdrawable,
            Problem::MissingUserId,
            Problem::Unauthenticated(AuthFault::NoToken),
            Problem::invalid(FieldProblem::new("investId", "must be a uuid")),
            Problem::OutcomeUnknown { invest_id: None },
        ])
}

/// What operators do to products, for the listener that serves [`crate::product_routes`].
pub fn product_endpoints() -> Vec<Endpoint> {
    vec![open(), close(), cancel()]
}

fn open() -> Endpoint {
    let example = json!({"title": "product1", "totalInvestingAmount": 1_000,
                         "startedAt": "2026-11-20T23:59:00", "finishedAt": "2026-12-12T23:59:00"});
    product_write("/admin/product", "openProduct", "Open a product")
        .described(
            "It takes invests from startedAt until finishedAt. The terms are optional, and bind for its whole life.",
        )
        .takes([IDEMPOTENCY_KEY])
        .body(offer(), example)
        .gives::<OpenedProduct>(json!({"productId": 5}))
        .answers_with([("Idempotency-Replayed", "true when the answer was given before.")])
        .refuses([
            Problem::invalid(FieldProblem::new("finishedAt", "must be later than startedAt")),
            Problem::IdempotencyKeyReused,
        ])
}

fn close() -> Endpoint {
    product_write(
        "/admin/product/{productId}/close",
        "closeProduct",
        "Take no more invests",
    )
    .described("Reservations that are open still get their fate.")
    .takes([PRODUCT_ID])
    .gives::<String>(json!("OK"))
    .refuses([
        Problem::NotExistProduct,
        Problem::Cancelled,
        Problem::Failed,
        Problem::Closed,
        Problem::invalid(FieldProblem::new(
            "productId",
            "must be a whole number from 1",
        )),
    ])
}

fn cancel() -> Endpoint {
    let body = json!({"type": "object", "required": ["reason"],
                      "properties": {"reason": text("What investors are shown.")}});
    product_write("/admin/product/{productId}/cancel", "cancelProduct", "Give everything back")
        .described("Every invest is refunded, in the background; GET /admin/mass-refund shows how far that is.")
        .takes([PRODUCT_ID])
        .body(body, json!({"reason": "the orchard froze"}))
        .gives::<String>(json!("OK"))
        .refuses([
            Problem::NotExistProduct,
            Problem::Cancelled,
            Problem::Failed,
            Problem::invalid(FieldProblem::new("reason", "is missing")),
        ])
}

fn product_write(path: &'static str, id: &'static str, summary: &'static str) -> Endpoint {
    Endpoint::post(path, id, summary)
        .answers_with([(
            "X-Consistency-Token",
            "Send it with the next public read, which then shows the change.",
        )])
        .refuses([Problem::OutcomeUnknown { invest_id: None }])
}

/// What is offered: the window, the total and the optional terms.
fn offer() -> Value {
    let or_null = |mut schema: Value| {
        schema["type"] = json!([schema["type"], "null"]);
        schema
    };
    json!({
        "type": "object",
        "required": ["title", "totalInvestingAmount", "startedAt", "finishedAt"],
        "properties": {
            "title": text("Without personal data."),
            "totalInvestingAmount": amount(),
            "startedAt": time(),
            "finishedAt": time(),
            "minInvestAmount": or_null(amount()),
            "investAmountUnit": or_null(amount()),
            "maxAmountPerUser": or_null(amount()),
            "targetAmount": or_null(amount()),
            "withdrawableUntil": or_null(time()),
        },
    })
}

/// The schema of a title or a reason.
fn text(description: &str) -> Value {
    let pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$";
    json!({"type": "string", "minLength": 1, "maxLength": 500, "pattern": pattern, "description": description})
}
