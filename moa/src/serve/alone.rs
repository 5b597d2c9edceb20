//! One service alone. Its ops port opens first, so that whoever starts it can see what it waits for; its own port when it
//! can serve.

use super::listening::{Listening, bind};
use super::parts::{Beside, Connected, Operators, provider};
use super::seal;
use super::stages::Stages;
use super::stop::StopSignal;
use super::tokens;
use crate::admin::Tokens;
use crate::database::{Connections, Database};
use crate::ops::Ops;
use crate::settings::{
    AdminServiceSettings, CommandApiSettings, OpsSettings, ProjectorSettings, QueryApiSettings, RelaySettings,
    SealerSettings, ServerSettings, Service,
};
use crate::welcome;
use anyhow::Context;
use event_log::Log;

/// Runs one service until SIGTERM or Ctrl-C; a second one ends it at once.
pub async fn run(service: Service) -> anyhow::Result<()> {
    let ops = Ops::new()?;
    let alone = Alone { stages: Stages::of(&ops), ops, stop: StopSignal::listen()? };
    match service {
        Service::CommandApi(settings) => alone.command_api(settings).await,
        Service::QueryApi(settings) => alone.query_api(settings).await,
        Service::Projector(settings) => alone.projector(settings).await,
        Service::Relay(settings) => alone.relay(settings).await,
        Service::Admin(settings) => alone.admin(settings).await,
        Service::Sealer(settings) => alone.sealer(settings).await,
    }
}

struct Alone {
    ops: Ops,
    stages: Stages,
    stop: StopSignal,
}

impl Alone {
    async fn command_api(mut self, settings: CommandApiSettings) -> anyhow::Result<()> {
        let listening = Listening::open(&settings.listeners, 1)?;
        let (provider, command) = (provider(&settings.command)?, &settings.command);
        let outside = seal::outside(&settings.outside)?;
        let beside = Beside::read(settings.broker.amqp_url.as_ref(), None)?;
        let listener = bind(command.command_listen, "--command-listen")?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::WRITE_SIDE).await? else {
            return Ok(());
        };
        seal::compare(&log, outside.as_ref()).await?;
        let connected = Connected::open(&database, log, beside);
        connected.watch_writes(&self.ops);
        connected.follow(&self.stages);
        let desks = connected.start_write_side(&self.stages, command, provider).await?;
        let address = listener.local_addr()?;
        connected.admit_commands(&self.stages, listener, desks, &settings.public, &self.ops, &listening);
        welcome::service("command-api", &[("write", address), ("ops", ops)], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn query_api(mut self, settings: QueryApiSettings) -> anyhow::Result<()> {
        let beside = Beside::read(None, settings.cache.redis_url.as_ref())?;
        let listening = Listening::open(&settings.listeners, 1)?;
        let listener = bind(settings.query.query_listen, "--query-listen")?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else { return Ok(()) };
        let read = database.read_pool().await?;
        self.ops.watch_pool("read", &read);
        self.ops.needs_database(&read);
        let connected = Connected::open(&database, log, beside);
        connected.watch(&self.ops);
        let address = listener.local_addr()?;
        connected.admit_queries(&self.stages, listener, &read, &settings.public, &self.ops, &listening);
        welcome::service("query-api", &[("read", address), ("ops", ops)], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn projector(mut self, settings: ProjectorSettings) -> anyhow::Result<()> {
        let beside = Beside::read(settings.broker.amqp_url.as_ref(), settings.cache.redis_url.as_ref())?;
        let listening = Listening::open(&settings.listeners, 0)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else { return Ok(()) };
        let connected = Connected::open(&database, log, beside);
        connected.watch_writes(&self.ops);
        connected.follow(&self.stages);
        connected.start_projector(&self.stages);
        welcome::service("projector", &[("ops", ops)], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn relay(mut self, settings: RelaySettings) -> anyhow::Result<()> {
        let beside = Beside::read(Some(&settings.amqp_url), None)?;
        let listening = Listening::open(&settings.listeners, 0)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else { return Ok(()) };
        let connected = Connected::open(&database, log, beside);
        connected.watch_writes(&self.ops);
        connected.needs_broker(&self.ops);
        connected.follow(&self.stages);
        connected.start_relay(&self.stages);
        welcome::service("relay", &[("ops", ops)], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn admin(mut self, settings: AdminServiceSettings) -> anyhow::Result<()> {
        let listening = Listening::open(&settings.listeners, 0)?;
        let (operator, auditor) = tokens(&settings.admin)?;
        // Several instances must know the same one, so none is made here.
        let operator = operator.context("set MOA_OPERATOR_TOKEN or MOA_OPERATOR_TOKEN_FILE: 16 characters or more")?;
        let seals = seal::outside(&settings.outside)?;
        let beside = Beside::read(None, settings.cache.redis_url.as_ref())?;
        let listener = bind(settings.admin.admin_listen, "--admin-listen")?;
        let Some((database, log)) = self.database(&settings.server, Connections::WRITE_SIDE).await? else {
            return Ok(());
        };
        seal::compare(&log, seals.as_ref()).await?;
        let read = database.read_pool().await?;
        self.ops.watch_pool("read", &read);
        let connected = Connected::open(&database, log, beside);
        connected.watch_writes(&self.ops);
        connected.follow(&self.stages);
        let desks = connected.start_desks(&self.stages).await?;
        let (address, tokens) = (listener.local_addr()?, Tokens::new(&operator, auditor.as_ref()));
        let operators = Operators { tokens, desks, read, time: settings.time_zone, seals };
        connected.admit_operators(&self.stages, listener, operators, &self.ops, &listening);
        welcome::service("admin", &[("admin", address)], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn sealer(mut self, settings: SealerSettings) -> anyhow::Result<()> {
        let listening = Listening::open(&settings.listeners, 0)?;
        let (sealing, beside) = (seal::sealing_alone(&settings)?, Beside::read(None, None)?);
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else { return Ok(()) };
        let connected = Connected::open(&database, log, beside);
        connected.watch_writes(&self.ops);
        connected.start_sealer(&self.stages, sealing);
        welcome::service("sealer", &[("ops", ops)], &database);
        self.stop.then_finish(self.stages).await
    }

    /// Opens the ops port: from now on it can be seen what the service waits for.
    fn open_ops(&self, settings: &OpsSettings, listening: &Listening) -> anyhow::Result<std::net::SocketAddr> {
        let listener = bind(settings.ops_listen, "--ops-listen")?;
        let address = listener.local_addr()?;
        let (routes, policy) = (edge::finish(self.ops.routes(), &[]), listening.ops.clone());
        self.stages.listen(|shutdown| edge::serve(listener, routes, policy, shutdown));
        Ok(address)
    }

    /// The database, waited for, its schema up to date, and the log in it; `None` when a signal came meanwhile.
    async fn database(
        &mut self,
        settings: &ServerSettings,
        connections: Connections,
    ) -> anyhow::Result<Option<(Database, Log)>> {
        let database = Database::named(&settings.database_url)?;
        let log = tokio::select! {
            log = database.wait_for_log(settings.log.partitions, connections) => log?,
            () = self.stop.received() => return Ok(None),
        };
        Ok(Some((database, log)))
    }
}
