//! The aggregate. `handle` routes, each decision is a column of refusals that ends in one event, `apply` assigns and never decides; the
//! state has only what future decisions need.

use crate::{
    Amount, FailReason, InvestId, ProductCommand, ProductEvent, ProductId, Refusal, Terms, Title, UserId, Window,
};
use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, event_sink::EventSink};
use rpds::HashTrieMapSync;
use serde::{Deserialize, Serialize};

/// One product as its stream tells it. Cloning is cheap, however many reservations are open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Product {
    offering: Option<Offering>,
    closed: bool,
    reserved: i64,
    settled: i64,
    open: HashTrieMapSync<InvestId, OpenInvest>,
    /// Won that each user has reserved and settled; kept only where the terms limit it.
    taken_by_user: HashTrieMapSync<UserId, i64>,
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
        self.offering.map_or(0, |offering| offering.total.won() - self.reserved - self.settled)
    }

    /// What a user has reserved and settled, in won; 0 unless the terms limit it.
    pub fn taken_by(&self, user_id: &UserId) -> i64 {
        self.taken_by_user.get(user_id).copied().unwrap_or(0)
    }

    /// How many users' sums the state holds: those of all who have any of it, where the terms limit them, else none.
    pub fn limited_users(&self) -> usize {
        self.taken_by_user.size()
    }

    /// The reservations without a fate.
    pub fn open_invests(&self) -> impl Iterator<Item = (&InvestId, &OpenInvest)> {
        self.open.iter()
    }

    /// The events that `command` leads to, or why there are none. Changes nothing.
    fn decide(&self, command: ProductCommand) -> Result<ProductEvent, Refusal> {
        match command {
            ProductCommand::OpenProduct { product_id, title, total, window, terms } => {
                self.open(product_id, title, total, window, terms)
            }
            ProductCommand::InvestRequested { invest_id, user_id, amount, at, expires_at } => {
                self.reserve(invest_id, user_id, amount, at, expires_at)
            }
            ProductCommand::SettleInvest { invest_id } => self.settle(invest_id),
            ProductCommand::FailInvest { invest_id, reason } => self.fail(invest_id, reason),
            ProductCommand::ExpireInvest { invest_id, at } => self.expire(invest_id, at),
            ProductCommand::CloseProduct => self.close(),
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
        offering.terms.check_limit(self.taken_by(&user_id), amount)?;
        if amount.won() > self.remaining() {
            return Err(Refusal::SoldOut { remaining: self.remaining() });
        }
        Ok(ProductEvent::InvestReserved { invest_id, user_id, amount, expires_at })
    }

    fn settle(&self, invest_id: InvestId) -> Result<ProductEvent, Refusal> {
        let OpenInvest { user_id, amount, .. } = self.open_invest(invest_id)?;
        Ok(ProductEvent::InvestSettled { invest_id, user_id, amount })
    }

    fn fail(&self, invest_id: InvestId, reason: FailReason) -> Result<ProductEvent, Refusal> {
        let OpenInvest { user_id, amount, .. } = self.open_invest(invest_id)?;
        let (code, detail) = (reason.code().into(), reason.detail().into());
        Ok(ProductEvent::InvestFailed { invest_id, user_id, amount, code, detail })
    }

    fn expire(&self, invest_id: InvestId, at: DateTime<Utc>) -> Result<ProductEvent, Refusal> {
        let expires_at = self.open_invest(invest_id)?.expires_at;
        if at < expires_at {
            return Err(Refusal::NotExpired);
        }
        self.fail(invest_id, FailReason::expired(expires_at))
    }

    fn close(&self) -> Result<ProductEvent, Refusal> {
        if self.offering.is_none() {
            return Err(Refusal::NotExist);
        }
        if self.closed {
            return Err(Refusal::Closed);
        }
        Ok(ProductEvent::ProductClosed {})
    }

    /// Keeps the sum of a user whom the terms limit.
    fn change_taken(&mut self, user_id: &UserId, by: i64) {
        if self.offering.is_some_and(|offering| offering.terms.max_amount_per_user.is_some()) {
            match self.taken_by(user_id) + by {
                0 => _ = self.taken_by_user.remove_mut(user_id),
                taken => self.taken_by_user.insert_mut(user_id.clone(), taken),
            }
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

    async fn handle(&mut self, command: ProductCommand, (): &(), sink: &EventSink<Self>) -> Result<(), Refusal> {
        let event = self.decide(command)?;
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: ProductEvent) {
        match event {
            ProductEvent::ProductOpened { total_investing_amount: total, started_at, finished_at, terms, .. } => {
                self.offering = Some(Offering { total, started_at, finished_at, terms });
            }
            ProductEvent::InvestReserved { invest_id, user_id, amount, expires_at } => {
                self.reserved += amount.won();
                self.change_taken(&user_id, amount.won());
                self.open.insert_mut(invest_id, OpenInvest { user_id, amount, expires_at });
            }
            ProductEvent::InvestSettled { invest_id, amount, .. } => {
                self.reserved -= amount.won();
                self.settled += amount.won();
                self.open.remove_mut(&invest_id);
            }
            ProductEvent::InvestFailed { invest_id, user_id, amount, .. } => {
                self.reserved -= amount.won();
                self.change_taken(&user_id, -amount.won());
                self.open.remove_mut(&invest_id);
            }
            ProductEvent::ProductClosed {} => self.closed = true,
        }
    }
}
