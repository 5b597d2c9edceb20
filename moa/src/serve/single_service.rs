//! One service in a process of its own. Its ops port opens first, so that operators can see what it waits for; its own port opens
//! when it can serve.

use super::banner;
use super::callers::max_guesses;
use super::checked::{self, AdminParts, CommandApiParts};
use super::components::{Operators, SharedResources};
use super::limits::{ListenerLimits, bind};
use super::seal_keys;
use super::stages::Stages;
use super::stop::StopSignal;
use crate::database::{Connections, Database};
use crate::ops::Ops;
use crate::settings::{
    AdminServiceSettings, CommandApiSettings, OpsSettings, ProjectorSettings, QueryApiSettings,
    RelaySettings, SealerSettings, ServerSettings, Service,
};
use event_log::Log;
use projector::Deferrals;

/// Runs one service until SIGTERM or Ctrl-C; a second one ends it at once.
pub async fn run(service: Service) -> anyhow::Result<()> {
    let ops = Ops::new()?;
    let alone = SingleService {
        stages: Stages::of(&ops),
        ops,
        stop: StopSignal::listen()?,
    };
    match service {
        Service::CommandApi(settings) => alone.command_api(settings).await,
        Service::QueryApi(settings) => alone.query_api(settings).await,
        Service::Projector(settings) => alone.projector(settings).await,
        Service::Relay(settings) => alone.relay(settings).await,
        Service::Admin(settings) => alone.admin(settings).await,
        Service::Sealer(settings) => alone.sealer(settings).await,
    }
}

struct SingleService {
    ops: Ops,
    stages: Stages,
    stop: StopSignal,
}

impl SingleService {
    async fn command_api(mut self, settings: CommandApiSettings) -> anyhow::Result<()> {
        let command = &settings.command;
        let listener = bind(command.command_listen, "--command-listen")?;
        let address = listener.local_addr()?;
        let CommandApiParts {
            listening,
            provider,
            outside,
            optional_servers,
            mut callers,
        } = checked::command_api(&settings, address)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self
            .database(&settings.server, Connections::WRITE_SIDE)
            .await?
        else {
            return Ok(());
        };
        seal_keys::compare(&log, outside.as_ref()).await?;
        let resources = SharedResources::open(&database, log, optional_servers);
        resources.compare_with_published().await?;
        resources.watch_writes(&self.ops);
        resources.poll_heads(&self.stages);
        let processors = resources
            .start_write_side(&self.stages, command, provider)
            .await?;
        callers.start(&self.stages, &self.ops);
        let of_writes = (
            settings.public.time_zone,
            callers.of_writes(address, &command.limits),
        );
        resources.serve_commands(
            &self.stages,
            listener,
            processors,
            of_writes,
            &self.ops,
            &listening,
        );
        banner::service(
            "command-api",
            &[
                (
                    "write",
                    format!("{}://{address}", settings.listeners.scheme()),
                ),
                ("ops", format!("http://{ops}")),
            ],
            &database,
        );
        self.stop.then_finish(self.stages).await
    }

