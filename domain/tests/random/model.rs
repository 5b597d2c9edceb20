//! The rules once more, as plainly as can be: one list of everything that was ever accepted.

use crate::support::{
    cancelled, expired, expiry, failed, failed_for, missed, opened_with, refunded, reserved,
    second, settled, user, withdrawn, won,
};
use domain::{ProductCommand, ProductEvent, Refusal, Terms};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Settled,
    Failed,
    Withdrawn,
    Refunded,
}

struct Invest {
    id: u128,
    user: String,
    amount: i64,
    state: State,
    was_settled: bool,
}

impl Invest {
    fn stands(&self) -> bool {
        matches!(self.state, State::Open | State::Settled)
    }
}

#[derive(Default)]
pub struct Model {
    pub total: Option<i64>,
    terms: Terms,
    closed: bool,
    ended: Option<Refusal>,
    invests: Vec<Invest>,
}

impl Model {
    pub fn reserved(&self) -> i64 {
        self.sum(State::Open)
    }

    pub fn settled(&self) -> i64 {
        self.sum(State::Settled)
    }

    /// Ids and amounts of what is open, by id.
    pub fn open(&self) -> Vec<(u128, i64)> {
        let open = self
            .invests
            .iter()
            .filter(|invest| invest.state == State::Open);
        let mut open: Vec<_> = open.map(|invest| (invest.id, invest.amount)).collect();
        open.sort_unstable();
        open
    }

    /// The command as it is sent: with what the log says of its invest, now or a while ago. `None` when its id was used before.
    pub fn look_up(&self, mut command: ProductCommand) -> Option<ProductCommand> {
        let known = |id: &domain::InvestId| {
            self.invests
                .iter()
                .find(|invest| invest.id == id.0.as_u128())
        };
        match &mut command {
            ProductCommand::InvestRequested { invest_id, .. }
                if known(invest_id).is_some_and(|invest| invest.state != State::Open) =>
            {
                return None;
            }
            ProductCommand::WithdrawInvest {
                invest_id,
                user_id,
                settled,
                ..
            } => {
                let invest = known(invest_id)?;
                *user_id = user(&invest.user);
                *settled = invest.was_settled.then(|| won(invest.amount));
            }
            ProductCommand::RefundInvest {
                invest_id,
                user_id,
                amount,
            } => {
                let invest = known(invest_id).filter(|invest| invest.state != State::Failed)?;
                (*user_id, *amount) = (user(&invest.user), won(invest.amount));
            }
            _ => {}
        }
        Some(command)
    }

    fn sum(&self, state: State) -> i64 {
        self.invests
            .iter()
            .filter(|invest| invest.state == state)
            .map(|invest| invest.amount)
            .sum()
    }

    /// What the product should say, and what it should be then.
    pub fn decide(&mut self, command: &ProductCommand) -> Result<ProductEvent, Refusal> {
        match command {
            ProductCommand::WithdrawInvest {
                invest_id,
                user_id,
                settled,
                at,
            } => {
                self.total.ok_or(Refusal::NotExist)?;
                self.withdraw(
                    invest_id.0.as_u128(),
                    user_id.as_str(),
                    settled.map(|amount| amount.won()),
                    *at,
                )
            }
            ProductCommand::RefundInvest {
                invest_id,
                user_id,
                amount,
            } => {
                self.total.ok_or(Refusal::NotExist)?;
                self.refund(invest_id.0.as_u128(), user_id.as_str(), amount.won())
            }
            ProductCommand::CancelProduct { .. } => {
                self.total.ok_or(Refusal::NotExist)?;
                self.ended
                    .replace(self.ended.unwrap_or(Refusal::Cancelled))
                    .map_or(Ok(cancelled()), Err)
            }
            ProductCommand::FailProduct { at } => {
                self.total.ok_or(Refusal::NotExist)?;
                self.miss_target(*at)
            }
            ProductCommand::OpenProduct { total, terms, .. } => {
                self.open_product(total.won(), *terms)
            }
            ProductCommand::CloseProduct => self.close(),
            ProductCommand::InvestRequested {
                invest_id,
                user_id,
                amount,
                at,
                ..
            } => {
                self.total.ok_or(Refusal::NotExist)?;
                self.refuse_unless_open_at(*at)?;
                self.reserve(invest_id.0.as_u128(), user_id.as_str(), amount.won())
            }
            ProductCommand::SettleInvest { invest_id } => {
                let (id, user, amount) = self.end(invest_id.0.as_u128(), State::Settled)?;
                Ok(settled(id, &user, amount))
            }
            ProductCommand::FailInvest { invest_id, .. } => {
                let (id, user, amount) = self.end(invest_id.0.as_u128(), State::Failed)?;
                Ok(self.as_ended(failed(id, &user, amount)))
            }
            ProductCommand::ExpireInvest { invest_id, at } => {
                let id = invest_id.0.as_u128();
                if self.open().iter().any(|(open, _)| *open == id) && *at < expiry() {
                    return Err(Refusal::NotExpired);
                }
                let (id, user, amount) = self.end(id, State::Failed)?;
                Ok(self.as_ended(expired(id, &user, amount)))
            }
        }
    }

