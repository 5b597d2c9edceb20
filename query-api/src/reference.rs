//! The reference of the read side: what its OpenAPI document says of each call.

use edge::reference::{
    CONSISTENCY_TOKEN, CORRELATION_ID, CURSOR, Endpoint, INVEST_ID, LAST_EVENT_ID, Listener, PAGE,
    PRODUCT_ID, Parameter, SIZE, TIMES, USER_ID, health, product_id,
};
use edge::{AuthFault, FieldProblem, Problem};
use serde_json::{Value, json};

use crate::holdings::HoldingItem;
use crate::invest::InvestItem;
use crate::investor_summary::SummaryItem;
use crate::product_row::{ProductItem, WholeProduct};
use crate::product_status::STATUSES;

/// The read side.
pub const LISTENER: Listener = Listener {
    title: "Moa: reads",
    description: "Products, holdings and the invest log. Every answer carries X-Consistency-Token, the state that it shows. Times are \
                  local to the zone in X-Time-Zone, without an offset, unless ?times=offset asks for one.",
    bearer: None,
    console: None,
};

const ANSWER_HEADERS: [(&str, &str); 4] = [
    (
        "X-Time-Zone",
        "The zone of times without an offset, by its IANA name.",
    ),
    (
        "X-Consistency-Token",
        "The state that the answer shows; opaque.",
    ),
    (
        "X-Consistency",
        "reached or timeout, when the request had a token.",
    ),
    ("X-Correlation-Id", "The name of this request."),
];

const STATUS: Parameter = Parameter {
    location: "query",
    name: "status",
    is_required: false,
    description: "Shows the products of these statuses, a list with commas, instead of those that take invests now.",
    schema: || {
        let one = STATUSES.join("|");
        json!({"type": "string", "pattern": format!("^({one})(,({one}))*$"), "example": "UPCOMING,ONGOING"})
    },
};

const OF_PRODUCT: Parameter = Parameter {
    location: "query",
    name: "productId",
    is_required: false,
    description: "Only the invests in this product.",
    schema: product_id,
};

/// Every public read.
pub fn endpoints() -> Vec<Endpoint> {
    reads().into_iter().chain(health()).collect()
}

fn reads() -> Vec<Endpoint> {
    vec![
        read("/api/product", "listProducts", "The products that take invests now, newest first")
            .described("COMPLETE: all is taken. currentInvestingAmount counts reserved and settled, investingCnt the users with either.")
            .takes([PAGE, SIZE, STATUS])
            .gives_list_of::<ProductItem<'_>>(product())
            .refuses([invalid("page", "must be a whole number from 0 to 1000000000")]),
        read("/api/product/{productId}", "getProduct", "One product, open or not, with its terms")
            .described("A cancelled product says why in cancelReason.")
            .takes([PRODUCT_ID])
            .gives::<WholeProduct<'_>>(with_terms(product()))
            .refuses([Problem::NotExistProduct, invalid("productId", "must be a whole number from 1")]),
        streamed("/api/product/stream", "streamProducts", "The products that take invests now, then each product that changes")
            .described(
                "Server-sent events named product, with what getProduct shows. At most five a second for one product; the last state wins. \
                 The id is a consistency token.",
            )
            .gives_events_of::<WholeProduct<'_>>("product", &product()),
        mine("/api/product/my/invest", "listMyHoldings", "The user's settled holdings, latest first")
            .described("With a cursor by product instead, newest first: a holding's date changes whenever it is settled again.")
            .takes([PAGE, SIZE, CURSOR])
            .gives_list_of::<HoldingItem<'_>>(json!({
                "productId": 3, "userId": "user4", "title": "product2", "totalInvestingAmount": 100,
                "myInvestingAmount": 30, "investDate": "2026-11-22T23:59:01.677448",
            }))
            .continues(),
        mine("/api/product/my/summary", "getMySummary", "The sums of what the user has invested")
            .gives::<SummaryItem<'_>>(json!({
                "userId": "user4", "productCount": 2, "settledAmount": 40, "reservedAmount": 0, "failedCount": 0,
                "firstInvestDate": "2026-11-23T06:36:03.378044", "lastInvestDate": "2026-11-23T06:36:05.434445",
            })),
        mine("/api/invest/log", "listMyInvests", "What became of each of the user's invests, latest first")
            .described(
                "An invest that is reserved reads investResult FAIL with failReason PENDING until its fate; state says it plainly. One that \
                 was given back reads FAIL with the reason, in state WITHDRAWN or REFUNDED.",
            )
            .takes([PAGE, SIZE, CURSOR, OF_PRODUCT])
            .gives_list_of::<InvestItem<'_>>(invest())
            .continues(),
        mine("/api/invest/log/{investId}", "getMyInvest", "What became of one invest")
            .described("Another user's invest and an unknown one get the same 404.")
            .takes([INVEST_ID])
            .gives::<InvestItem<'_>>(invest())
            .refuses([Problem::NotFound]),
        streamed("/api/invest/log/stream", "streamMyInvests", "The user's latest invests, then what becomes of each")
            .described("Server-sent events named invest, with what getMyInvest shows, of the latest twenty invests.")
            .takes([USER_ID])
            .refuses([Problem::MissingUserId, Problem::Unauthenticated(AuthFault::NoToken)])
            .gives_events_of::<InvestItem<'_>>("invest", &invest()),
    ]
}

fn read(path: &'static str, id: &'static str, summary: &'static str) -> Endpoint {
    Endpoint::get(path, id, summary)
        .takes([TIMES, CONSISTENCY_TOKEN, CORRELATION_ID])
        .refuses([Problem::TokenOutdated])
        .answers_with(ANSWER_HEADERS)
}

fn streamed(path: &'static str, id: &'static str, summary: &'static str) -> Endpoint {
    let refusals = [invalid(
        "Last-Event-ID",
        "must be the id of an event that Moa sent",
    )];
    read(path, id, summary)
        .takes([LAST_EVENT_ID])
        .refuses(refusals)
}

fn mine(path: &'static str, id: &'static str, summary: &'static str) -> Endpoint {
    read(path, id, summary).takes([USER_ID]).refuses([
        Problem::MissingUserId,
        Problem::Unauthenticated(AuthFault::NoToken),
        Problem::RateLimited,
        invalid("X-Consistency-Token", "must be a token that Moa gave"),
    ])
}

fn invalid(name: &'static str, wrong: &'static str) -> Problem {
    Problem::invalid(FieldProblem::new(name, wrong))
}

fn product() -> Value {
    json!({
        "productId": 2, "title": "product1", "totalInvestingAmount": 1_000, "currentInvestingAmount": 210,
        "investingCnt": 3, "startedAt": "2026-11-20T23:59:00", "finishedAt": "2026-12-12T23:59:00",
        "investStatus": "ONGOING",
    })
}

fn with_terms(mut product: Value) -> Value {
    product["terms"] = json!({
        "minInvestAmount": 100, "investAmountUnit": 50, "maxAmountPerUser": 1_000, "targetAmount": 500,
        "withdrawableUntil": "2026-12-10T23:59:00",
    });
    product
}

fn invest() -> Value {
    json!({
        "investId": "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001", "productId": 3, "title": "product2", "investAmount": 10,
        "investResult": "FAIL", "failReason": "PENDING", "accrueUserInvest": 30, "accrueProductInvest": 90,
        "state": "RESERVED", "requestedAt": "2026-11-22T23:59:01.677448", "updatedAt": "2026-11-22T23:59:01.677448",
    })
}