    async fn query_api(mut self, settings: QueryApiSettings) -> anyhow::Result<()> {
        let listener = bind(settings.query.query_listen, "--query-listen")?;
        let address = listener.local_addr()?;
        let (optional_servers, listening, mut callers) = checked::query_api(&settings, address)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::READS).await?
        else {
            return Ok(());
        };
        let read = database.read_pool().await?;
        self.ops.watch_pool("read", &read);
        self.ops.needs_database(&read);
        let resources = SharedResources::open(&database, log, optional_servers);
        resources.watch(&self.ops);
        resources.poll_incarnation(&self.stages);
        callers.start(&self.stages, &self.ops);
        let of_reads = (
            settings.public.time_zone,
            callers.of_reads(address, &settings.query.limits),
        );
        resources.serve_queries(
            &self.stages,
            listener,
            &read,
            of_reads,
            &self.ops,
            &listening,
        );
        banner::service(
            "query-api",
            &[
                (
                    "read",
                    format!("{}://{address}", settings.listeners.scheme()),
                ),
                ("ops", format!("http://{ops}")),
            ],
            &database,
        );
        self.stop.then_finish(self.stages).await
    }

    async fn projector(mut self, settings: ProjectorSettings) -> anyhow::Result<()> {
        let (optional_servers, listening) = checked::projector(&settings)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else {
            return Ok(());
        };
        let resources = SharedResources::open(&database, log, optional_servers);
        resources.watch_writes(&self.ops);
        resources.poll_heads(&self.stages);
        resources.start_projector(
            &self.stages,
            (settings.linger.lingers(), Deferrals::default()),
        );
        banner::service("projector", &[("ops", format!("http://{ops}"))], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn relay(mut self, settings: RelaySettings) -> anyhow::Result<()> {
        let (optional_servers, listening) = checked::relay(&settings)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else {
            return Ok(());
        };
        let resources = SharedResources::open(&database, log, optional_servers);
        resources.watch_writes(&self.ops);
        resources.needs_broker(&self.ops);
        resources.poll_heads(&self.stages);
        resources.start_relay(&self.stages);
        banner::service("relay", &[("ops", format!("http://{ops}"))], &database);
        self.stop.then_finish(self.stages).await
    }

    async fn admin(mut self, settings: AdminServiceSettings) -> anyhow::Result<()> {
        let AdminParts {
            listening,
            tokens,
            seals,
            optional_servers,
        } = checked::admin(&settings)?;
        listening.show_certificate(&self.ops);
        let listener = bind(settings.admin.admin_listen, "--admin-listen")?;
        let Some((database, log)) = self
            .database(&settings.server, Connections::WRITE_SIDE)
            .await?
        else {
            return Ok(());
        };
        seal_keys::compare(&log, seals.as_ref()).await?;
        let read = database.read_pool().await?;
        self.ops.watch_pool("read", &read);
        let resources = SharedResources::open(&database, log, optional_servers);
        resources.watch_writes(&self.ops);
        resources.poll_heads(&self.stages);
        let processors = resources.start_processors(&self.stages).await?;
        let address = listener.local_addr()?;
        let max_guesses = max_guesses(address, settings.admin.limit_token_guesses);
        let tokens = tokens.guard(&self.stages, max_guesses)?;
        let operators = Operators {
            tokens,
            processors,
            read,
            time: settings.time_zone,
            seals,
        };
        resources.serve_admin(&self.stages, listener, operators, &self.ops, &listening);
        let admin = format!("{}://{address}", settings.listeners.scheme());
        let console = format!("{admin}{}", admin_console::PATH);
        banner::service(
            "admin",
            &[("admin", admin), ("console", console)],
            &database,
        );
        self.stop.then_finish(self.stages).await
    }

    async fn sealer(mut self, settings: SealerSettings) -> anyhow::Result<()> {
        let (listening, sealing, optional_servers) = checked::sealer(&settings)?;
        let ops = self.open_ops(&settings.ops, &listening)?;
        let Some((database, log)) = self.database(&settings.server, Connections::FEW).await? else {
            return Ok(());
        };
        let resources = SharedResources::open(&database, log, optional_servers);
        resources.watch_writes(&self.ops);
        resources.start_sealer(&self.stages, sealing);
        banner::service("sealer", &[("ops", format!("http://{ops}"))], &database);
        self.stop.then_finish(self.stages).await
    }

    /// Opens the ops port: from now on it can be seen what the service waits for.
    fn open_ops(
        &self,
        settings: &OpsSettings,
        listening: &ListenerLimits,
    ) -> anyhow::Result<std::net::SocketAddr> {
        listening.show_certificate(&self.ops);
        let listener = bind(settings.ops_listen, "--ops-listen")?;
        let address = listener.local_addr()?;
        let (routes, policy) = (
            edge::with_middleware(self.ops.routes(), edge::CallerPolicy::default()),
            listening.ops.clone(),
        );
        self.stages
            .spawn_listener(|shutdown| edge::serve(listener, routes, policy, shutdown));
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
            log = database.wait_for_log(settings.log, connections) => log?,
            () = self.stop.received() => return Ok(None),
        };
        Ok(Some((database, log)))
    }
}
