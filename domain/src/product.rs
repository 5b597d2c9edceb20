//! The aggregate. `decide` dispatches each command to a method that checks its refusals in order and, if none applies, returns one event.
//! `apply` assigns and never decides. The state has only what future decisions need.

use crate::{
    Amount, CancelReason, FailReason, InvestId, ProductCommand, ProductEvent, ProductId, Refusal,
    Terms, Title, UserId, Window,
};
use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use rpds::{HashTrieMapSync, HashTrieSetSync};
use serde::{Deserialize, Serialize};

/// One product as its stream tells it. Cloning is cheap, however many reservations are open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    offering: Option<Offering>,
    closed: bool,
    ended: Option<GiveBackReason>,
    reserved: i64,
    settled: i64,
    open: HashTrieMapSync<InvestId, OpenInvest>,
    /// Won that each user has reserved and settled; kept only where the terms limit it.
    taken_by_user: HashTrieMapSync<UserId, i64>,
    /// Invests that were withdrawn or refunded: whoever looked before that holds them for settled. Forgotten when all is given back.
    given_back: HashTrieSetSync<InvestId>,
    /// Withdrawn invests whose money is not known to be gone from the provider.
    refunds_owed: HashTrieSetSync<InvestId>,
}

/// Why an invest is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GiveBackReason {
    /// Its user withdrew it.
    Withdrawn,
    /// The product was cancelled by its operator.
    Cancelled,
    /// The product missed its target.
    TargetMissed,
}

impl GiveBackReason {
    /// For machines.
    pub fn code(self) -> &'static str {
        match self {
            Self::Withdrawn => "WITHDRAWN",
            Self::Cancelled => "CANCELLED",
            Self::TargetMissed => "TARGET_MISSED",
        }
    }

    /// For people.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Withdrawn => "the user withdrew the invest",
            Self::Cancelled => "the product was cancelled by its operator",
            Self::TargetMissed => "the product missed its target",
        }
    }

    /// The reason with this code.
    pub fn from_code(code: &str) -> Option<Self> {
        [Self::Withdrawn, Self::Cancelled, Self::TargetMissed]
            .into_iter()
            .find(|reason| reason.code() == code)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Offering {
    total: Amount,
    started_at: DateTime<Utc>,
    finished_at: DateTime<Utc>,
    terms: Terms,
}

/// A reservation without a fate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenInvest {
    /// Whose money.
    pub user_id: UserId,
    /// How much.
    pub amount: Amount,
    /// When it may be given up.
    pub expires_at: DateTime<Utc>,
}

impl Product {
    /// Whether its stream has begun.
    pub fn is_opened(&self) -> bool {
        self.offering.is_some()
    }

    /// What is set aside without a fate, in won.
    pub fn reserved(&self) -> i64 {
        self.reserved
    }

    /// What became holdings, in won.
    pub fn settled(&self) -> i64 {
        self.settled
    }

    /// What can still be reserved, in won; 0 when there is no product.
    pub fn remaining(&self) -> i64 {
        self.offering.map_or(0, |offering| {
            offering.total.won() - self.reserved - self.settled
        })
    }

    /// What a user has reserved and settled, in won; 0 unless the terms limit it.
    pub fn taken_by(&self, user_id: &UserId) -> i64 {
        self.taken_by_user.get(user_id).copied().unwrap_or(0)
    }

    /// How many users' sums the state holds: those of all who have any of it, where the terms limit them, else none.
    pub fn limited_users(&self) -> usize {
        self.taken_by_user.size()
    }

    /// How many invests the state remembers as given back.
    pub fn given_back_invests(&self) -> usize {
        self.given_back.size()
    }

    /// The reservations without a fate.
    pub fn open_invests(&self) -> impl Iterator<Item = (&InvestId, &OpenInvest)> {
        self.open.iter()
    }

    /// The events that `command` leads to, or why there are none. Changes nothing.
    fn decide(&self, command: ProductCommand) -> Result<ProductEvent, Refusal> {
        match command {
            ProductCommand::OpenProduct {
                product_id,
                title,
                total,
                window,
                terms,
            } => self.open(product_id, title, total, window, terms),
            ProductCommand::InvestRequested {
                invest_id,
                user_id,
                amount,
                at,
                expires_at,
            } => self.reserve(invest_id, user_id, amount, at, expires_at),
            ProductCommand::SettleInvest { invest_id } => self.settle(invest_id),
            ProductCommand::FailInvest { invest_id, reason } => self.fail(invest_id, reason),
            ProductCommand::ExpireInvest { invest_id, at } => self.expire(invest_id, at),
            ProductCommand::WithdrawInvest {
                invest_id,
                user_id,
                settled,
                at,
            } => self.withdraw(invest_id, user_id, settled, at),
            ProductCommand::RefundInvest {
                invest_id,
                user_id,
                amount,
            } => self.refund(invest_id, user_id, amount),
            ProductCommand::CloseProduct => self.close(),
            ProductCommand::CancelProduct { reason } => self.cancel(reason),
            ProductCommand::FailProduct { at } => self.miss_target(at),
        }
    }

