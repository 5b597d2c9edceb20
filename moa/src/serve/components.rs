//! The components of the services; `moa serve` runs them all.

use super::event_source::SourceFactory;
use super::limits::ListenerLimits;
use super::stages::Stages;
use crate::admin::{self, Admin, Tokens};
use crate::database::Database;
use crate::ops::Ops;
use crate::secret::Secret;
use crate::settings::{self, CommandSettings, PaymentProvider};
use crate::trust;
use anyhow::Context;
use audit::Audit;
use audit::proof::ExternalSeals;
use audit::proof::act_sealer;
use audit::proof::sealer::{self, Sealing};
use broker::{Address, Broker};
use command_api::processor::PartitionProcessors;
use command_api::{CommandApi, OpenInvest, Provider};
use connection_pool::Pool;
use edge::{CallerPolicy, ServiceTime};
use event_log::consume::{Consumer, Projection as _};
use event_log::{Identity, Log, Partition, restart_on_panic};
use projector::{COUNTERS, Deferrals, Jobs, Lingers};
use query_api::StreamLimits;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// The time-out of reservations where none is made: the admin listener only opens and closes products.
const UNUSED_RESERVATION_TIMEOUT: Duration = Duration::from_secs(600);

// The audit reports how long refusals are kept, and must not depend on the crate that keeps them.
const _: () = assert!(audit::REFUSAL_RETENTION_DAYS == command_api::RETENTION_DAYS);

/// The payment provider that is set.
pub(super) fn provider(settings: &CommandSettings) -> anyhow::Result<Provider> {
    match (settings.payment_provider, &settings.payment_url) {
        (PaymentProvider::Approve, _) => Ok(Provider::Approve),
        (PaymentProvider::Http, Some(url)) => {
            Provider::http(url.reveal(), trust::of_process()).context("MOA_PAYMENT_URL")
        }
        (PaymentProvider::Http, None) => {
            anyhow::bail!("set MOA_PAYMENT_URL to the payment provider")
        }
    }
}

/// Every consumer, for whoever declares their queues.
pub(crate) fn consumers() -> Vec<&'static str> {
    let projections = projector::PROJECTIONS
        .iter()
        .map(|projection| projection.name);
    projections.chain([OpenInvest::NAME, COUNTERS]).collect()
}

/// What the admin listener needs beyond the shared resources.
pub(super) struct Operators {
    pub(super) tokens: Tokens,
    pub(super) processors: PartitionProcessors,
    pub(super) read: Pool,
    pub(super) time: ServiceTime,
    pub(super) seals: Option<ExternalSeals>,
}

/// RabbitMQ and Redis as they are set: parsed before anything is opened, so that a start with a bad address leaves the database
/// as it was.
pub(super) struct OptionalServers {
    broker: Option<Address>,
    redis: Option<redis::Client>,
}

impl OptionalServers {
    pub(super) fn read(amqp: Option<&Secret>, redis: Option<&Secret>) -> anyhow::Result<Self> {
        let broker = amqp
            .map(|url| Address::parse(url.reveal(), trust::of_process()))
            .transpose()
            .context("AMQP_URL")?;
        Ok(Self {
            broker,
            redis: redis.map(redis_client).transpose()?,
        })
    }
}

/// What the components of a process share: the log, the consumers' pool, the broker and the cache where they are set.
pub(super) struct SharedResources {
    pub(super) log: Log,
    project: Pool,
    rebuild: Pool,
    broker: Option<Broker>,
    redis: Option<redis::Client>,
}

impl SharedResources {
    /// Connections are made when they are needed: a broker or cache that is away is waited for.
    pub(super) fn open(
        database: &Database,
        log: Log,
        OptionalServers { broker, redis }: OptionalServers,
    ) -> Self {
        let Identity { log_id, partitions } = *log.identity();
        let (version, incarnation, settings) = (
            env!("CARGO_PKG_VERSION"),
            *log.incarnation().borrow(),
            settings::given(),
        );
        tracing::info!(version, %log_id, incarnation, partitions, database = database.describe(), settings, "Moa starts");
        let broker = broker.map(|address| Broker::at(&address, log_id));
        Self {
            project: database.project_pool(),
            rebuild: database.rebuild_pool(),
            log,
            broker,
            redis,
        }
    }

