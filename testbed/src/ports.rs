//! Ports of a test's own.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Ports that each test process has to give.
const PORTS_PER_PROCESS: u32 = 50;

/// A port that is free now, and that neither this test nor one beside it is given again: nobody has bound it yet. Below those
/// that outgoing connections are given: one of these may take it meanwhile.
pub fn free_port() -> u16 {
    static PORTS_GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = 15_000 + (std::process::id() % 300) * PORTS_PER_PROCESS;
    let next = || (first + PORTS_GIVEN.fetch_add(1, Ordering::Relaxed) % PORTS_PER_PROCESS) as u16;
    let free =
        std::iter::repeat_with(next).find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.expect("a free port")
}
