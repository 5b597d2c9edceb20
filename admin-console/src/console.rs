//! The state of the console's pages.

use axum::extract::State;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::Process;
use crate::backend::Backend;
use crate::samples::Samples;
use crate::session::Sessions;

/// Where the pages are.
pub const PATH: &str = "/console";

/// The state of every page.
pub(crate) struct Console {
    pub(crate) backend: Backend,
    pub(crate) process: Arc<dyn Process>,
    pub(crate) sessions: Sessions,
    pub(crate) samples: Samples,
    pub(crate) event_types: &'static [&'static str],
    pub(crate) time_zone: &'static str,
    pub(crate) is_encrypted: bool,
    pub(crate) live_pages: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

/// The state as a handler takes it.
pub(crate) type Shared = State<Arc<Console>>;
