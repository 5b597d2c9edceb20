//! The reference of the audit: what the OpenAPI document of the listener that serves [`crate::routes`] says of each call.

mod examples;

use edge::reference::{Endpoint, INVEST_ID, PAGE, PRODUCT_ID, Parameter, SIZE, product_id, time};
use edge::{FieldProblem, Problem};
use event_log::acts::ACTS;
use event_log::search::{EVENT_TYPES, MAX_PAGE_EVENTS};
use query_api::{HoldingItem, InvestItem, ProductItem, SummaryItem};
use serde_json::{Value, json};

use crate::access::{self, AccessPage};
use crate::acts::{self, Page as ActPage};
use crate::as_of::{Listed, ProductAsOf, Summary};
use crate::event::{DEFAULT_EVENTS_PER_PAGE, Page as EventPage};
use crate::proof::act_seal_store::ACT_SEALS_PER_PAGE;
use crate::proof::{ActSeals, Seals, seal_store::SEALS_PER_PAGE};
use crate::refusal::{self, Page as RefusalPage};
use crate::timeline::Timeline;

const NDJSON: &str = "application/x-ndjson";
const CSV: &str = "text/csv";

const AT: Parameter = query(
    "at",
    "The time to look at; not in the future. For a product: now, when neither it nor sequence is given.",
    time,
);
const REQUIRED_AT: Parameter = Parameter {
    is_required: true,
    ..AT
};
const FROM: Parameter = query("from", "From this time on.", time);
const TO: Parameter = query("to", "Before this time.", time);
const ORDER: Parameter = query(
    "order",
    "By time: the oldest or the newest first.",
    || json!({"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
);
const CURSOR: Parameter = query(
    "cursor",
    "The nextCursor of the answer before, with the same parameters.",
    || json!({"type": "string", "minLength": 1}),
);
const OF_PRODUCT: Parameter = query("productId", "Only of this product.", product_id);
const OF_USER: Parameter = query("userId", "Only of this user.", user_id);
const REQUIRED_USER: Parameter = Parameter {
    is_required: true,
    description: "Whose.",
    ..OF_USER
};
/// What events may be looked for by.
const FILTER: [Parameter; 8] = [
    OF_PRODUCT,
    OF_USER,
    query(
        "investId",
        "Only of this invest.",
        || json!({"type": "string", "format": "uuid"}),
    ),
    query(
        "type",
        "Only of this type.",
        || json!({"type": "string", "enum": EVENT_TYPES}),
    ),
    query(
        "correlationId",
        "Only of this request.",
        || json!({"type": "string", "minLength": 1, "maxLength": 256}),
    ),
    query(
        "from",
        "From this time on, or from this position on in each partition.",
        time_or_position,
    ),
    query(
        "to",
        "Before this time, or up to and with this position in each partition.",
        time_or_position,
    ),
    query(
        "partition",
        "Only of this partition.",
        || json!({"type": "integer", "format": "int32", "minimum": 0}),
    ),
];

/// Every call of the audit.
pub fn endpoints() -> Vec<Endpoint> {
    [events(), past(), stories(), proofs()]
        .into_iter()
        .flatten()
        .collect()
}

fn events() -> Vec<Endpoint> {
    let search = broken_or(Endpoint::get("/admin/audit/event", "listEvents", "Events by any filter"))
        .described(
            "A page, in the envelope, or with Accept application/x-ndjson or text/csv all of them as a stream. A stream that breaks off \
             ends without its last chunk.",
        )
        .takes(FILTER)
        .takes([ORDER, CURSOR, limit(EVENT_LIMIT, "Events of a page, at most; of a stream in all, without a bound of its own.")])
        .gives::<EventPage>(json!({"list": [examples::event()], "nextCursor": null}))
        .gives_text(NDJSON, "An event on each line, as in a page.", &format!("{}\n", examples::event()))
        .gives_text(CSV, "A row for each event, under a row of names.", examples::CSV_EVENTS)
        .refuses([invalid("limit", "must be a whole number from 1 to 1000")]);
    let format = query(
        "format",
        "Instead of Accept.",
        || json!({"type": "string", "enum": ["ndjson", "csv"]}),
    );
    let export = Endpoint::get(
        "/admin/audit/export",
        "exportLog",
        "The log as a file that can be verified without Moa",
    )
    .described(
        "The whole log, or what a filter leaves of it. The format is in docs/proof-format.md.",
    )
    .takes(FILTER)
    .takes([format])
    .gives_text(
        NDJSON,
        "A header, a line for each event, and a last line that says how many.",
        examples::EXPORT,
    )
    .gives_text(
        CSV,
        "A row for each event, under a row of names.",
        examples::CSV_EXPORT,
    )
    .answers_with([("Content-Disposition", "The name of a file to save it as.")])
    .refuses([
        invalid("format", "must be ndjson or csv"),
        Problem::Conflict("2 exports are being made already, try again when one is done".into()),
    ]);
    vec![search, export]
}

fn past() -> Vec<Endpoint> {
    let sequence = query(
        "sequence",
        "Up to and with this event of the product's stream, instead of a time.",
        || json!({"type": "integer", "format": "int64", "minimum": 1}),
    );
    let product = broken_or(Endpoint::get(
        "/admin/audit/product/{id}",
        "getProductAsOf",
        "A product as it stood",
    ))
    .takes([
        Parameter {
            name: "id",
            ..PRODUCT_ID
        },
        AT,
        sequence,
    ])
    .gives::<ProductAsOf>(examples::product_as_of())
    .refuses([
        invalid(
            "at",
            "must not be in the future; it is 2026-11-22T18:00:00 now",
        ),
        Problem::NotFound,
    ]);
    let products = as_of("/admin/audit/product", "listProductsAsOf", "The products that took invests at a time")
        .takes([PAGE, SIZE])
        .gives::<Listed<ProductItem<'_>>>(examples::listed(&json!({
            "productId": 2, "title": "product1", "totalInvestingAmount": 1_000, "currentInvestingAmount": 210,
            "investingCnt": 3, "startedAt": "2026-11-20T23:59:00", "finishedAt": "2026-12-12T23:59:00",
            "investStatus": "ONGOING",
        })));
    let holdings = as_of(
        "/admin/audit/holdings",
        "listHoldingsAsOf",
        "What a user held at a time",
    )
    .takes([REQUIRED_USER, PAGE, SIZE])
    .gives::<Listed<HoldingItem<'_>>>(examples::listed(&json!({
        "productId": 3, "userId": "user4", "title": "product2", "totalInvestingAmount": 100,
        "myInvestingAmount": 30, "investDate": "2026-11-22T23:59:01.677448",
    })));
    let invests = as_of("/admin/audit/invest-log", "listInvestsAsOf", "What a user's invests were at a time")
        .takes([REQUIRED_USER, OF_PRODUCT, PAGE, SIZE])
        .gives::<Listed<InvestItem<'_>>>(examples::listed(&json!({
            "investId": "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001", "productId": 3, "title": "product2", "investAmount": 10,
            "investResult": "SUCCESS", "failReason": null, "accrueUserInvest": 30, "accrueProductInvest": 90,
            "state": "SETTLED", "requestedAt": "2026-11-22T23:59:01.677448", "updatedAt": "2026-11-22T23:59:02.115211",
        })));
    let summary = as_of("/admin/audit/summary", "getSummaryAsOf", "The sums of what a user had invested at a time")
        .takes([REQUIRED_USER])
        .gives::<Summary<SummaryItem<'_>>>(json!({
            "at": "2026-11-23T18:00:00", "positions": [7, 3, 0, 12],
            "summary": {"userId": "user4", "productCount": 2, "settledAmount": 40, "reservedAmount": 0, "failedCount": 0,
                        "firstInvestDate": "2026-11-23T06:36:03.378044", "lastInvestDate": "2026-11-23T06:36:05.434445"},
        }));
    vec![product, products, holdings, invests, summary]
}

