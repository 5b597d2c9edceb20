//! The stage of a connection's current request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};

/// Between which events a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Nothing of a request has come.
    Idle,
    /// The head of a request has begun to come.
    Head,
    /// A handler has the request.
    Serving,
    /// The whole answer is with hyper, and not yet all with the kernel.
    Answered,
}

/// The stage of one connection, shared by its socket, its service and its answers. All of them run in one task.
#[derive(Clone, Default)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Default)]
struct Shared {
    stage: AtomicU8,
    closes: AtomicBool,
}

impl Progress {
    pub(super) fn stage(&self) -> Stage {
        match self.0.stage.load(Relaxed) {
            0 => Stage::Idle,
            1 => Stage::Head,
            2 => Stage::Serving,
            _ => Stage::Answered,
        }
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.0.stage.store(stage as u8, Relaxed);
    }

    /// The answer tells the client that the connection closes, perhaps with some of the request unread.
    pub(super) fn will_close(&self) {
        self.0.closes.store(true, Relaxed);
    }

    pub(super) fn closes(&self) -> bool {
        self.0.closes.load(Relaxed)
    }
}
