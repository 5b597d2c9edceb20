//! I10, over HTTP: each answer is the fold of the log at the position vector that its own token states.

use chrono::{DateTime, FixedOffset, Timelike, Utc};
use serde_json::{Value, json};
use std::cmp::Reverse;
use uuid::Uuid;

use super::fold::{Fold, Invest, Product, Summary};
use super::{Event, Fault, Log};
use crate::harness::{Sighting, View};

/// Seoul, where the service's zone is unless it is told otherwise.
const ZONE_SECONDS: i32 = 9 * 3_600;

/// The longest page there is, which is what the clients ask for.
const ROWS_PER_PAGE: usize = 1_000;

pub fn faults(log: &Log, sightings: &[Sighting]) -> Vec<Fault> {
    sightings
        .iter()
        .filter_map(|sighting| fault(log, sighting))
        .collect()
}

fn fault(log: &Log, sighting: &Sighting) -> Option<Fault> {
    let at = positions(&sighting.token);
    let reached = |event: &&Event| {
        at.get(event.partition as usize)
            .is_some_and(|head| event.position <= *head)
    };
    let fold = Fold::of(log.events.iter().filter(reached));
    let shown: Value = serde_json::from_str(&sighting.body).unwrap_or_default();
    let expected = expected(&fold, &sighting.view);
    let what = || {
        format!(
            "at {at:?} {:?} shows {shown} and not {expected}",
            sighting.view
        )
    };
    (shown != expected).then(|| Fault::new("I10", what()))
}

fn expected(fold: &Fold, view: &View) -> Value {
    match view {
        View::Product(id) => match fold.products.get(id) {
            Some(product) => success(&whole(fold, *id, product)),
            None => {
                json!({"result": false, "code": "NOT_EXIST_PRODUCT", "message": "Not exist product : ",
                           "data": null, "status": 200})
            }
        },
        View::Products => {
            let open = fold
                .products
                .iter()
                .rev()
                .filter(|(_, product)| is_open(product));
            list(open.map(|(id, product)| item(fold, *id, product)).collect())
        }
        View::HoldingsOf(user) => holdings(fold, user),
        View::InvestsOf(user) => invests(fold, user),
        View::SummaryOf(user) => summary(fold, user),
    }
}

/// Windows of the tests begin and end far from now.
fn is_open(product: &Product) -> bool {
    let now = Utc::now();
    !product.closed
        && product.cancel_reason.is_none()
        && !product.failed
        && product.started_at <= now
        && now < product.finished_at
}

/// A product by itself has its terms, where it has any.
fn whole(fold: &Fold, id: i64, product: &Product) -> Value {
    let mut item = item(fold, id, product);
    if !product.terms.is_null() {
        item["terms"] = product.terms.clone();
        if let Some(until) = product.terms["withdrawableUntil"].as_str() {
            item["terms"]["withdrawableUntil"] = local(until.parse().unwrap()).into();
        }
    }
    if let Some(reason) = &product.cancel_reason {
        item["cancelReason"] = reason.clone().into();
    }
    item
}

fn item(fold: &Fold, id: i64, product: &Product) -> Value {
    json!({
        "productId": id,
        "title": product.title,
        "totalInvestingAmount": product.total,
        "currentInvestingAmount": product.taken,
        "investingCnt": fold.users_in(id),
        "startedAt": local(product.started_at),
        "finishedAt": local(product.finished_at),
        "investStatus": status(product),
    })
}

/// Cancelled, failed or closed, else by its window, else by what is taken.
fn status(product: &Product) -> &'static str {
    let now = Utc::now();
    match product {
        Product {
            cancel_reason: Some(_),
            ..
        } => "CANCELLED",
        Product { failed: true, .. } => "FAILED",
        Product { closed: true, .. } => "CLOSED",
        _ if product.started_at > now => "UPCOMING",
        _ if product.finished_at <= now => "FINISHED",
        _ if product.taken == product.total => "COMPLETE",
        _ => "ONGOING",
    }
}

