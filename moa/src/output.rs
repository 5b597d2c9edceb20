//! Standard output and standard error of the commands.
//!
//! Whoever reads may be gone: `moa audit events | head -1` ends quietly, with the code that a shell gives a program that a
//! closed pipe ended. Any other reason why standard output cannot be written is reported, and ends the command with code 1, so
//! that nobody takes half an answer for a whole one.

use crate::logging;
use serde_json::Value;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

/// What a shell says of a program that SIGPIPE ended: 128 + 13.
const BROKEN_PIPE_EXIT_CODE: i32 = 141;
/// How long a banner may take: a full pipe must not hold up a service.
const BANNER_TIMEOUT: Duration = Duration::from_secs(1);

/// Prints a line on standard output, for a command; see the module for what happens when it cannot be written.
macro_rules! print_line {
    ($($text:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Prints a line on standard error, if somebody reads it.
macro_rules! print_note {
    ($($text:tt)*) => { $crate::logging::note(&format!($($text)*)) };
}

pub(crate) use {print_line, print_note};

/// Writes `text` to standard output.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    StandardOutput
        .write_fmt(text)
        .unwrap_or_else(|error| give_up(&error));
}

/// Prints `data` as JSON on standard output.
pub(crate) fn print_json(data: &Value) -> anyhow::Result<()> {
    print_line!("{}", serde_json::to_string_pretty(data)?);
    Ok(())
}

/// Standard output as a writer that does not fail: it ends the process when it cannot be written.
pub(crate) struct StandardOutput;

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stdout().write(bytes).or_else(retried)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush().or_else(|error| give_up(&error))
    }
}

fn retried(error: io::Error) -> io::Result<usize> {
    if error.kind() == ErrorKind::Interrupted {
        Err(error)
    } else {
        give_up(&error)
    }
}

fn give_up(error: &io::Error) -> ! {
    let code = if error.kind() == ErrorKind::BrokenPipe {
        BROKEN_PIPE_EXIT_CODE
    } else {
        logging::note(&format!("moa: standard output cannot be written: {error}"));
        1
    };
    logging::flush();
    std::process::exit(code)
}

/// Prints `text` on standard output, if somebody takes it: a service does not depend on who reads its banner.
pub(crate) fn print_banner(text: String) {
    let (done, written) = std::sync::mpsc::channel();
    let write = move || {
        let mut out = io::stdout().lock();
        // Nobody has to read it.
        out.write_all(text.as_bytes())
            .and_then(|()| out.flush())
            .ok();
        done.send(()).ok();
    };
    if std::thread::Builder::new()
        .name("banner".into())
        .spawn(write)
        .is_ok()
    {
        written.recv_timeout(BANNER_TIMEOUT).ok();
    }
}
