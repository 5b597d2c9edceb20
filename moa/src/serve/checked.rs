//! What the settings of each service say, read and checked before anything is opened: by a start, and by `moa config check`, which opens
//! nothing.

use super::SetTokens;
use super::callers::Callers;
use super::components::{OptionalServers, provider};
use super::limits::ListenerLimits;
use super::seal_keys::{self, Keys};
use crate::database::Database;
use crate::secret::Secret;
use crate::settings::{
    AdminServiceSettings, CommandApiSettings, ProjectorSettings, QueryApiSettings, RelaySettings,
    SealerSettings, Serve, ServeSettings, Service,
};
use audit::proof::ExternalSeals;
use audit::proof::sealer::Sealing;
use command_api::Provider;
use std::net::SocketAddr;

/// The read side and the write side.
const PUBLIC_LISTENERS: usize = 2;

/// Of everything in one process.
pub(super) struct AllInOneParts {
    pub(super) tokens: SetTokens,
    pub(super) callers: Callers,
    pub(super) provider: Provider,
    pub(super) optional_servers: OptionalServers,
    pub(super) keys: Keys,
    pub(super) listening: ListenerLimits,
}

/// Reads the settings as a start of the same service would, and opens and connects to nothing.
///
/// # Errors
/// The first setting that a start would be refused for.
pub(crate) fn check(serve: &Serve) -> anyhow::Result<()> {
    match &serve.service {
        None => {
            let all = &serve.all;
            all_in_one(all, &[all.query.query_listen, all.command.command_listen])?;
            all.database.database_url.as_ref().map_or(Ok(()), database)
        }
        Some(Service::CommandApi(settings)) => {
            command_api(settings, settings.command.command_listen)?;
            database(&settings.server.database_url)
        }
        Some(Service::QueryApi(settings)) => {
            query_api(settings, settings.query.query_listen)?;
            database(&settings.server.database_url)
        }
        Some(Service::Projector(settings)) => {
            projector(settings)?;
            database(&settings.server.database_url)
        }
        Some(Service::Relay(settings)) => {
            relay(settings)?;
            database(&settings.server.database_url)
        }
        Some(Service::Admin(settings)) => {
            admin(settings)?;
            database(&settings.server.database_url)
        }
        Some(Service::Sealer(settings)) => {
            sealer(settings)?;
            database(&settings.server.database_url)
        }
    }
}

fn database(url: &Secret) -> anyhow::Result<()> {
    Database::named(url).map(drop)
}

/// For public listeners at these addresses.
pub(super) fn all_in_one(
    settings: &ServeSettings,
    public: &[SocketAddr],
) -> anyhow::Result<AllInOneParts> {
    Ok(AllInOneParts {
        tokens: SetTokens::read(&settings.admin)?,
        callers: Callers::open(&settings.public, public)?,
        provider: provider(&settings.command)?,
        optional_servers: OptionalServers::read(
            settings.broker.amqp_url.as_ref(),
            settings.cache.redis_url.as_ref(),
        )?,
        keys: seal_keys::keys(&settings.seal, &settings.database)?,
        listening: ListenerLimits::open(&settings.listeners, PUBLIC_LISTENERS)?,
    })
}

/// Of the write side.
pub(super) struct CommandApiParts {
    pub(super) listening: ListenerLimits,
    pub(super) provider: Provider,
    pub(super) outside: Option<ExternalSeals>,
    pub(super) optional_servers: OptionalServers,
    pub(super) callers: Callers,
}

/// For a listener at this address.
pub(super) fn command_api(
    settings: &CommandApiSettings,
    address: SocketAddr,
) -> anyhow::Result<CommandApiParts> {
    Ok(CommandApiParts {
        listening: ListenerLimits::open(&settings.listeners, 1)?,
        provider: provider(&settings.command)?,
        outside: seal_keys::outside(&settings.outside)?,
        optional_servers: OptionalServers::read(settings.broker.amqp_url.as_ref(), None)?,
        callers: Callers::open(&settings.public, &[address])?,
    })
}

/// For a listener at this address.
pub(super) fn query_api(
    settings: &QueryApiSettings,
    address: SocketAddr,
) -> anyhow::Result<(OptionalServers, ListenerLimits, Callers)> {
    let optional_servers = OptionalServers::read(None, settings.cache.redis_url.as_ref())?;
    let listening = ListenerLimits::open(&settings.listeners, 1)?;
    Ok((
        optional_servers,
        listening,
        Callers::open(&settings.public, &[address])?,
    ))
}

pub(super) fn projector(
    settings: &ProjectorSettings,
) -> anyhow::Result<(OptionalServers, ListenerLimits)> {
    let optional_servers = OptionalServers::read(
        settings.broker.amqp_url.as_ref(),
        settings.cache.redis_url.as_ref(),
    )?;
    Ok((
        optional_servers,
        ListenerLimits::open(&settings.listeners, 0)?,
    ))
}

pub(super) fn relay(settings: &RelaySettings) -> anyhow::Result<(OptionalServers, ListenerLimits)> {
    let optional_servers = OptionalServers::read(Some(&settings.amqp_url), None)?;
    Ok((
        optional_servers,
        ListenerLimits::open(&settings.listeners, 0)?,
    ))
}

/// Of the operators' service.
pub(super) struct AdminParts {
    pub(super) listening: ListenerLimits,
    pub(super) tokens: SetTokens,
    pub(super) seals: Option<ExternalSeals>,
    pub(super) optional_servers: OptionalServers,
}

pub(super) fn admin(settings: &AdminServiceSettings) -> anyhow::Result<AdminParts> {
    let listening = ListenerLimits::open(&settings.listeners, 0)?;
    let tokens = SetTokens::read(&settings.admin)?;
    // Several instances must know the same one, so none is made here.
    anyhow::ensure!(
        tokens.operator.is_some() || tokens.file.is_some(),
        "set MOA_OPERATOR_TOKEN or MOA_OPERATOR_TOKEN_FILE, 16 characters or more, or MOA_TOKENS_FILE"
    );
    let seals = seal_keys::outside(&settings.outside)?;
    let optional_servers = OptionalServers::read(None, settings.cache.redis_url.as_ref())?;
    Ok(AdminParts {
        listening,
        tokens,
        seals,
        optional_servers,
    })
}

pub(super) fn sealer(
    settings: &SealerSettings,
) -> anyhow::Result<(ListenerLimits, Sealing, OptionalServers)> {
    let listening = ListenerLimits::open(&settings.listeners, 0)?;
    Ok((
        listening,
        seal_keys::sealing_of_service(settings)?,
        OptionalServers::read(None, None)?,
    ))
}
