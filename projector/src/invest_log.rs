//! `invest_log`: every accepted invest and what became of it. The sums just after a reservation are written with it and never
//! change.

mod tables;

use crate::change_set::{ChangeSet, invariant_violation};
use crate::copy_writer::CopyWriter;
use crate::fold::{self, Fold, ReadModel, Table};
use crate::give_back::stood_until_refunded;
use chrono::{DateTime, Utc};
use connection_pool::Connection;
use domain::{GiveBackReason, InvestId, ProductEvent};
use event_log::consume::{ApplyError, Projection};
use event_log::{Partition, RecordedEvent};
use uuid::Uuid;

/// Keeps `invest_log`, `invest_log_product` and `invest_log_user`.
#[derive(Clone, Copy, Debug, Default)]
pub struct InvestLogProjection;

impl Projection for InvestLogProjection {
    const NAME: &'static str = "invest_log";
    const VERSION: i32 = 1;

    async fn apply(
        &self,
        transaction: &mut Connection,
        events: &[RecordedEvent],
    ) -> Result<(), ApplyError> {
        fold::apply_batch::<Self>(transaction, events).await
    }
}

impl ReadModel for InvestLogProjection {
    const TABLES: &'static [Table] = &[
        Table::by_product(
            "invest_log",
            "invest_id, product_id, user_id, amount, state, fail_code, fail_detail, accrued_user, accrued_product, \
             requested_at, updated_at",
        ),
        Table::by_product("invest_log_product", "product_id, title, accrued"),
        Table::by_product("invest_log_user", "user_id, product_id, accrued, invests"),
    ];
    type Fold = InvestLogState;
}

/// The rows that a batch touches, or all rows of a partition.
#[derive(Default)]
pub(crate) struct InvestLogState {
    products: ChangeSet<i64, Product>,
    /// By user and product.
    users: ChangeSet<(String, i64), User>,
    invests: ChangeSet<Uuid, Invest>,
}

#[derive(Clone, PartialEq)]
struct Product {
    title: String,
    /// Won, reserved + settled, now.
    accrued: i64,
}

#[derive(Clone, Default, PartialEq)]
struct User {
    /// Won, reserved + settled, now.
    accrued: i64,
    /// Rows of the invest log.
    invests: i64,
}

#[derive(Clone, PartialEq)]
struct Invest {
    product_id: i64,
    user_id: String,
    amount: i64,
    state: State,
    accrued_user: i64,
    accrued_product: i64,
    requested_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

#[derive(Clone, PartialEq)]
enum State {
    Reserved,
    Settled,
    Failed { code: String, detail: String },
    Withdrawn,
    Refunded(GiveBackReason),
}

impl Fold for InvestLogState {
    async fn read(transaction: &mut Connection, events: &[RecordedEvent]) -> sqlx::Result<Self> {
        Self::read_tables(transaction, events).await
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), ApplyError> {
        match &event.event {
            ProductEvent::ProductOpened { title, .. } => self.open(event, title.as_str()),
            ProductEvent::InvestReserved {
                invest_id,
                user_id,
                amount,
                ..
            } => self.reserve(event, *invest_id, user_id.as_str(), amount.won()),
            ProductEvent::InvestSettled {
                invest_id,
                user_id,
                amount,
            } => self.change(
                event,
                *invest_id,
                user_id.as_str(),
                amount.won(),
                &State::Reserved,
                State::Settled,
            ),
            ProductEvent::InvestFailed {
                invest_id,
                user_id,
                amount,
                code,
                detail,
            } => {
                let failed = State::Failed {
                    code: code.clone(),
                    detail: detail.clone(),
                };
                self.change(
                    event,
                    *invest_id,
                    user_id.as_str(),
                    amount.won(),
                    &State::Reserved,
                    failed,
                )?;
                self.release(event, user_id.as_str(), amount.won())
            }
            ProductEvent::InvestWithdrawn {
                invest_id,
                user_id,
                amount,
                settled,
            } => {
                let stood = if *settled {
                    State::Settled
                } else {
                    State::Reserved
                };
                self.change(
                    event,
                    *invest_id,
                    user_id.as_str(),
                    amount.won(),
                    &stood,
                    State::Withdrawn,
                )?;
                self.release(event, user_id.as_str(), amount.won())
            }
            ProductEvent::InvestRefunded {
                invest_id,
                user_id,
                amount,
                code,
            } => self.refund(event, *invest_id, user_id.as_str(), amount.won(), code),
            ProductEvent::ProductClosed {}
            | ProductEvent::ProductCancelled { .. }
            | ProductEvent::ProductFailed { .. } => self.product(event).map(drop),
        }
    }

    async fn update(&self, transaction: &mut Connection, _: Partition) -> sqlx::Result<()> {
        self.update_tables(transaction).await
    }

    /// A settled invest stays in memory: it can be withdrawn, or its product be cancelled.
    fn emit_finished(&mut self, copy: &mut CopyWriter) {
        for (id, invest) in self
            .invests
            .after
            .extract_if(|_, invest| invest.state.is_final())
        {
            invest.copy(&id, copy);
        }
    }