    fn open_product(&mut self, total: i64, terms: Terms) -> Result<ProductEvent, Refusal> {
        if self.total.is_some() {
            return Err(Refusal::AlreadyOpened);
        }
        (self.total, self.terms) = (Some(total), terms);
        Ok(opened_with(total, terms))
    }

    /// In a product that ended, the reason of a failure is that.
    fn as_ended(&self, failed: ProductEvent) -> ProductEvent {
        let ProductEvent::InvestFailed {
            invest_id,
            user_id,
            amount,
            ..
        } = &failed
        else {
            return failed;
        };
        let words = match self.ended {
            None => return failed,
            Some(Refusal::Cancelled) => ("CANCELLED", "the product was cancelled by its operator"),
            Some(_) => ("TARGET_MISSED", "the product missed its target"),
        };
        failed_for(invest_id.0.as_u128(), user_id.as_str(), amount.won(), words)
    }

    /// The one that stands under this id now; others had it before.
    fn standing(&mut self, id: u128, state: State) -> Option<&mut Invest> {
        self.invests
            .iter_mut()
            .find(|invest| invest.id == id && invest.state == state)
    }

    fn withdraw(
        &mut self,
        id: u128,
        user: &str,
        settled: Option<i64>,
        at: chrono::DateTime<chrono::Utc>,
    ) -> Result<ProductEvent, Refusal> {
        let (from, amount) = match self.standing(id, State::Open) {
            Some(invest) if invest.user == user => (State::Open, invest.amount),
            Some(_) => return Err(Refusal::NotOpen),
            None => (State::Settled, settled.ok_or(Refusal::NotOpen)?),
        };
        self.standing(id, from).ok_or(Refusal::NotOpen)?;
        if self.ended.is_some()
            || self
                .terms
                .withdrawable_until
                .is_none_or(|until| at >= until)
        {
            return Err(Refusal::NotWithdrawable);
        }
        self.standing(id, from).unwrap().state = State::Withdrawn;
        Ok(withdrawn(id, user, amount, from == State::Settled))
    }

    fn refund(&mut self, id: u128, user: &str, amount: i64) -> Result<ProductEvent, Refusal> {
        if let Some(owed) = self.standing(id, State::Withdrawn) {
            owed.state = State::Refunded;
            return Ok(refunded(id, user, amount, "WITHDRAWN"));
        }
        if self.standing(id, State::Refunded).is_some() {
            return Err(Refusal::AlreadyRefunded);
        }
        let code = match self.ended {
            None => return Err(Refusal::NotRefundable),
            Some(Refusal::Cancelled) => "CANCELLED",
            Some(_) => "TARGET_MISSED",
        };
        if self.standing(id, State::Open).is_some() {
            return Err(Refusal::NotRefundable);
        }
        match self.standing(id, State::Settled) {
            Some(invest) => invest.state = State::Refunded,
            None => return Err(Refusal::AlreadyRefunded),
        }
        Ok(refunded(id, user, amount, code))
    }

