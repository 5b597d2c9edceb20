//! The business rules of Moa: the aggregate [`Product`], its commands, its events and its refusals.
//!
//! Pure: time, ids and looked-up facts arrive inside the [`ProductCommand`]; a decision ends in events or in a
//! [`Refusal`]; nothing here knows a table, a queue, a header or a clock.
//!
//! Words are in `docs/glossary.md`.

mod command;
mod event;
mod personal;
mod product;
mod refusal;
mod terms;
mod upcast;
mod value;

pub use command::ProductCommand;
pub use event::{ProductEvent, newest_major_version};
pub use personal::{PersonalData, personal_data, resident_number};
pub use product::{GiveBackReason, OpenInvest, Product};
pub use refusal::Refusal;
pub use terms::Terms;
pub use upcast::upcasters;
pub use value::{
    Amount, CancelReason, FailReason, InvalidValueError, InvestId, MAX_AMOUNT, ProductId, Title,
    UserId, Window,
};