fn holdings(fold: &Fold, user: &str) -> Value {
    let mut mine: Vec<_> = fold
        .holdings
        .iter()
        .filter(|((holder, _), _)| holder == user)
        .collect();
    mine.sort_by_key(|((_, product), holding)| Reverse((holding.since, *product)));
    let item = |((_, id), holding): (&(String, i64), &super::fold::Holding)| {
        let product = &fold.products[id];
        json!({"productId": id, "userId": user, "title": product.title, "totalInvestingAmount": product.total,
               "myInvestingAmount": holding.amount, "investDate": local(holding.since)})
    };
    list(mine.into_iter().map(item).collect())
}

fn invests(fold: &Fold, user: &str) -> Value {
    let mut mine: Vec<_> = fold
        .invests
        .iter()
        .filter(|(_, invest)| invest.user == user)
        .collect();
    mine.sort_by_key(|(id, invest)| Reverse((invest.requested_at, **id)));
    list(
        mine.into_iter()
            .map(|(id, invest)| line(fold, *id, invest))
            .collect(),
    )
}

fn line(fold: &Fold, id: Uuid, invest: &Invest) -> Value {
    let (result, reason) = match (&invest.failure, invest.state) {
        (Some((code, detail)), _) => ("FAIL", Some(format!("{code} : {detail}"))),
        (None, "SETTLED") => ("SUCCESS", None),
        (None, _) => ("FAIL", Some("PENDING".to_owned())),
    };
    json!({
        "investId": id,
        "productId": invest.product,
        "title": fold.products[&invest.product].title,
        "investAmount": invest.amount,
        "investResult": result,
        "failReason": reason,
        "accrueUserInvest": invest.accrued_user,
        "accrueProductInvest": invest.accrued_product,
        "state": invest.state,
        "requestedAt": local(invest.requested_at),
        "updatedAt": local(invest.updated_at),
    })
}

fn summary(fold: &Fold, user: &str) -> Value {
    let mine = Summary::of(fold.invests.values().filter(|invest| invest.user == user));
    success(
        &json!({"userId": user, "productCount": mine.products, "settledAmount": mine.settled,
                    "reservedAmount": mine.reserved, "failedCount": mine.failed,
                    "firstInvestDate": mine.first.map(local), "lastInvestDate": mine.last.map(local)}),
    )
}

fn list(items: Vec<Value>) -> Value {
    success(&json!({"totalCount": items.len(), "list": items[..items.len().min(ROWS_PER_PAGE)]}))
}

fn success(data: &Value) -> Value {
    json!({"result": true, "code": "01", "message": null, "data": data, "status": 200})
}

fn local(time: DateTime<Utc>) -> String {
    let local = time.with_timezone(&FixedOffset::east_opt(ZONE_SECONDS).unwrap());
    let form = if local.nanosecond() == 0 {
        "%Y-%m-%dT%H:%M:%S"
    } else {
        "%Y-%m-%dT%H:%M:%S%.6f"
    };
    local.format(form).to_string()
}

/// What a token states: base64url of a version, the log's id, the number of partitions, then each position in groups of
/// seven bits, the lowest first.
pub fn positions(token: &str) -> Vec<i64> {
    let bytes = base64url(token);
    let (count, mut rest) = bytes[17..].split_first().unwrap();
    let mut positions = Vec::new();
    for _ in 0..*count {
        let length = rest.iter().take_while(|byte| **byte >= 0x80).count() + 1;
        let (varint, after) = rest.split_at(length);
        positions.push(
            varint
                .iter()
                .rev()
                .fold(0, |all, byte| all << 7 | i64::from(byte & 0x7f)),
        );
        rest = after;
    }
    positions
}

fn base64url(text: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (mut bytes, mut held, mut bits) = (Vec::new(), 0_u32, 0);
    for c in text.chars() {
        held = held << 6 | DIGITS.find(c).expect("a digit of base64url") as u32;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits & 0xff) as u8);
        }
    }
    bytes
}