    fn open(
        &self,
        product_id: ProductId,
        title: Title,
        total: Amount,
        window: Window,
        terms: Terms,
    ) -> Result<ProductEvent, Refusal> {
        if self.offering.is_some() {
            return Err(Refusal::AlreadyOpened);
        }
        Ok(ProductEvent::ProductOpened {
            product_id,
            title,
            total_investing_amount: total,
            started_at: window.started_at(),
            finished_at: window.finished_at(),
            terms,
        })
    }

    fn reserve(
        &self,
        invest_id: InvestId,
        user_id: UserId,
        amount: Amount,
        at: DateTime<Utc>,
        expires_at: DateTime<Utc>,
    ) -> Result<ProductEvent, Refusal> {
        let offering = self.offering.ok_or(Refusal::NotExist)?;
        self.check_standing()?;
        if self.closed {
            return Err(Refusal::Closed);
        }
        if at < offering.started_at {
            return Err(Refusal::NotStarted);
        }
        if at >= offering.finished_at {
            return Err(Refusal::Finished);
        }
        if self.open.contains_key(&invest_id) {
            return Err(Refusal::AlreadyReserved);
        }
        offering.terms.check_amount(amount)?;
        offering
            .terms
            .check_limit(self.taken_by(&user_id), amount)?;
        if amount.won() > self.remaining() {
            return Err(Refusal::SoldOut {
                remaining: self.remaining(),
            });
        }
        Ok(ProductEvent::InvestReserved {
            invest_id,
            user_id,
            amount,
            expires_at,
        })
    }

    fn settle(&self, invest_id: InvestId) -> Result<ProductEvent, Refusal> {
        let OpenInvest {
            user_id, amount, ..
        } = self.open_invest(invest_id)?;
        Ok(ProductEvent::InvestSettled {
            invest_id,
            user_id,
            amount,
        })
    }

    fn fail(&self, invest_id: InvestId, reason: FailReason) -> Result<ProductEvent, Refusal> {
        let OpenInvest {
            user_id, amount, ..
        } = self.open_invest(invest_id)?;
        // The user is told why it ended, not how.
        let (code, detail) = match self.ended {
            Some(ended) => (ended.code().into(), ended.detail().into()),
            None => (reason.code().into(), reason.detail().into()),
        };
        Ok(ProductEvent::InvestFailed {
            invest_id,
            user_id,
            amount,
            code,
            detail,
        })
    }

    fn expire(&self, invest_id: InvestId, at: DateTime<Utc>) -> Result<ProductEvent, Refusal> {
        let expires_at = self.open_invest(invest_id)?.expires_at;
        if at < expires_at {
            return Err(Refusal::NotExpired);
        }
        self.fail(invest_id, FailReason::expired(expires_at))
    }

    fn withdraw(
        &self,
        invest_id: InvestId,
        user_id: UserId,
        settled: Option<Amount>,
        at: DateTime<Utc>,
    ) -> Result<ProductEvent, Refusal> {
        let offering = self.offering.ok_or(Refusal::NotExist)?;
        let (amount, settled) = match (self.open.get(&invest_id), settled) {
            (Some(open), _) if open.user_id == user_id => (open.amount, false),
            (None, Some(amount))
                if amount.won() <= self.settled && !self.given_back.contains(&invest_id) =>
            {
                (amount, true)
            }
            _ => return Err(Refusal::NotOpen),
        };
        if self.ended.is_some()
            || offering
                .terms
                .withdrawable_until
                .is_none_or(|until| at >= until)
        {
            return Err(Refusal::NotWithdrawable);
        }
        Ok(ProductEvent::InvestWithdrawn {
            invest_id,
            user_id,
            amount,
            settled,
        })
    }

    fn refund(
        &self,
        invest_id: InvestId,
        user_id: UserId,
        amount: Amount,
    ) -> Result<ProductEvent, Refusal> {
        self.offering.ok_or(Refusal::NotExist)?;
        let refunded = |reason: GiveBackReason| ProductEvent::InvestRefunded {
            invest_id,
            user_id,
            amount,
            code: reason.code().into(),
        };
        if self.refunds_owed.contains(&invest_id) {
            return Ok(refunded(GiveBackReason::Withdrawn));
        }
        if self.given_back.contains(&invest_id) {
            return Err(Refusal::AlreadyRefunded);
        }
        let ended = self.ended.ok_or(Refusal::NotRefundable)?;
        if self.open.contains_key(&invest_id) {
            return Err(Refusal::NotRefundable);
        }
        if amount.won() > self.settled {
            return Err(Refusal::AlreadyRefunded);
        }
        Ok(refunded(ended))
    }

    fn close(&self) -> Result<ProductEvent, Refusal> {
        self.offering.ok_or(Refusal::NotExist)?;
        self.check_standing()?;
        if self.closed {
            return Err(Refusal::Closed);
        }
        Ok(ProductEvent::ProductClosed {})
    }

