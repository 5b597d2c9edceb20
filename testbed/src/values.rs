//! The domain's values in one word each.

use chrono::{DateTime, Utc};
use domain::{Amount, InvestId, ProductId, UserId};
use uuid::Uuid;

/// The product of that number.
pub fn product(id: i64) -> ProductId {
    id.try_into().expect("a product's id")
}

/// The user of that name.
pub fn user(name: &str) -> UserId {
    name.to_owned().try_into().expect("a user's id")
}

/// So much money.
pub fn won(amount: i64) -> Amount {
    amount.try_into().expect("an amount")
}

/// The same invest for the same number.
pub fn invest(number: i64) -> InvestId {
    InvestId(Uuid::from_u128(number.unsigned_abs().into()))
}

/// A time by its text in RFC 3339.
pub fn at(time: &str) -> DateTime<Utc> {
    time.parse().expect("a time")
}
