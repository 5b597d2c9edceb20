//! Commands and events in one line each. Every product here is number 1, `apples`, open from second 0 to second 3600.

use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::test::TestFramework;
use domain::{
    Amount, CancelReason, FailReason, InvestId, Product, ProductCommand, ProductEvent, ProductId,
    Refusal, Terms, Title, UserId, Window,
};
use uuid::Uuid;

/// What comes of a command after these events.
pub fn decide(
    given: Vec<ProductEvent>,
    when: ProductCommand,
) -> Result<Vec<ProductEvent>, Refusal> {
    TestFramework::<Product>::with(())
        .given(given)
        .when(when)
        .inspect_result()
}

pub fn open(total: i64) -> ProductCommand {
    open_with(total, Terms::default())
}

pub fn open_with(total: i64, terms: Terms) -> ProductCommand {
    let (product_id, title, total, window) = (product_id(), title(), won(total), window());
    ProductCommand::OpenProduct {
        product_id,
        title,
        total,
        window,
        terms,
    }
}

pub fn opened(total: i64) -> ProductEvent {
    opened_with(total, Terms::default())
}

pub fn opened_with(total: i64, terms: Terms) -> ProductEvent {
    ProductEvent::ProductOpened {
        product_id: product_id(),
        title: title(),
        total_investing_amount: won(total),
        started_at: second(0),
        finished_at: second(3_600),
        terms,
    }
}

/// The least amount of an invest, what it is a multiple of, and the most of one user; 0 is no such term.
pub fn terms(minimum: i64, unit: i64, limit: i64) -> Terms {
    let bound = |amount: i64| (amount > 0).then(|| won(amount));
    let (min_invest_amount, invest_amount_unit, max_amount_per_user) =
        (bound(minimum), bound(unit), bound(limit));
    Terms {
        min_invest_amount,
        invest_amount_unit,
        max_amount_per_user,
        ..Terms::default()
    }
}

/// Withdrawable in the window's first so many seconds, and failing below the target; 0 is no such term.
pub fn returnable(withdrawable_seconds: i64, target: i64) -> Terms {
    let withdrawable_until = (withdrawable_seconds > 0).then(|| second(withdrawable_seconds));
    Terms {
        withdrawable_until,
        target_amount: (target > 0).then(|| won(target)),
        ..Terms::default()
    }
}

/// In the middle of the window.
pub fn invest(id: u128, by: &str, amount: i64) -> ProductCommand {
    invest_at(id, by, amount, second(1_800))
}

pub fn invest_at(id: u128, by: &str, amount: i64, at: DateTime<Utc>) -> ProductCommand {
    let (invest_id, user_id, amount) = (invest_id(id), user(by), won(amount));
    ProductCommand::InvestRequested {
        invest_id,
        user_id,
        amount,
        at,
        expires_at: expiry(),
    }
}

pub fn reserved(id: u128, by: &str, amount: i64) -> ProductEvent {
    let (invest_id, user_id, amount) = (invest_id(id), user(by), won(amount));
    ProductEvent::InvestReserved {
        invest_id,
        user_id,
        amount,
        expires_at: expiry(),
    }
}

pub fn settle(id: u128) -> ProductCommand {
    ProductCommand::SettleInvest {
        invest_id: invest_id(id),
    }
}

pub fn settled(id: u128, by: &str, amount: i64) -> ProductEvent {
    ProductEvent::InvestSettled {
        invest_id: invest_id(id),
        user_id: user(by),
        amount: won(amount),
    }
}

pub fn fail(id: u128) -> ProductCommand {
    let reason = FailReason::new("DECLINED", "no funds").unwrap();
    ProductCommand::FailInvest {
        invest_id: invest_id(id),
        reason,
    }
}

pub fn failed(id: u128, by: &str, amount: i64) -> ProductEvent {
    failed_for(id, by, amount, ("DECLINED", "no funds"))
}

pub fn expire(id: u128, at: DateTime<Utc>) -> ProductCommand {
    ProductCommand::ExpireInvest {
        invest_id: invest_id(id),
        at,
    }
}

pub fn expired(id: u128, by: &str, amount: i64) -> ProductEvent {
    failed_for(id, by, amount, ("EXPIRED", "2026-03-01T02:00:00+00:00"))
}

pub fn failed_for(id: u128, by: &str, amount: i64, (code, detail): (&str, &str)) -> ProductEvent {
    let (invest_id, user_id, amount) = (invest_id(id), user(by), won(amount));
    ProductEvent::InvestFailed {
        invest_id,
        user_id,
        amount,
        code: code.into(),
        detail: detail.into(),
    }
}

/// With the fact that the log has about it: its amount if it was settled.
pub fn withdraw(id: u128, by: &str, settled: Option<i64>, at: DateTime<Utc>) -> ProductCommand {
    ProductCommand::WithdrawInvest {
        invest_id: invest_id(id),
        user_id: user(by),
        settled: settled.map(won),
        at,
    }
}

pub fn withdrawn(id: u128, by: &str, amount: i64, settled: bool) -> ProductEvent {
    ProductEvent::InvestWithdrawn {
        invest_id: invest_id(id),
        user_id: user(by),
        amount: won(amount),
        settled,
    }
}

pub fn refund(id: u128, by: &str, amount: i64) -> ProductCommand {
    ProductCommand::RefundInvest {
        invest_id: invest_id(id),
        user_id: user(by),
        amount: won(amount),
    }
}

pub fn refunded(id: u128, by: &str, amount: i64, code: &str) -> ProductEvent {
    ProductEvent::InvestRefunded {
        invest_id: invest_id(id),
        user_id: user(by),
        amount: won(amount),
        code: code.into(),
    }
}

pub fn cancel() -> ProductCommand {
    ProductCommand::CancelProduct { reason: reason() }
}

pub fn cancelled() -> ProductEvent {
    ProductEvent::ProductCancelled { reason: reason() }
}

pub fn missed(target: i64, reached_amount: i64) -> ProductEvent {
    ProductEvent::ProductFailed {
        target_amount: won(target),
        reached_amount,
    }
}

fn reason() -> CancelReason {
    "frost".to_owned().try_into().unwrap()
}

/// `n` seconds after the window's start.
pub fn second(n: i64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2026-03-01T00:00:00Z".parse().unwrap();
    start + TimeDelta::seconds(n)
}

/// The shortest time there is, here and in the log.
pub fn microsecond() -> TimeDelta {
    TimeDelta::microseconds(1)
}

/// When every reservation here may be given up: after the window, as may well be.
pub fn expiry() -> DateTime<Utc> {
    second(7_200)
}

pub fn product_id() -> ProductId {
    1.try_into().unwrap()
}

pub fn invest_id(id: u128) -> InvestId {
    InvestId(Uuid::from_u128(id))
}

pub fn user(id: &str) -> UserId {
    id.to_owned().try_into().unwrap()
}

pub fn won(amount: i64) -> Amount {
    amount.try_into().unwrap()
}

fn title() -> Title {
    "apples".to_owned().try_into().unwrap()
}

pub fn window() -> Window {
    Window::new(second(0), second(3_600)).unwrap()
}
