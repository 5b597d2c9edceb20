//! The rules once more, as plainly as can be: one list of everything that was ever accepted.

use crate::support::{expired, expiry, failed, opened_with, reserved, second, settled};
use domain::{ProductCommand, ProductEvent, Refusal, Terms};

#[derive(Clone, Copy, PartialEq)]
enum State {
    Open,
    Settled,
    Failed,
}

struct Invest {
    id: u128,
    user: String,
    amount: i64,
    state: State,
}

#[derive(Default)]
pub struct Model {
    pub total: Option<i64>,
    terms: Terms,
    closed: bool,
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
        let open = self.invests.iter().filter(|invest| invest.state == State::Open);
        let mut open: Vec<_> = open.map(|invest| (invest.id, invest.amount)).collect();
        open.sort_unstable();
        open
    }

    fn sum(&self, state: State) -> i64 {
        self.invests.iter().filter(|invest| invest.state == state).map(|invest| invest.amount).sum()
    }

    /// What the product should say, and what it should be then.
    pub fn decide(&mut self, command: &ProductCommand) -> Result<ProductEvent, Refusal> {
        match command {
            ProductCommand::OpenProduct { total, terms, .. } => self.open_product(total.won(), *terms),
            ProductCommand::CloseProduct => self.close(),
            ProductCommand::InvestRequested { invest_id, user_id, amount, at, .. } => {
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
                Ok(failed(id, &user, amount))
            }
            ProductCommand::ExpireInvest { invest_id, at } => {
                let id = invest_id.0.as_u128();
                if self.open().iter().any(|(open, _)| *open == id) && *at < expiry() {
                    return Err(Refusal::NotExpired);
                }
                let (id, user, amount) = self.end(id, State::Failed)?;
                Ok(expired(id, &user, amount))
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

    fn close(&mut self) -> Result<ProductEvent, Refusal> {
        self.total.ok_or(Refusal::NotExist)?;
        if std::mem::replace(&mut self.closed, true) {
            return Err(Refusal::Closed);
        }
        Ok(ProductEvent::ProductClosed {})
    }

    fn refuse_unless_open_at(&self, at: chrono::DateTime<chrono::Utc>) -> Result<(), Refusal> {
        match () {
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
        self.invests.push(Invest { id, user: user.into(), amount, state: State::Open });
        Ok(reserved(id, user, amount))
    }

    fn refuse_what_the_terms_do_not_allow(&self, user: &str, amount: i64) -> Result<(), Refusal> {
        let Terms { min_invest_amount, invest_amount_unit, max_amount_per_user } = self.terms;
        if min_invest_amount.is_some_and(|minimum| amount < minimum.won()) {
            let is_allowed = |amount: &i64| {
                *amount >= min_invest_amount.unwrap().won()
                    && invest_amount_unit.is_none_or(|unit| amount % unit.won() == 0)
            };
            return Err(Refusal::BelowMinimum { smallest: (1..).find(is_allowed).unwrap() });
        }
        if let Some(unit) = invest_amount_unit.map(domain::Amount::won).filter(|unit| amount % unit != 0) {
            return Err(Refusal::NotAMultiple { unit });
        }
        let standing = self.invests.iter().filter(|invest| invest.user == user && invest.state != State::Failed);
        let taken: i64 = standing.map(|invest| invest.amount).sum();
        match max_amount_per_user.map(|limit| limit.won() - taken) {
            Some(remaining) if amount > remaining => Err(Refusal::LimitExceeded { remaining }),
            _ => Ok(()),
        }
    }

    fn end(&mut self, id: u128, fate: State) -> Result<(u128, String, i64), Refusal> {
        self.total.ok_or(Refusal::NotExist)?;
        let open = self.invests.iter_mut().find(|invest| invest.id == id && invest.state == State::Open);
        let invest = open.ok_or(Refusal::NotOpen)?;
        invest.state = fate;
        Ok((id, invest.user.clone(), invest.amount))
    }
}
