//! A TCP proxy on loopback whose connections can fall silent, as behind a NAT that forgot them, a frozen pooler or a pulled
//! cable: they stand, what is sent is taken and acknowledged, and nothing is forwarded any more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The proxy; what goes through it ends with the runtime it was made on.
#[derive(Debug)]
pub struct SilentProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// How often those that stood then fell silent.
    silences: watch::Sender<usize>,
    /// Whether new ones are silent from the start.
    silent_from_start: watch::Sender<bool>,
    accepted: AtomicUsize,
    /// Silent connections that their client has not closed.
    silent: AtomicUsize,
}

impl SilentProxy {
    /// Before the server at `target`, a host and a port.
    ///
    /// # Panics
    /// When there is no port to listen on.
    pub async fn before(target: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        tokio::spawn(accept(listener, target, shared.clone()));
        Self { address, shared }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every connection that stands falls silent; new ones work.
    pub fn silence(&self) {
        self.shared.silences.send_modify(|silences| *silences += 1);
    }

    /// New connections are silent from the start, or are not.
    pub fn silence_new(&self, silent: bool) {
        self.shared.silent_from_start.send_replace(silent);
    }

    /// How many connections there were.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many silent connections their clients still keep.
    #[must_use]
    pub fn silent(&self) -> usize {
        self.shared.silent.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, target: (String, u16), shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        shared.accepted.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(carry(client, target.clone(), shared.clone()));
    }
}

async fn carry(mut client: TcpStream, target: (String, u16), shared: Arc<Shared>) {
    let mut silences = shared.silences.subscribe();
    if *shared.silent_from_start.borrow() {
        return swallow(client, &shared).await;
    }
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    let (mut said, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let carried = tokio::select! {
            biased;
            _ = silences.changed() => {
                swallow(client, &shared).await;
                return;
            }
            read = client.read(&mut said) => match read {
                Ok(length @ 1..) => server.write_all(&said[..length]).await,
                _ => return,
            },
            read = server.read(&mut answered) => match read {
                Ok(length @ 1..) => client.write_all(&answered[..length]).await,
                _ => return,
            },
        };
        if carried.is_err() {
            return;
        }
    }
}

/// Takes what comes, until the client closes.
async fn swallow(mut client: TcpStream, shared: &Shared) {
    shared.silent.fetch_add(1, Ordering::SeqCst);
    let mut said = vec![0; 65_536];
    while let Ok(1..) = client.read(&mut said).await {}
    shared.silent.fetch_sub(1, Ordering::SeqCst);
}