    /// The process is not ready while a component that works on the log fails.
    pub(super) fn watch(&self, ops: &Ops) {
        ops.watch_log(&self.log);
    }

    /// The same, and unless the database takes writes.
    pub(super) fn watch_writes(&self, ops: &Ops) {
        self.watch(ops);
        ops.watch_pool("project", &self.project);
        ops.needs_writable_database(&self.project);
    }

    /// The process is not ready without its broker.
    pub(super) fn needs_broker(&self, ops: &Ops) {
        self.broker
            .iter()
            .for_each(|broker| ops.needs_broker(broker));
    }

    /// Keeps the process's known incarnation of the log fresh, where its login may not read the log.
    pub(super) fn poll_incarnation(&self, stages: &Stages) {
        let log = self.log.clone();
        stages.spawn_consumer("the poll of the incarnation", |shutdown| async move {
            log.poll_incarnation(shutdown).await
        });
    }

    /// Keeps the process's known heads fresh.
    pub(super) fn poll_heads(&self, stages: &Stages) {
        let log = self.log.clone();
        stages.spawn_consumer("the poll of the heads", |shutdown| async move {
            log.poll_heads(shutdown).await
        });
    }

    /// Stops writes where the log is behind what was published of it. Call it before anything is decided.
    pub(super) async fn compare_with_published(&self) -> anyhow::Result<()> {
        match &self.broker {
            Some(broker) => Ok(broker::stop_writes_behind_published(&self.log, broker).await?),
            None => Ok(()),
        }
    }

    fn words(&self) -> SourceFactory {
        SourceFactory {
            log: self.log.clone(),
            pool: self.project.clone(),
            broker: self.broker.clone(),
        }
    }

    /// PartitionProcessors and settlement.
    pub(super) async fn start_write_side(
        &self,
        stages: &Stages,
        settings: &CommandSettings,
        provider: Provider,
    ) -> anyhow::Result<PartitionProcessors> {
        let (recorder, recording) = command_api::recorder();
        let processors = PartitionProcessors::open_with_recorder(
            self.log.clone(),
            settings.reservation_seconds,
            &stages.processors,
            recorder,
        )
        .await?;
        stages.watch("a partition's processor", processors.panicked());
        // Stops after the processors, the last who note anything.
        let notes = self.project.clone();
        stages.spawn_consumer("the recorder", |shutdown| {
            command_api::run_recorder(recording, notes, shutdown)
        });
        let (fast_path, receiver) = command_api::fast_path(&provider);
        let words = self.words();
        for partition in self.log.partitions() {
            self.start_open_invest(
                stages,
                Arc::new(OpenInvest::new(fast_path.clone())),
                words.clone(),
                partition,
            );
        }
        let (orders, pool, log) = (processors.clone(), self.project.clone(), self.log.clone());
        stages.spawn_settlement("settlement", |shutdown| {
            command_api::settle(orders, pool, provider, receiver, shutdown)
        });
        stages.spawn_settlement("the purge of keys", |shutdown| {
            command_api::purge_idempotency_keys(log, shutdown)
        });
        let (log, notes) = (self.log.clone(), self.project.clone());
        stages.spawn_settlement("the purge of notes", |shutdown| {
            command_api::purge_records(log, notes, shutdown)
        });
        Ok(processors)
    }

