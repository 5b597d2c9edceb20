//! What the calls of the audit answer, by example.

use serde_json::{Value, json};

const EVENT_ID: &str = "01991f5e-7c3a-7b60-9a52-3f0f6ed1a002";
const INVEST_ID: &str = "01991f5e-7c3a-7b60-9a52-3f0f6ed1a001";
const LOG_ID: &str = "01991f5e-0000-7b60-9a52-3f0f6ed1a000";
const HASH: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const SIGNATURE: &str =
    "hFWMYlQLhnLDOBP1MP0kL4OlLd7mEkLFsfWIBNpvsRSrfrNz9rzSsU0P7hM0EIWm4qfZyEk1DdFWhFy8vwXYCg==";

/// The header of an export without events, and its end.
pub(super) const EXPORT: &str = "{\"format\":\"moa-export-1\",\"log\":\"01991f5e-0000-7b60-9a52-3f0f6ed1a000\",\"partitions\":1,\
                                 \"heads\":[0],\"filter\":null,\"exportedAt\":\"2026-11-22T09:00:00.000000Z\"}\n{\"end\":true,\"events\":0}\n";

/// The first line of an export as CSV.
pub(super) const CSV_EXPORT: &str = "aggregate_type,aggregate_id,sequence,event_type,event_version,payload,metadata,partition,position,\
                                     event_id,recorded_at,hash\r\n";

/// The first line of a search as CSV.
pub(super) const CSV_EVENTS: &str = "eventId,partition,position,productId,sequence,type,version,payload,metadata,recordedAt,hash\r\n";

pub(super) fn event() -> Value {
    json!({
        "eventId": EVENT_ID, "partition": 3, "position": 12, "productId": 3, "sequence": 5, "type": "InvestReserved",
        "version": "1.0.0",
        "payload": {"InvestReserved": {
            "investId": INVEST_ID, "userId": "user4", "amount": 10, "expiresAt": "2026-11-22T15:09:01.677448Z",
        }},
        "metadata": {"correlationId": "7b0c"}, "recordedAt": "2026-11-22T23:59:01.677448", "hash": HASH,
    })
}

/// A page of one as it stood.
pub(super) fn listed(item: &Value) -> Value {
    json!({"at": "2026-11-23T18:00:00", "positions": [7, 3, 0, 12], "totalCount": 1, "list": [item]})
}

pub(super) fn product_as_of() -> Value {
    json!({
        "productId": 3, "title": "product2", "totalInvestingAmount": 100, "currentInvestingAmount": 90, "reservedAmount": 10,
        "settledAmount": 80, "investingCnt": 4, "openCount": 1, "settledCount": 4, "failedCount": 0, "withdrawnCount": 0,
        "refundedCount": 0, "startedAt": "2026-11-21T23:59:00", "finishedAt": "2026-12-12T23:59:00", "closed": false,
        "targetMissed": false, "state": "ONGOING", "at": "2026-11-23T18:00:00", "sequence": 10, "partition": 3, "position": 12,
        "eventId": EVENT_ID, "recordedAt": "2026-11-22T23:59:01.677448",
    })
}

pub(super) fn timeline() -> Value {
    json!({
        "investId": INVEST_ID, "productId": 3, "userId": "user4", "amount": 10, "state": "SETTLED", "correlationId": "7b0c",
        "traceparent": null,
        "steps": [{
            "what": "REQUESTED", "at": "2026-11-22T23:59:01.677000", "actor": "user user4", "correlationId": "7b0c",
            "causationId": null, "depth": 0,
            "details": {
                "amount": 10, "traceparent": null,
                "timeIs": "the one in the invest id, by the clock of the process that took the request",
            },
        }],
        "notes": ["the counters in Redis are not listed: they keep no time"],
    })
}

pub(super) fn refusals() -> Value {
    json!({
        "list": [{
            "refusedAt": "2026-11-22T23:59:01.677448", "investId": INVEST_ID, "userId": "user4", "productId": 3, "amount": 1_000,
            "code": "SOLD_OUT", "remaining": 10, "partition": 3, "head": 12, "place": 0, "correlationId": "7b0c",
        }],
        "nextCursor": null, "dropped": [], "keptDays": 30,
    })
}

pub(super) fn access() -> Value {
    json!({
        "list": [{
            "at": "2026-11-22T18:00:00.115211", "reader": "AUDITOR", "actor": "bob", "login": "moa", "method": "GET",
            "path": "/admin/audit/event?userId=user4", "correlationId": "7b0c", "peer": "127.0.0.1",
        }],
        "nextCursor": null,
    })
}

pub(super) fn acts() -> Value {
    json!({
        "list": [{
            "number": 3, "at": "2026-11-22T18:00:00.115211", "actor": "ann", "role": "OPERATOR", "act": "SWITCH",
            "subject": "holdings", "parameters": {"acceptDifferences": false}, "correlationId": "7b0c", "login": "moa",
            "outcome": "DONE", "result": {"generation": 2}, "endedAt": "2026-11-22T18:00:00.184071",
        }],
        "nextCursor": null,
    })
}

pub(super) fn act_seal() -> Value {
    json!({
        "format": "moa-act-seal-1", "log": LOG_ID, "seal": 1, "act": 1, "hash": HASH, "at": "2026-11-22T14:59:02.000000Z",
        "previous": "0".repeat(64), "key": "9f86d081884c7d65", "signature": SIGNATURE,
    })
}

pub(super) fn report() -> Value {
    json!({
        "log": LOG_ID, "verdict": "WHOLE", "events": 12, "seals": 1,
        "partitions": [{
            "partition": 3, "events": 12, "head": 12, "sealedUpto": 10, "unsealed": {"first": 11, "last": 12}, "bad": null,
        }],
        "badSeal": null,
        "acts": {
            "acts": 8, "seals": 6, "sealedUpto": 6, "unsealed": {"first": 7, "last": 8}, "lost": [], "bad": null,
            "badSeal": null,
        },
    })
}

pub(super) fn inclusion() -> Value {
    let row = json!({
        "aggregate_type": "product", "aggregate_id": "3", "sequence": 5, "event_type": "InvestReserved",
        "event_version": "1.0.0", "payload": "{}", "metadata": "{}", "partition": 3, "position": 12, "event_id": EVENT_ID,
        "recorded_at": "2026-11-22T14:59:01.677448Z", "hash": HASH,
    });
    json!({
        "format": "moa-proof-1", "log": LOG_ID, "partitions": 4, "invest": INVEST_ID,
        "events": [{"row": row, "before": HASH, "seal": 1, "leaf": 11, "path": [HASH]}],
        "unsealed": 0,
        "seals": [{
            "seal": 1, "partition": 3, "first": 1, "last": 12, "head": HASH, "root": HASH, "marksDigest": HASH,
            "at": "2026-11-22T14:59:02.000000Z", "previous": "0".repeat(64), "key": "9f86d081884c7d65",
            "signature": SIGNATURE,
        }],
    })
}

pub(super) fn seal() -> Value {
    json!({
        "format": 1, "log": LOG_ID, "partitions": 4, "seal": 1, "partition": 3, "first": 1, "last": 1, "head": HASH, "root": HASH,
        "marks": "n4bQgQ==", "at": "2026-11-22T14:59:02.000000Z", "previous": "0".repeat(64), "key": "9f86d081884c7d65",
        "signature": SIGNATURE,
    })
}