    fn emit_new(&self, _: Partition, copy: &mut CopyWriter) {
        for (id, invest) in self.invests.added() {
            invest.copy(id, copy);
        }
        for (id, product) in self.products.added() {
            copy.row(1, &[id, &product.title, &product.accrued]);
        }
        for ((user, product), of_user) in self.users.added() {
            copy.row(2, &[user, product, &of_user.accrued, &of_user.invests]);
        }
    }
}

impl Invest {
    fn copy(&self, id: &Uuid, copy: &mut CopyWriter) {
        let Self {
            product_id,
            user_id,
            amount,
            state,
            accrued_user,
            accrued_product,
            requested_at,
            updated_at,
        } = self;
        let (name, (code, detail)) = (state.name(), state.reason());
        copy.row(
            0,
            &[
                id,
                product_id,
                user_id,
                amount,
                &name,
                &code,
                &detail,
                accrued_user,
                accrued_product,
                requested_at,
                updated_at,
            ],
        );
    }
}

impl InvestLogState {
    fn open(&mut self, event: &RecordedEvent, title: &str) -> Result<(), ApplyError> {
        let product = Product {
            title: title.into(),
            accrued: 0,
        };
        match self.products.after.insert(event.product_id.get(), product) {
            None => Ok(()),
            Some(_) => Err(invariant_violation(event, "it is already opened")),
        }
    }

    fn reserve(
        &mut self,
        event: &RecordedEvent,
        id: InvestId,
        user: &str,
        amount: i64,
    ) -> Result<(), ApplyError> {
        let product = self.product(event)?;
        product.accrued += amount;
        let accrued_product = product.accrued;
        let of_user = self
            .users
            .after
            .entry((user.into(), event.product_id.get()))
            .or_default();
        of_user.accrued += amount;
        of_user.invests += 1;
        let invest = Invest {
            product_id: event.product_id.get(),
            user_id: user.into(),
            amount,
            state: State::Reserved,
            accrued_user: of_user.accrued,
            accrued_product,
            requested_at: event.recorded_at,
            updated_at: event.recorded_at,
        };
        match self.invests.after.insert(id.0, invest) {
            None => Ok(()),
            Some(_) => Err(invariant_violation(
                event,
                format!("invest {id} is already in the log"),
            )),
        }
    }

    /// A withdrawn invest was released when it was withdrawn; a settled one is released now.
    fn refund(
        &mut self,
        event: &RecordedEvent,
        id: InvestId,
        user: &str,
        amount: i64,
        code: &str,
    ) -> Result<(), ApplyError> {
        let reason = GiveBackReason::from_code(code);
        let reason = reason.ok_or_else(|| {
            invariant_violation(event, format!("{code:?} is no reason to give back"))
        })?;
        let stood = stood_until_refunded(code);
        let from = if stood {
            State::Settled
        } else {
            State::Withdrawn
        };
        self.change(event, id, user, amount, &from, State::Refunded(reason))?;
        if stood {
            self.release(event, user, amount)
        } else {
            Ok(())
        }
    }

    /// Moves the invest from the one state to the other.
    fn change(
        &mut self,
        event: &RecordedEvent,
        id: InvestId,
        user: &str,
        amount: i64,
        from: &State,
        to: State,
    ) -> Result<(), ApplyError> {
        let found = self.invests.after.get_mut(&id.0).filter(|invest| {
            invest.state == *from
                && (invest.product_id, invest.user_id.as_str(), invest.amount)
                    == (event.product_id.get(), user, amount)
        });
        let Some(invest) = found else {
            let reason = format!("invest {id} is not {} of that user and amount", from.name());
            return Err(invariant_violation(event, reason));
        };
        invest.state = to;
        invest.updated_at = event.recorded_at;
        Ok(())
    }

    fn release(
        &mut self,
        event: &RecordedEvent,
        user: &str,
        amount: i64,
    ) -> Result<(), ApplyError> {
        let key = (user.into(), event.product_id.get());
        let of_user = self
            .users
            .after
            .get_mut(&key)
            .filter(|user| user.accrued >= amount);
        let Some(of_user) = of_user else {
            return Err(invariant_violation(
                event,
                "it gives back more than its user has",
            ));
        };
        of_user.accrued -= amount;
        self.product(event)?.accrued -= amount;
        Ok(())
    }

    fn product(&mut self, event: &RecordedEvent) -> Result<&mut Product, ApplyError> {
        let product = self.products.after.get_mut(&event.product_id.get());
        product.ok_or_else(|| invariant_violation(event, "it was never opened"))
    }
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Reserved => "RESERVED",
            Self::Settled => "SETTLED",
            Self::Failed { .. } => "FAILED",
            Self::Withdrawn => "WITHDRAWN",
            Self::Refunded(_) => "REFUNDED",
        }
    }

    /// Whether no later event can change it.
    fn is_final(&self) -> bool {
        match self {
            Self::Failed { .. } | Self::Refunded(_) => true,
            Self::Reserved | Self::Settled | Self::Withdrawn => false,
        }
    }

    /// The code and the detail of why it failed, or was given back.
    fn reason(&self) -> (Option<&str>, Option<&str>) {
        let given_back = |reason: GiveBackReason| (Some(reason.code()), Some(reason.detail()));
        match self {
            Self::Failed { code, detail } => (Some(code), Some(detail)),
            Self::Withdrawn => given_back(GiveBackReason::Withdrawn),
            Self::Refunded(reason) => given_back(*reason),
            Self::Reserved | Self::Settled => (None, None),
        }
    }

    fn from_stored(name: &str, code: Option<String>, detail: Option<String>) -> sqlx::Result<Self> {
        let given_back = code.as_deref().and_then(GiveBackReason::from_code);
        match (name, code, detail, given_back) {
            ("RESERVED", None, None, _) => Ok(Self::Reserved),
            ("SETTLED", None, None, _) => Ok(Self::Settled),
            ("FAILED", Some(code), Some(detail), _) => Ok(Self::Failed { code, detail }),
            ("WITHDRAWN", .., Some(GiveBackReason::Withdrawn)) => Ok(Self::Withdrawn),
            ("REFUNDED", .., Some(reason)) => Ok(Self::Refunded(reason)),
            (other, ..) => Err(sqlx::Error::Decode(
                format!("{other:?} is no state of an invest").into(),
            )),
        }
    }
}