    /// One partition's consumer of the work list, restarted when it breaks down.
    fn start_open_invest(
        &self,
        stages: &Stages,
        open: Arc<OpenInvest>,
        words: SourceFactory,
        partition: Partition,
    ) {
        let (log, pool) = (self.log.clone(), self.project.clone());
        let who = format!("partition {partition}");
        stages.spawn_consumer("a consumer of open_invest", |shutdown| async move {
            let start = || {
                let consumer = Consumer::new(log.clone(), pool.clone(), open.clone(), partition)
                    .lingering(open.linger());
                let (word, stop) = (words.of(OpenInvest::NAME, partition), shutdown.clone());
                async move {
                    if let Some(word) = word {
                        consumer.run_with(word, stop).await;
                    }
                }
            };
            restart_on_panic(
                OpenInvest::NAME,
                who,
                log.readiness(),
                shutdown.clone(),
                start,
            )
            .await;
        });
    }

    /// The read models, and the counters where there is a cache.
    pub(super) fn start_projector(&self, stages: &Stages, waits: (Lingers, Deferrals)) {
        let (log, pool, words) = (self.log.clone(), self.project.clone(), self.words());
        let sources = words.clone();
        stages.spawn_consumer("the projector", |shutdown| {
            projector::run(
                log,
                pool,
                waits,
                move |who, at| sources.of(who, at),
                shutdown,
            )
        });
        let (log, pool) = (self.log.clone(), self.rebuild.clone());
        stages.spawn_consumer("the jobs", |shutdown| {
            projector::run_jobs(log, pool, shutdown)
        });
        let (log, pool) = (self.log.clone(), self.project.clone());
        stages.spawn_consumer("the checkpoint history", |shutdown| {
            audit::record_checkpoint_history(log, pool, shutdown)
        });
        if self.broker.is_some() {
            let pool = self.project.clone();
            stages.spawn_consumer("the count of parked deliveries", |shutdown| {
                broker::parked::keep_count(pool, shutdown)
            });
        }
        let Some(redis) = &self.redis else { return };
        let (log, pool, redis) = (self.log.clone(), self.project.clone(), redis.clone());
        let sources = move |who, at| words.of(who, at);
        stages.spawn_consumer("the counters", |shutdown| {
            projector::run_counters(log, pool, redis, sources, shutdown)
        });
    }

    /// The relay, where there is a broker.
    pub(super) fn start_relay(&self, stages: &Stages) {
        let Some(broker) = self.broker.clone() else {
            return;
        };
        let log = self.log.clone();
        stages.spawn_consumer("the relay", |shutdown| {
            broker::relay(log, broker, consumers(), shutdown)
        });
    }

    /// The sealers, of events and of operators' acts.
    pub(super) fn start_sealer(&self, stages: &Stages, sealing: Sealing) {
        let (log, pool, of_acts) = (self.log.clone(), self.project.clone(), sealing.clone());
        stages.spawn_consumer("the sealer of acts", |shutdown| {
            act_sealer::run(log, pool, of_acts, shutdown)
        });
        let (log, pool) = (self.log.clone(), self.project.clone());
        stages.spawn_consumer("the sealer", |shutdown| {
            sealer::run(log, pool, sealing, shutdown)
        });
    }

    /// The public write side.
    pub(super) fn serve_commands(
        &self,
        stages: &Stages,
        listener: TcpListener,
        processors: PartitionProcessors,
        (time, callers): (ServiceTime, Arc<CallerPolicy>),
        ops: &Ops,
        listening: &ListenerLimits,
    ) {
        let api = CommandApi::new(processors, time);
        let routes = edge::with_middleware(command_api::routes(api).merge(ops.health()), callers);
        let policy = listening.public.clone();
        stages.spawn_listener(|shutdown| edge::serve(listener, routes, policy, shutdown));
    }