fn stories() -> Vec<Endpoint> {
    let invest = broken_or(Endpoint::get("/admin/audit/invest/{id}", "getTimeline", "One invest, cause by cause"))
        .described("The request, its reservation, the calls to the payment provider, what became of it, and who has applied that.")
        .takes([Parameter { name: "id", ..INVEST_ID }])
        .gives::<Timeline>(examples::timeline())
        .refuses([Problem::NotFound, invalid("investId", "must be a uuid")]);
    let code = query(
        "code",
        "Only with this code.",
        || json!({"type": "string", "enum": refusal::CODES}),
    );
    let refusals = Endpoint::get(
        "/admin/audit/refusal",
        "listRefusals",
        "Invests that were refused, of the last 30 days",
    )
    .takes([
        OF_PRODUCT,
        OF_USER,
        code,
        FROM,
        TO,
        ORDER,
        CURSOR,
        limit(REFUSAL_LIMIT, "Refusals of a page."),
    ])
    .gives::<RefusalPage>(examples::refusals())
    .refuses([
        invalid("limit", "must be a whole number from 1 to 1000"),
        Problem::Conflict(
            "it takes too long to look for that: give from and to, nearer to each other".into(),
        ),
    ]);
    let access = Endpoint::get(
        "/admin/audit/access",
        "listAccess",
        "Who read the audit, the latest first",
    )
    .takes([FROM, TO, CURSOR, limit(ACCESS_LIMIT, "Records of a page.")])
    .gives::<AccessPage>(examples::access())
    .refuses([invalid("limit", "must be a whole number from 1 to 1000")]);
    let acts = Endpoint::get(
        "/admin/audit/act",
        "listActs",
        "What operators did, and what came of it, the latest first",
    )
    .described("Each act is recorded before it takes effect, chained by hashes, and sealed.")
    .takes([
        query(
            "actor",
            "Only by the token of this name.",
            || json!({"type": "string", "minLength": 1, "maxLength": 64}),
        ),
        query(
            "act",
            "Only of this kind.",
            || json!({"type": "string", "enum": ACTS}),
        ),
    ])
    .takes([FROM, TO, CURSOR, limit(ACT_LIMIT, "Acts of a page.")])
    .gives::<ActPage>(examples::acts())
    .refuses([invalid("limit", "must be a whole number from 1 to 1000")]);
    vec![invest, refusals, access, acts]
}

