//! How large a request may be, and how long it may take to arrive. The answers to one that is larger or slower name these.

use std::time::Duration;

/// The longest target of a request, in bytes.
pub const MAX_URI_BYTES: usize = 8 * 1024;
/// The largest head of a request, request line and headers together, in bytes.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;
/// The most headers that a request may have: hyper's own limit.
pub(crate) const MAX_HEADERS: usize = 100;
/// How long the head of a request may take to arrive, from its first byte.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long a body may take to arrive.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(5);
