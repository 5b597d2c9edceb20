//! Moa, the program. What it does is in the library; here it only starts.

use futures::FutureExt as _;
use moa::logging;
use moa::settings::{Cli, Command, ConfigCommand, Serve, TraceSettings};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    // Before anything could speak TLS.
    tls::install_provider();
    let (cli, exposed) = moa::settings::read();
    logging::start(&cli.log);
    exposed
        .iter()
        .for_each(|sentence| tracing::warn!("{sentence}"));
    for name in moa::settings::unknown_variables() {
        tracing::warn!("{name} is set, but there is no such setting: see moa serve --help");
    }
    // The log has said where it panicked; it is written before the process ends.
    let done = AssertUnwindSafe(run(cli)).catch_unwind().await;
    let done = done.unwrap_or_else(|_| Err(anyhow::anyhow!("a bug ended it: the log says where")));
    let code = match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::note(&format!("moa: {}", moa::complaint::of(&error)));
            ExitCode::FAILURE
        }
    };
    logging::flush();
    code
}

async fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(Command::Config {
        command: ConfigCommand::Check(serve),
    }) = &cli.command
    {
        return moa::config::check(serve, &cli.tls);
    }
    moa::trust::set(&cli.tls)?;
    let everything = || {
        Command::Serve(Box::new(Serve {
            service: None,
            all: cli.serve,
        }))
    };
    let command = cli.command.unwrap_or_else(everything);
    if command.uses_database() {
        moa::environment::leave_out_postgres_variables()?;
    }
    match command {
        Command::Serve(serve) => serve_with_traces(*serve, &cli.traces).await,
        Command::Doctor(settings) => moa::doctor::run(settings).await,
        Command::Migrate(settings) => moa::serve::migrate(settings).await,
        Command::Product { command, admin } => moa::operator::product(command, &admin).await,
        Command::Status {
            output,
            check,
            admin,
        } => moa::operator::status(output, check, &admin).await,
        Command::Projection { command, admin } => moa::operator::projection(command, &admin).await,
        Command::Parked { command, admin } => moa::operator::parked(command, &admin).await,
        Command::Restore { agreed, admin } => moa::operator::restore(agreed, &admin).await,
        Command::Replay(settings) => moa::replay::run(settings).await,
        Command::Token { command } => moa::token::run(&command),
        Command::Audit { command, auditor } => moa::audit::run(command, &auditor).await,
        Command::Backup { command } => moa::backup::run(command).await,
        // Done above, before a setting is used.
        Command::Config { .. } => Ok(()),
        Command::Completions { shell } => {
            moa::shell::completions(shell);
            Ok(())
        }
        Command::Man { folder } => moa::shell::man(&folder),
        Command::Healthcheck(settings) => moa::operator::healthcheck(&settings).await,
    }
}

async fn serve_with_traces(serve: Serve, traces: &TraceSettings) -> anyhow::Result<()> {
    let exporter = moa::otlp::start(traces, &serve.name_in_traces())?;
    let served = match serve.service {
        Some(service) => moa::serve::run_single_service(service).await,
        None => moa::serve::run(serve.all).await,
    };
    // The last spans are those of the shutdown.
    if let Some(exporter) = exporter {
        exporter.stop().await;
    }
    served
}
