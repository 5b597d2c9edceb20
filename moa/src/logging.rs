//! Logs: text on a terminal, JSON otherwise; always on standard error.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Starts logging by `directives`; bad ones stop the program with a sentence.
pub fn start(directives: &str) {
    // At every start PostgreSQL notices that the schema is there. lapin logs every try to reach a server that is away;
    // ours says once that it is, and once that it is back.
    let filter =
        EnvFilter::try_new(format!("sqlx::postgres::notice=warn,lapin=off,{directives}")).unwrap_or_else(|error| {
            eprintln!("moa: the log setting cannot be read ({error}): say e.g. info, or warn,command_api=debug");
            std::process::exit(2);
        });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).init();
    }
}
