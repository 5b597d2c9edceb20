//! Logging: text on a terminal, JSON otherwise; always to standard error, and never waiting for its reader.

mod queue;

use queue::LogQueue;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal as _, Write as _};
use std::panic::PanicHookInfo;
use std::sync::OnceLock;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How long the last lines may take at the end of the process, when their reader stalls.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// The one way to standard error.
static QUEUE: OnceLock<LogQueue> = OnceLock::new();

/// Starts logging by `directives`; bad ones stop the program with a sentence. From here on panics are logged like all else.
pub fn start(directives: &str) {
    // At every start PostgreSQL notices that the schema is there. lapin logs every try to reach a server that is away;
    // ours says once that it is, and once that it is back. sqlx logs each connection that was not taken on, or broke in the
    // pool; whoever asked for it says why, and not each time.
    let filter = EnvFilter::try_new(format!(
        "sqlx::postgres::notice=warn,sqlx_core::pool=off,lapin=off,{directives}"
    ))
    .unwrap_or_else(|error| {
        refuse(&format!(
            "the log setting cannot be read ({error}): say e.g. info, or warn,command_api=debug"
        ))
    });
    let queue = LogQueue::start(io::stderr(), log_dropped).unwrap_or_else(|error| {
        refuse(&format!(
            "no thread can be started ({error}): raise the limit on processes"
        ))
    });
    let queue = QUEUE.get_or_init(|| queue);
    let make_writer = || queue.clone();
    // A line that cannot be written is dropped and counted; `eprintln!` would panic in the caller.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(make_writer)
        .log_internal_errors(false);
    if io::stderr().is_terminal() {
        builder.with_target(false).init();
    } else {
        builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .init();
    }
    std::panic::set_hook(Box::new(log_panic));
}

/// Writes a line for people to standard error, in its place among what is logged.
pub fn note(line: &str) {
    match QUEUE.get() {
        Some(queue) => queue.push(format!("{line}\n").as_bytes()),
        None => writeln_or_nothing(line),
    }
}

/// Waits until what was logged is written, for a second at most. To be called before the process ends.
pub fn flush() {
    QUEUE
        .get()
        .into_iter()
        .for_each(|queue| queue.flush(FLUSH_TIMEOUT));
}

fn refuse(sentence: &str) -> ! {
    writeln_or_nothing(&format!("moa: {sentence}"));
    std::process::exit(2)
}

/// There is nowhere else to report a failure.
fn writeln_or_nothing(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}

fn log_dropped(lines: u64) {
    tracing::warn!(
        lines,
        "log lines were dropped: standard error was not read fast enough"
    );
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let reason = panic.payload_as_str().unwrap_or("it does not say why");
    let at = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        reason,
        at,
        thread,
        backtrace,
        "a part of Moa panicked, which is a bug"
    );
}
