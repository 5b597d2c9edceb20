//! `moa audit`: the auditor's commands. Most ask a running Moa through its admin listener; a log is also verified in the
//! database itself, or from an export, without Moa.

mod access;
mod acts;
mod as_of;
mod client;
mod events;
mod export;
mod invest;
mod page_settings;
pub(crate) mod proof;
mod refusals;

use crate::settings::{AuditCommand, AuditorSettings};
pub use access::AccessSettings;
pub use acts::ActsSettings;
pub use as_of::{InvestLogSettings, ProductSettings, ProductsSettings, UserSettings};
use client::Client;
pub use events::EventsSettings;
pub use export::ExportSettings;
pub use invest::InvestSettings;
pub use proof::{CheckSettings, KeySettings, ProveSettings, SealsSettings, VerifySettings};
pub use refusals::RefusalsSettings;

/// Runs one of them.
pub async fn run(command: AuditCommand, auditor: &AuditorSettings) -> anyhow::Result<()> {
    let client = Client::of(auditor);
    match command {
        AuditCommand::Events(settings) => events::run(settings, &client).await,
        AuditCommand::Export(settings) => export::run(settings, &client).await,
        AuditCommand::Product(settings) => as_of::product(settings, &client).await,
        AuditCommand::Products(settings) => as_of::products(settings, &client).await,
        AuditCommand::Holdings(settings) => as_of::holdings(settings, &client).await,
        AuditCommand::InvestLog(settings) => as_of::invest_log(settings, &client).await,
        AuditCommand::Summary(settings) => as_of::summary(settings, &client).await,
        AuditCommand::Invest(settings) => invest::run(settings, &client).await,
        AuditCommand::Refusals(settings) => refusals::run(settings, &client).await,
        AuditCommand::Verify(settings) => proof::verify(settings, &client).await,
        AuditCommand::Prove(settings) => proof::prove(settings, &client).await,
        AuditCommand::Check(settings) => proof::check(settings),
        AuditCommand::Seals(settings) => proof::seals(settings, &client).await,
        AuditCommand::Key(settings) => proof::key(settings),
        AuditCommand::Acts(settings) => acts::run(settings, &client).await,
        AuditCommand::Access(settings) => access::run(settings, &client).await,
    }
}
