//! When to stop, and how.

use super::stages::Stages;
use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGTERM and Ctrl-C, heard from when this is made: one that comes while nobody waits is not lost.
pub(crate) struct StopSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignal {
    pub(crate) fn listen() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
        Ok(Self { terminate, interrupt })
    }

    pub(crate) async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the signal, then stops everything in order; a second one ends it at once.
    pub(super) async fn then_finish(&mut self, stages: Stages) -> anyhow::Result<()> {
        self.received().await;
        tracing::info!("stopping: what was accepted is finished");
        tokio::select! {
            () = stages.stop() => Ok(()),
            () = self.received() => anyhow::bail!("stopped at once; what was left is in the log"),
        }
    }
}
