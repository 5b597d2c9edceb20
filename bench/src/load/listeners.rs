//! Those who watch the products: connections to `GET /api/product/stream` that read whatever is sent.

use anyhow::{Context, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Until every listener was sent its first events.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How often is looked whether all were.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Where they come from, one after the other: one address may have half of Moa's connections, and Linux has all of 127.0.0.0/8.
const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)];
const REQUEST: &[u8] = b"GET /api/product/stream HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// How an event of a product begins, after its id.
const EVENT: &[u8] = b"event: product";
/// Some kilobytes: an event is a few hundred bytes.
const READ_BYTES: usize = 8 * 1024;

/// Listeners on a thread of their own: what they read holds up no client that waits for an answer.
pub(crate) struct Listeners {
    events: Arc<AtomicU64>,
    end: CancellationToken,
    thread: JoinHandle<anyhow::Result<()>>,
}

impl Listeners {
    /// Connects so many, and returns once each was sent its first events.
    pub(crate) async fn start(to: SocketAddr, count: u16) -> anyhow::Result<Self> {
        ensure!(
            to.ip().is_loopback() && to.is_ipv4(),
            "load goes to loopback only, not to {to}"
        );
        let (events, begun, end) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicU64::new(0)),
            CancellationToken::new(),
        );
        let thread = std::thread::spawn({
            let all = listen(to, count, events.clone(), begun.clone());
            let end = end.clone();
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime
                    .block_on(end.run_until_cancelled(all))
                    .unwrap_or(Ok(()))
            }
        });
        let listeners = Self {
            events,
            end,
            thread,
        };
        let all_begun = async {
            while begun.load(Relaxed) < u64::from(count) && !listeners.thread.is_finished() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        };
        tokio::time::timeout(START_TIMEOUT, all_begun)
            .await
            .context("the listeners take too long to connect")?;
        if listeners.thread.is_finished() {
            return Err(listeners
                .stop()
                .err()
                .unwrap_or_else(|| anyhow::anyhow!("the listeners have ended")));
        }
        Ok(listeners)
    }

    /// How many events they were sent so far.
    pub(crate) fn events(&self) -> u64 {
        self.events.load(Relaxed)
    }

    /// Closes their connections.
    ///
    /// # Errors
    /// One of them was refused, or was cut.
    pub(crate) fn stop(self) -> anyhow::Result<()> {
        self.end.cancel();
        self.thread
            .join()
            .map_err(|_| anyhow::anyhow!("the listeners panicked"))?
    }
}

async fn listen(
    to: SocketAddr,
    count: u16,
    events: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let mut all = JoinSet::new();
    for number in 0..count {
        let from = SOURCES[usize::from(number) % SOURCES.len()];
        let stream = connect(from, to)
            .await
            .with_context(|| format!("cannot reach {to}"))?;
        all.spawn(read_all(stream, events.clone(), begun.clone()));
    }
    while let Some(ended) = all.join_next().await {
        ended??;
    }
    Ok(())
}

async fn connect(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

async fn read_all(
    mut stream: TcpStream,
    events: Arc<AtomicU64>,
    begun: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    stream.write_all(REQUEST).await?;
    let (mut read, mut has_begun) = (Vec::with_capacity(READ_BYTES), false);
    loop {
        read.clear();
        ensure!(stream.read_buf(&mut read).await? > 0, "a listener was cut");
        ensure!(
            has_begun || !read.starts_with(b"HTTP/1.1 4"),
            "a listener was refused: {}",
            String::from_utf8_lossy(&read)
        );
        // An event that falls apart is not counted: a few in a thousand at most.
        let count = read
            .windows(EVENT.len())
            .filter(|bytes| *bytes == EVENT)
            .count() as u64;
        events.fetch_add(count, Relaxed);
        if count > 0 && !has_begun {
            has_begun = true;
            begun.fetch_add(1, Relaxed);
        }
    }
}