    fn miss_target(&mut self, at: chrono::DateTime<chrono::Utc>) -> Result<ProductEvent, Refusal> {
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        let target = self
            .terms
            .target_amount
            .ok_or(Refusal::TargetNotMissed)?
            .won();
        match () {
            () if at < second(3_600) => Err(Refusal::TargetUndecided),
            () if self.settled() >= target => Err(Refusal::TargetNotMissed),
            () if self.settled() + self.reserved() >= target => Err(Refusal::TargetUndecided),
            () => {
                self.ended = Some(Refusal::Failed);
                Ok(missed(target, self.settled() + self.reserved()))
            }
        }
    }

    fn close(&mut self) -> Result<ProductEvent, Refusal> {
        self.total.ok_or(Refusal::NotExist)?;
        if let Some(ended) = self.ended {
            return Err(ended);
        }
        if std::mem::replace(&mut self.closed, true) {
            return Err(Refusal::Closed);
        }
        Ok(ProductEvent::ProductClosed {})
    }

    fn refuse_unless_open_at(&self, at: chrono::DateTime<chrono::Utc>) -> Result<(), Refusal> {
        match () {
            () if self.ended.is_some() => Err(self.ended.unwrap()),
            () if self.closed => Err(Refusal::Closed),
            () if at < second(0) => Err(Refusal::NotStarted),
            () if at >= second(3_600) => Err(Refusal::Finished),
            () => Ok(()),
        }
    }

    fn reserve(&mut self, id: u128, user: &str, amount: i64) -> Result<ProductEvent, Refusal> {
        if self.open().iter().any(|(open, _)| *open == id) {
            return Err(Refusal::AlreadyReserved);
        }
        self.refuse_what_the_terms_do_not_allow(user, amount)?;
        let remaining = self.total.unwrap_or_default() - self.reserved() - self.settled();
        if amount > remaining {
            return Err(Refusal::SoldOut { remaining });
        }
        self.invests.push(Invest {
            id,
            user: user.into(),
            amount,
            state: State::Open,
            was_settled: false,
        });
        Ok(reserved(id, user, amount))
    }

    fn refuse_what_the_terms_do_not_allow(&self, user: &str, amount: i64) -> Result<(), Refusal> {
        let Terms {
            min_invest_amount,
            invest_amount_unit,
            max_amount_per_user,
            ..
        } = self.terms;
        if min_invest_amount.is_some_and(|minimum| amount < minimum.won()) {
            let is_allowed = |amount: &i64| {
                *amount >= min_invest_amount.unwrap().won()
                    && invest_amount_unit.is_none_or(|unit| amount % unit.won() == 0)
            };
            return Err(Refusal::BelowMinimum {
                smallest: (1..).find(is_allowed).unwrap(),
            });
        }
        if let Some(unit) = invest_amount_unit
            .map(domain::Amount::won)
            .filter(|unit| amount % unit != 0)
        {
            return Err(Refusal::NotAMultiple { unit });
        }
        let standing = self
            .invests
            .iter()
            .filter(|invest| invest.user == user && invest.stands());
        let taken: i64 = standing.map(|invest| invest.amount).sum();
        match max_amount_per_user.map(|limit| limit.won() - taken) {
            Some(remaining) if amount > remaining => Err(Refusal::LimitExceeded { remaining }),
            _ => Ok(()),
        }
    }

    fn end(&mut self, id: u128, fate: State) -> Result<(u128, String, i64), Refusal> {
        self.total.ok_or(Refusal::NotExist)?;
        let open = self
            .invests
            .iter_mut()
            .find(|invest| invest.id == id && invest.state == State::Open);
        let invest = open.ok_or(Refusal::NotOpen)?;
        invest.state = fate;
        invest.was_settled = fate == State::Settled;
        Ok((id, invest.user.clone(), invest.amount))
    }
}