fn proofs() -> Vec<Endpoint> {
    let verify = Endpoint::get(
        "/admin/audit/verify",
        "verifyLog",
        "Verify the whole log against its seals",
    )
    .described(
        "Without a public key only the hash chain is checked, and seals is 0. It may take minutes.",
    )
    .gives::<::proof::report::Report>(examples::report())
    .refuses([Problem::Conflict(
        "The log is being verified already, try again later".into(),
    )]);
    let prove = Endpoint::get(
        "/admin/audit/prove/{investId}",
        "proveInvest",
        "Prove that an invest is in the sealed log",
    )
    .described("The proof needs the public key alone: moa audit check, or examples/verify.py.")
    .takes([INVEST_ID])
    .gives::<::proof::inclusion::Proof>(examples::inclusion())
    .refuses([
        Problem::NotFound,
        invalid("investId", "must be a uuid"),
        Problem::Conflict("None of its events is sealed yet, try again in some seconds".into()),
    ]);
    let after = query(
        "after",
        "Those after the seal of this number.",
        || json!({"type": "integer", "format": "int64", "minimum": 0, "default": 0}),
    );
    let newest = query(
        "newest",
        "The newest of them, still in order.",
        || json!({"type": "boolean", "default": false}),
    );
    let seals = Endpoint::get(
        "/admin/audit/seal",
        "listSeals",
        "The seals of the log, as the database has them",
    )
    .described("An auditor compares them with the file outside the database.")
    .takes([after, newest, limit(SEAL_LIMIT, "Seals of a page.")])
    .gives::<Seals>(json!({"list": [examples::seal()], "nextAfter": null}))
    .refuses([invalid("after", "must be a whole number from 0")]);
    let after = Parameter {
        description: "Those after the seal of acts of this number.",
        ..after
    };
    let act_seals = Endpoint::get(
        "/admin/audit/act/seal",
        "listActSeals",
        "The seals of operators' acts, as the database has them",
    )
    .described("An auditor compares them with the file outside the database.")
    .takes([after, limit(ACT_SEAL_LIMIT, "Seals of a page.")])
    .gives::<ActSeals>(json!({"list": [examples::act_seal()], "nextAfter": null}))
    .refuses([invalid("after", "must be a whole number from 0")]);
    vec![verify, prove, seals, act_seals]
}

/// A read model as it stood.
fn as_of(path: &'static str, id: &'static str, summary: &'static str) -> Endpoint {
    broken_or(Endpoint::get(path, id, summary))
        .described("Folded from the log; shown as the public call shows it.")
        .takes([REQUIRED_AT])
        .refuses([invalid("at", "is missing: give the time to look at")])
}

/// What reads the log says where it is broken.
fn broken_or(endpoint: Endpoint) -> Endpoint {
    endpoint.refuses([Problem::Conflict(
        "the log is broken at partition 0 position 7: its hash chain does not match".into(),
    )])
}

const fn query(name: &'static str, description: &'static str, schema: fn() -> Value) -> Parameter {
    Parameter {
        location: "query",
        name,
        is_required: false,
        description,
        schema,
    }
}

const fn limit(schema: fn() -> Value, description: &'static str) -> Parameter {
    query("limit", description, schema)
}

const EVENT_LIMIT: fn() -> Value = || json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_PAGE_EVENTS, "default": DEFAULT_EVENTS_PER_PAGE});
const REFUSAL_LIMIT: fn() -> Value = || {
    let (most, default) = (refusal::MAX_ROWS_PER_PAGE, refusal::DEFAULT_ROWS_PER_PAGE);
    json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": most, "default": default})
};
const ACCESS_LIMIT: fn() -> Value = || {
    let (most, default) = (edge::MAX_ROWS_PER_PAGE, access::DEFAULT_ROWS_PER_PAGE);
    json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": most, "default": default})
};
const SEAL_LIMIT: fn() -> Value = || json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": SEALS_PER_PAGE, "default": SEALS_PER_PAGE});

const ACT_SEAL_LIMIT: fn() -> Value = || json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": ACT_SEALS_PER_PAGE, "default": ACT_SEALS_PER_PAGE});
const ACT_LIMIT: fn() -> Value = || {
    let (most, default) = (edge::MAX_ROWS_PER_PAGE, acts::DEFAULT_ROWS_PER_PAGE);
    json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": most, "default": default})
};

fn user_id() -> Value {
    (edge::reference::USER_ID.schema)()
}

fn time_or_position() -> Value {
    json!({"anyOf": [time(), {"type": "integer", "format": "int64", "minimum": 1}]})
}

fn invalid(name: &'static str, wrong: &'static str) -> Problem {
    Problem::invalid(FieldProblem::new(name, wrong))
}
