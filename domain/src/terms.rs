//! The terms of an offering: what a product demands of each invest, beyond its window and its total.

use crate::{Amount, InvalidValueError, Refusal, Window};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Each is optional; a product without any takes every amount. Part of [`crate::ProductEvent::ProductOpened`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// The least amount of one invest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_invest_amount: Option<Amount>,
    /// Every amount is a multiple of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invest_amount_unit: Option<Amount>,
    /// The most that one user may have reserved and settled in this product.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_amount_per_user: Option<Amount>,
    /// The product fails, and all is given back, if less than this is taken of it when its window ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_amount: Option<Amount>,
    /// The first instant at which an invest can no longer be withdrawn; without it no invest ever can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawable_until: Option<DateTime<Utc>>,
}

impl Terms {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// The smallest amount that the terms allow, in won. It may exceed [`crate::MAX_AMOUNT`]: then they allow none.
    pub fn smallest_invest(&self) -> i64 {
        let (minimum, unit) = (won(self.min_invest_amount), won(self.invest_amount_unit));
        // Both are at most 10^12, so nothing overflows.
        (minimum + unit - 1) / unit * unit
    }

    /// Whether an invest can be given back, at its user's wish or because the target is missed.
    pub fn give_back(&self) -> bool {
        self.target_amount.is_some() || self.withdrawable_until.is_some()
    }

    /// What contradicts a product of `total` in `window`: the field's name in the contract, and what is wrong with it. Each is named.
    pub fn contradictions(
        &self,
        total: Amount,
        window: Window,
    ) -> Vec<(&'static str, InvalidValueError)> {
        let smallest = self.smallest_invest();
        let exceeds_total = |amount: Option<Amount>| amount.is_some_and(|amount| amount > total);
        let mut found = Vec::new();
        let mut name = |field, is_wrong, wrong| {
            if is_wrong {
                found.push((field, InvalidValueError(wrong)));
            }
        };
        let (minimum_exceeds, unit_exceeds) = (
            exceeds_total(self.min_invest_amount),
            exceeds_total(self.invest_amount_unit),
        );
        name(
            "minInvestAmount",
            minimum_exceeds,
            "must be at most totalInvestingAmount",
        );
        name(
            "investAmountUnit",
            unit_exceeds,
            "must be at most totalInvestingAmount",
        );
        name(
            "maxAmountPerUser",
            exceeds_total(self.max_amount_per_user),
            "must be at most totalInvestingAmount",
        );
        name(
            "targetAmount",
            exceeds_total(self.target_amount),
            "must be at most totalInvestingAmount",
        );
        let until = self.withdrawable_until;
        name(
            "withdrawableUntil",
            until.is_some_and(|until| until <= window.started_at() || until > window.finished_at()),
            "must be later than startedAt and not later than finishedAt",
        );
        name(
            "investAmountUnit",
            smallest > total.won() && !minimum_exceeds && !unit_exceeds,
            "must have a multiple from minInvestAmount to totalInvestingAmount",
        );
        name(
            "maxAmountPerUser",
            self.max_amount_per_user
                .is_some_and(|limit| limit.won() < smallest),
            "must be at least the smallest invest that minInvestAmount and investAmountUnit allow",
        );
        found
    }

    /// Whether one invest may be of `amount`.
    pub(crate) fn check_amount(&self, amount: Amount) -> Result<(), Refusal> {
        if amount.won() < won(self.min_invest_amount) {
            return Err(Refusal::BelowMinimum {
                smallest: self.smallest_invest(),
            });
        }
        let unit = won(self.invest_amount_unit);
        if amount.won() % unit != 0 {
            return Err(Refusal::NotAMultiple { unit });
        }
        Ok(())
    }

    /// Whether a user who has `taken` won may have `amount` more.
    pub(crate) fn check_limit(&self, taken: i64, amount: Amount) -> Result<(), Refusal> {
        match self.max_amount_per_user.map(|limit| limit.won() - taken) {
            Some(remaining) if amount.won() > remaining => {
                Err(Refusal::LimitExceeded { remaining })
            }
            _ => Ok(()),
        }
    }
}

/// Without a bound every whole won is allowed.
fn won(bound: Option<Amount>) -> i64 {
    bound.map_or(1, Amount::won)
}
