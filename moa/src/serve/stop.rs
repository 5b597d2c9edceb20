//! The signals that stop a process.

use super::stages::Stages;
use anyhow::Context;
use std::future::pending;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM, Ctrl-C, SIGQUIT and SIGHUP, listened for from when this is made: a signal that comes while nobody waits is not lost.
/// SIGHUP and SIGQUIT are left alone where the process was started to ignore them, as `nohup` does.
pub(crate) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
    quit: Option<Signal>,
    hang_up: Option<Signal>,
    is_stopping: bool,
}

impl StopSignal {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?,
            quit: unless_ignored(SignalKind::quit()).context("cannot listen for SIGQUIT")?,
            hang_up: unless_ignored(SignalKind::hangup()).context("cannot listen for SIGHUP")?,
            is_stopping: false,
        })
    }

    /// Waits for a signal. When one was received before, another SIGHUP is none: a terminal that closes may send several.
    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = signalled(&mut self.quit) => {}
            () = signalled(&mut self.hang_up), if !self.is_stopping => {}
        }
        self.is_stopping = true;
    }

    /// Waits for the signal, or until a part of the process ended by itself, then stops everything in order; a second
    /// signal ends it at once. An error where it was no signal.
    pub(super) async fn then_finish(&mut self, mut stages: Stages) -> anyhow::Result<()> {
        tokio::select! {
            () = self.received() => tracing::info!("stopping: what was accepted is finished"),
            () = stages.broken() => tracing::error!("stopping: a part of this process ended by itself"),
        }
        tokio::select! {
            stopped = stages.stop() => stopped,
            () = self.received() => anyhow::bail!("stopped at once; what was left is in the log"),
        }
    }
}

async fn signalled(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => pending().await,
    }
}

fn unless_ignored(kind: SignalKind) -> std::io::Result<Option<Signal>> {
    if is_ignored(kind) {
        Ok(None)
    } else {
        signal(kind).map(Some)
    }
}

/// Whether the process was started to ignore the signal. Only Linux tells without unsafe code; elsewhere it counts as not
/// ignored.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status).is_some_and(|mask| mask >> (kind.as_raw_value() - 1) & 1 == 1)
}

/// The mask of ignored signals, the lowest bit for signal 1.
fn ignored_in(status: &str) -> Option<u64> {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert_eq!(
            ignored_in("Name:\tmoa\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n"),
            Some(0x1001)
        );
        assert_eq!(ignored_in("Name:\tmoa\n"), None);
    }
}
