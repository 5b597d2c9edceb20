//! The settings of `moa audit`.

use crate::audit::{
    AccessSettings, ActsSettings, CheckSettings, EventsSettings, ExportSettings, InvestLogSettings,
    InvestSettings, KeySettings, ProductSettings, ProductsSettings, ProveSettings,
    RefusalsSettings, SealsSettings, UserSettings, VerifySettings,
};
use clap::Subcommand;

/// What auditors do.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Events by any filter, forward or backward
    Events(EventsSettings),
    /// The log, or what a filter leaves of it, as a file; a whole one can be verified without Moa
    Export(ExportSettings),
    /// A product as it stood at a time or sequence
    Product(ProductSettings),
    /// The product list as it stood
    Products(ProductsSettings),
    /// A user's holdings as they stood
    Holdings(UserSettings),
    /// A user's invest log as it stood
    InvestLog(InvestLogSettings),
    /// A user's summary as it stood
    Summary(UserSettings),
    /// The timeline of one invest: request, reservation, payment, fate, and which consumers applied it
    Invest(InvestSettings),
    /// Requests that were refused
    Refusals(RefusalsSettings),
    /// Check that the log, and the record of operators' acts, is complete and unchanged: the live one, or an export
    Verify(VerifySettings),
    /// A proof that one invest is in the sealed log, for a reader who does not have the log
    Prove(ProveSettings),
    /// Check such a proof, without Moa
    Check(CheckSettings),
    /// The seals of the log
    Seals(SealsSettings),
    /// Make a key to seal with
    Key(KeySettings),
    /// What operators did: who, when, and what came of it
    Acts(ActsSettings),
    /// Who read the audit
    Access(AccessSettings),
}
