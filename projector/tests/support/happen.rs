//! Events in one line each.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{InvestId, ProductEvent, ProductId, Terms};
use testbed::events::{failed_by, settled_by};
pub use testbed::values::product;
use testbed::values::{user, won};
use uuid::Uuid;

/// Something that happens to a product.
#[derive(Clone, Debug)]
pub struct Happened {
    pub product: ProductId,
    pub event: ProductEvent,
}

pub fn opened(id: i64, title: &str, total: i64) -> Happened {
    let event = ProductEvent::ProductOpened {
        product_id: product(id),
        title: title.to_owned().try_into().unwrap(),
        total_investing_amount: won(total),
        started_at: second(-60),
        finished_at: second(3_600),
        terms: Terms::default(),
    };
    Happened { product: product(id), event }
}

pub fn reserved(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    let expires_at = second(1_000);
    let event =
        ProductEvent::InvestReserved { invest_id: invest(id), user_id: user(by), amount: won(amount), expires_at };
    Happened { product: product(of), event }
}

pub fn settled(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    Happened { product: product(of), event: settled_by(by, invest(id), amount) }
}

pub fn failed(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    Happened { product: product(of), event: failed_by(by, invest(id), amount) }
}

pub fn closed(id: i64) -> Happened {
    Happened { product: product(id), event: ProductEvent::ProductClosed {} }
}

/// The `n`th second of every spec: when its event number `n`, from 0, is recorded.
pub fn second(n: i64) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    first + TimeDelta::seconds(n)
}

pub fn invest(id: u128) -> InvestId {
    InvestId(Uuid::from_u128(id))
}
