//! Moa, the program. What it does is in the library; here it only starts.

use clap::Parser;
use moa::settings::{Cli, Command, Serve};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    moa::logging::start(&cli.log);
    for name in moa::settings::unknown_variables() {
        tracing::warn!("{name} is set, but there is no such setting: see moa serve --help");
    }
    let everything = || Command::Serve(Box::new(Serve { service: None, all: cli.serve }));
    let done = match cli.command.unwrap_or_else(everything) {
        Command::Serve(serve) => match serve.service {
            Some(service) => moa::serve::run_alone(service).await,
            None => moa::serve::run(serve.all).await,
        },
        Command::Migrate(settings) => moa::serve::migrate(settings).await,
        Command::Product { command, admin } => moa::operator::product(command, &admin).await,
        Command::Status { json, admin } => moa::operator::status(json, &admin).await,
        Command::Projection { command, admin } => moa::operator::projection(command, &admin).await,
        Command::Parked { command, admin } => moa::operator::parked(command, &admin).await,
        Command::Replay(settings) => moa::replay::run(settings).await,
        Command::Audit { command, auditor } => moa::audit::run(command, &auditor).await,
        Command::Healthcheck { address } => moa::operator::healthcheck(address).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("moa: {error:#}");
            ExitCode::FAILURE
        }
    }
}