    /// The public read side.
    pub(super) fn serve_queries(
        &self,
        stages: &Stages,
        listener: TcpListener,
        read: &Pool,
        (time, callers): (ServiceTime, Arc<CallerPolicy>),
        ops: &Ops,
        listening: &ListenerLimits,
    ) {
        let policy = listening.public.clone();
        let log = self.log.clone();
        let readers = query_api::ReaderNotice::new(move |consumer| log.note_reader(consumer));
        let views = |shutdown| query_api::Settings {
            pool: read.clone(),
            redis: self.redis.clone(),
            log_id: self.log.identity().log_id,
            incarnation: self.log.incarnation(),
            partitions: self.log.partitions().count(),
            time,
            callers,
            health: ops.health(),
            streams: StreamLimits::default(),
            readers,
            shutdown,
        };
        stages.spawn_listener(|shutdown| query_api::run(views(shutdown), listener, policy));
    }

    /// The admin listener, which says how the process is, too.
    pub(super) fn serve_admin(
        &self,
        stages: &Stages,
        listener: TcpListener,
        Operators {
            tokens,
            processors,
            read,
            time,
            seals,
        }: Operators,
        ops: &Ops,
        listening: &ListenerLimits,
    ) {
        let (log, write, redis) = (self.log.clone(), self.project.clone(), self.redis.clone());
        let jobs = Jobs::new(log.clone(), write.clone());
        let audit = Audit {
            log: log.clone(),
            read: read.clone(),
            bulk: self.rebuild.clone(),
            write: write.clone(),
            time,
            seals,
        };
        let (of, forgetting) = (log.clone(), write.clone());
        stages.spawn_consumer("the purge of the audit's access records", |shutdown| {
            audit::access::purge_old_records(of, forgetting, shutdown)
        });
        let admin = Admin {
            tokens,
            api: CommandApi::new(processors, time),
            log,
            jobs,
            read,
            write,
            redis,
            time,
            audit,
        };
        let policy = listening.admin.clone();
        stages.spawn_listener(|shutdown| {
            let routes =
                admin::with_console(admin, ops, listening.is_encrypted(), shutdown.clone())
                    .merge(ops.routes());
            let routes = edge::with_middleware_and_timeouts(
                routes,
                CallerPolicy::default(),
                admin::timeout_of,
            );
            edge::serve(listener, routes, policy, shutdown)
        });
    }

    /// PartitionProcessors for the admin listener alone.
    pub(super) async fn start_processors(
        &self,
        stages: &Stages,
    ) -> anyhow::Result<PartitionProcessors> {
        let processors = PartitionProcessors::open(
            self.log.clone(),
            UNUSED_RESERVATION_TIMEOUT,
            &stages.processors,
        )
        .await?;
        stages.watch("a partition's processor", processors.panicked());
        Ok(processors)
    }
}

/// A client of the Redis at this URL, which connects when it is first used.
pub(crate) fn redis_client(url: &Secret) -> anyhow::Result<redis::Client> {
    // Why it cannot be read would repeat it, and with it a password.
    let cannot = || "REDIS_URL cannot be read: it must be redis://host:port, or rediss:// for TLS";
    let address = redis::IntoConnectionInfo::into_connection_info(url.reveal())
        .ok()
        .with_context(cannot)?;
    match address.addr() {
        redis::ConnectionAddr::TcpTls { insecure: true, .. } => {
            anyhow::bail!(
                "REDIS_URL must not end with #insecure: put the CA's certificate into MOA_TLS_CA_FILE"
            )
        }
        redis::ConnectionAddr::TcpTls { .. } => {
            Ok(redis::Client::build_with_tls(address, certificates())?)
        }
        _ => Ok(redis::Client::open(address)?),
    }
}

/// The CAs that are believed, and what is shown, as the client of Redis takes them.
fn certificates() -> redis::TlsCertificates {
    let trust = trust::of_process();
    let shown = trust.identity().map(|identity| {
        let (certificate, key) = identity.pem();
        redis::ClientTlsConfig {
            client_cert: certificate.to_owned(),
            client_key: key.to_owned(),
        }
    });
    redis::TlsCertificates {
        client_tls: shown,
        root_cert: Some(trust.roots_pem().into()),
    }
}
