//! The reference of the write side: what its OpenAPI document says of each call.

use edge::reference::{CORRELATION_ID, Endpoint, IDEMPOTENCY_KEY, INVEST_ID, Listener, USER_ID, product_id};
use edge::{AuthFault, FieldProblem, Problem};
use serde_json::json;

/// The write side.
pub const LISTENER: Listener = Listener {
    title: "Moa: writes",
    description: "Invests. An answer is final: OK is durable, and every other answer means that nothing happened, except 503 \
                  OUTCOME_UNKNOWN and a broken connection: then ask the invest log for X-Invest-Id, or send an Idempotency-Key and repeat.",
    bearer: None,
};

/// Every public write.
pub fn endpoints() -> Vec<Endpoint> {
    let amount = json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": domain::MAX_AMOUNT,
                        "description": "Whole won."});
    let body = json!({"type": "object", "required": ["productId", "investAmount"],
                      "properties": {"productId": product_id(), "investAmount": amount}});
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
    vec![invest, withdraw()]
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