    fn cancel(&self, reason: CancelReason) -> Result<ProductEvent, Refusal> {
        self.offering.ok_or(Refusal::NotExist)?;
        self.check_standing()?;
        Ok(ProductEvent::ProductCancelled { reason })
    }

    /// An open reservation may still count for the target or not, so the target may be undecided after the window.
    fn miss_target(&self, at: DateTime<Utc>) -> Result<ProductEvent, Refusal> {
        let offering = self.offering.ok_or(Refusal::NotExist)?;
        self.check_standing()?;
        let target_amount = offering
            .terms
            .target_amount
            .ok_or(Refusal::TargetNotMissed)?;
        let reached_amount = self.reserved + self.settled;
        if at < offering.finished_at {
            return Err(Refusal::TargetUndecided);
        }
        if self.settled >= target_amount.won() {
            return Err(Refusal::TargetNotMissed);
        }
        if reached_amount >= target_amount.won() {
            return Err(Refusal::TargetUndecided);
        }
        Ok(ProductEvent::ProductFailed {
            target_amount,
            reached_amount,
        })
    }

    /// Whether it was neither cancelled nor failed.
    fn check_standing(&self) -> Result<(), Refusal> {
        match self.ended {
            None => Ok(()),
            Some(GiveBackReason::TargetMissed) => Err(Refusal::Failed),
            Some(GiveBackReason::Cancelled | GiveBackReason::Withdrawn) => Err(Refusal::Cancelled),
        }
    }

    /// Keeps the sum of a user whom the terms limit.
    fn change_taken(&mut self, user_id: &UserId, by: i64) {
        if self
            .offering
            .is_some_and(|offering| offering.terms.max_amount_per_user.is_some())
        {
            match self.taken_by(user_id) + by {
                0 => _ = self.taken_by_user.remove_mut(user_id),
                taken => self.taken_by_user.insert_mut(user_id.clone(), taken),
            }
        }
    }

    fn end(&mut self, ended: GiveBackReason) {
        self.ended = Some(ended);
        self.forget_given_back();
    }

    /// Where nothing stands and nothing will, no invest can be given back again.
    fn forget_given_back(&mut self) {
        if self.ended.is_some() && self.reserved == 0 && self.settled == 0 {
            self.given_back = HashTrieSetSync::default();
        }
    }

    fn open_invest(&self, invest_id: InvestId) -> Result<OpenInvest, Refusal> {
        self.offering.ok_or(Refusal::NotExist)?;
        self.open.get(&invest_id).cloned().ok_or(Refusal::NotOpen)
    }
}

impl Aggregate for Product {
    const TYPE: &'static str = "product";
    type Command = ProductCommand;
    type Event = ProductEvent;
    type Error = Refusal;
    type Services = ();

    async fn handle(
        &mut self,
        command: ProductCommand,
        (): &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Refusal> {
        let event = self.decide(command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: ProductEvent) {
        match event {
            ProductEvent::ProductOpened {
                total_investing_amount: total,
                started_at,
                finished_at,
                terms,
                ..
            } => {
                self.offering = Some(Offering {
                    total,
                    started_at,
                    finished_at,
                    terms,
                });
            }
            ProductEvent::InvestReserved {
                invest_id,
                user_id,
                amount,
                expires_at,
            } => {
                self.reserved += amount.won();
                self.change_taken(&user_id, amount.won());
                self.open.insert_mut(
                    invest_id,
                    OpenInvest {
                        user_id,
                        amount,
                        expires_at,
                    },
                );
            }
            ProductEvent::InvestSettled {
                invest_id, amount, ..
            } => {
                self.reserved -= amount.won();
                self.settled += amount.won();
                self.open.remove_mut(&invest_id);
            }
            ProductEvent::InvestFailed {
                invest_id,
                user_id,
                amount,
                ..
            } => {
                self.reserved -= amount.won();
                self.change_taken(&user_id, -amount.won());
                self.open.remove_mut(&invest_id);
                self.forget_given_back();
            }
            ProductEvent::InvestWithdrawn {
                invest_id,
                user_id,
                amount,
                settled,
            } => {
                *(if settled {
                    &mut self.settled
                } else {
                    &mut self.reserved
                }) -= amount.won();
                self.change_taken(&user_id, -amount.won());
                self.open.remove_mut(&invest_id);
                self.given_back.insert_mut(invest_id);
                self.refunds_owed.insert_mut(invest_id);
            }
            ProductEvent::InvestRefunded {
                invest_id,
                user_id,
                amount,
                ..
            } => {
                if !self.refunds_owed.remove_mut(&invest_id) {
                    self.settled -= amount.won();
                    self.change_taken(&user_id, -amount.won());
                    self.given_back.insert_mut(invest_id);
                }
                self.forget_given_back();
            }
            ProductEvent::ProductClosed {} => self.closed = true,
            ProductEvent::ProductCancelled { .. } => self.end(GiveBackReason::Cancelled),
            ProductEvent::ProductFailed { .. } => self.end(GiveBackReason::TargetMissed),
        }
    }
}
