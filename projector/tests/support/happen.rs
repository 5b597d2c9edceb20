//! Events in one line each.

use chrono::{DateTime, TimeDelta, Utc};
use domain::{GiveBackReason, InvestId, ProductEvent, ProductId, Terms};
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
    opened_with(id, title, total, Terms::default())
}

pub fn opened_with(id: i64, title: &str, total: i64, terms: Terms) -> Happened {
    let event = ProductEvent::ProductOpened {
        product_id: product(id),
        title: title.to_owned().try_into().unwrap(),
        total_investing_amount: won(total),
        started_at: second(-60),
        finished_at: second(3_600),
        terms,
    };
    Happened {
        product: product(id),
        event,
    }
}

pub fn reserved(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    let expires_at = second(1_000);
    let event = ProductEvent::InvestReserved {
        invest_id: invest(id),
        user_id: user(by),
        amount: won(amount),
        expires_at,
    };
    Happened {
        product: product(of),
        event,
    }
}

pub fn settled(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    Happened {
        product: product(of),
        event: settled_by(by, invest(id), amount),
    }
}

pub fn failed(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    Happened {
        product: product(of),
        event: failed_by(by, invest(id), amount),
    }
}

/// A reservation is withdrawn.
pub fn withdrawn(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    let event = ProductEvent::InvestWithdrawn {
        invest_id: invest(id),
        user_id: user(by),
        amount: won(amount),
        settled: false,
    };
    Happened {
        product: product(of),
        event,
    }
}

/// A settled invest is withdrawn.
pub fn withdrawn_settled(id: u128, by: &str, of: i64, amount: i64) -> Happened {
    let event = ProductEvent::InvestWithdrawn {
        invest_id: invest(id),
        user_id: user(by),
        amount: won(amount),
        settled: true,
    };
    Happened {
        product: product(of),
        event,
    }
}

pub fn refunded(id: u128, by: &str, of: i64, amount: i64, reason: GiveBackReason) -> Happened {
    let (user_id, code) = (user(by), reason.code().into());
    let event = ProductEvent::InvestRefunded {
        invest_id: invest(id),
        user_id,
        amount: won(amount),
        code,
    };
    Happened {
        product: product(of),
        event,
    }
}

pub fn cancelled(id: i64, reason: &str) -> Happened {
    let event = ProductEvent::ProductCancelled {
        reason: reason.to_owned().try_into().unwrap(),
    };
    Happened {
        product: product(id),
        event,
    }
}

pub fn target_missed(id: i64, target: i64, reached_amount: i64) -> Happened {
    let event = ProductEvent::ProductFailed {
        target_amount: won(target),
        reached_amount,
    };
    Happened {
        product: product(id),
        event,
    }
}

pub fn closed(id: i64) -> Happened {
    Happened {
        product: product(id),
        event: ProductEvent::ProductClosed {},
    }
}

/// The `n`th second of every spec: when its event number `n`, from 0, is recorded.
pub fn second(n: i64) -> DateTime<Utc> {
    let first: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    first + TimeDelta::seconds(n)
}

pub fn invest(id: u128) -> InvestId {
    InvestId(Uuid::from_u128(id))
}
