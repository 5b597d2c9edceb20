//! The parameters that several calls share, as the extractors of this crate take them.

use serde_json::{Value, json};

use super::Parameter;
use crate::{MAX_PAGE_NUMBER, MAX_ROWS_PER_PAGE};

/// No cursor of a list is longer.
pub const MAX_CURSOR_CHARS: usize = 64;

/// See [`crate::UserIdHeader`].
pub const USER_ID: Parameter = Parameter {
    location: "header",
    name: "X-USER-ID",
    is_required: true,
    description: "Whose request it is: a pseudonym. Where users have bearer tokens it may be left out; docs/users.md says how users are known.",
    schema: user_id,
};

/// See [`crate::Paging`].
pub const PAGE: Parameter = Parameter {
    location: "query",
    name: "page",
    is_required: false,
    description: "Which page.",
    schema: || json!({"type": "integer", "format": "int64", "minimum": 0, "maximum": MAX_PAGE_NUMBER, "default": 0}),
};

/// See [`crate::Paging`].
pub const SIZE: Parameter = Parameter {
    location: "query",
    name: "size",
    is_required: false,
    description: "How many rows a page has.",
    schema: || json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_ROWS_PER_PAGE, "default": 20}),
};

/// Where a list continues; empty from its beginning.
pub const CURSOR: Parameter = Parameter {
    location: "query",
    name: "cursor",
    is_required: false,
    description: "Instead of page: empty for the beginning of the list, then each answer's nextCursor, until that is null. Opaque; good for the \
                  same call, user and filter, at any size and for any time.",
    schema: || json!({"type": "string", "maxLength": MAX_CURSOR_CHARS, "pattern": "^[A-Za-z0-9_-]*$"}),
};

/// See [`crate::ConsistencyToken`].
pub const CONSISTENCY_TOKEN: Parameter = Parameter {
    location: "header",
    name: "X-Consistency-Token",
    is_required: false,
    description: "A token of an earlier answer. The read waits up to 2 s until it shows that state, and `X-Consistency` says whether it does.",
    schema: text,
};

/// See [`crate::ConsistencyToken`].
pub const LAST_EVENT_ID: Parameter = Parameter {
    location: "header",
    name: "Last-Event-ID",
    is_required: false,
    description: "The id of the last event that was seen, or a consistency token: the stream begins with what may have changed since. \
                  Browsers send it by themselves.",
    schema: text,
};

/// See [`crate::Correlation`].
pub const CORRELATION_ID: Parameter = Parameter {
    location: "header",
    name: "X-Correlation-Id",
    is_required: false,
    description: "The caller's name for this request, in the answer, in logs and in events. Made up when absent or malformed.",
    schema: text,
};

/// See [`crate::IdempotencyKey`].
pub const IDEMPOTENCY_KEY: Parameter = Parameter {
    location: "header",
    name: "Idempotency-Key",
    is_required: false,
    description: "The caller's name for this request. Sent again within 24 hours it gets the same final answer, with `Idempotency-Replayed: true`.",
    schema: || json!({"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}),
};

/// See [`crate::Times`].
pub const TIMES: Parameter = Parameter {
    location: "query",
    name: "times",
    is_required: false,
    description: "Times as RFC 3339 with an offset, instead of local ones.",
    schema: || json!({"type": "string", "const": "offset"}),
};

/// See [`crate::InvestIdPath`].
pub const INVEST_ID: Parameter = Parameter {
    location: "path",
    name: "investId",
    is_required: true,
    description: "The `X-Invest-Id` of an accepted invest.",
    schema: || json!({"type": "string", "format": "uuid"}),
};

/// See [`crate::ProductIdPath`].
pub const PRODUCT_ID: Parameter = Parameter {
    location: "path",
    name: "productId",
    is_required: true,
    description: "A product's id.",
    schema: product_id,
};

fn user_id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[A-Za-z0-9._-]+$"})
}

fn text() -> Value {
    json!({"type": "string"})
}

/// The schema of a product's id.
pub fn product_id() -> Value {
    json!({"type": "integer", "format": "int64", "minimum": 1})
}

/// The schema of an amount in won.
pub fn amount() -> Value {
    json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": domain::MAX_AMOUNT, "description": "Whole won."})
}

/// The schema of a time that comes in: see [`crate::ServiceTime::parse`].
pub fn time() -> Value {
    json!({
        "type": "string",
        "pattern": concat!(
            r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?",
            r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])?$",
        ),
        "description": "Local to the service's zone, or with an offset.",
        "example": "2026-11-22T18:00:00",
    })
}
