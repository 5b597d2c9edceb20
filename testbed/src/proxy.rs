//! A TCP proxy on loopback between clients and a server. It can be cut and mended, frozen, told to lose or to hold the request
//! that has a chosen word, and its connections can fall silent, as behind a NAT that forgot them or a pulled cable: they
//! stand, what is sent is taken and acknowledged, and nothing is forwarded any more.

mod fault;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::until;
pub use fault::{Fault, FaultKind};

const BUFFER_BYTES: usize = 65_536;

/// The proxy; what goes through it ends with the runtime it was made on.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Carrying,
    /// Takes connections and carries nothing.
    Frozen,
    /// Ends what there is and what comes.
    Cut,
}

#[derive(Debug, Default)]
struct Shared {
    state: watch::Sender<State>,
    /// To happen one after another.
    faults: Mutex<VecDeque<Fault>>,
    /// Whether a fault has happened.
    has_struck: watch::Sender<bool>,
    let_through: Notify,
    /// How often those that stood then fell silent.
    silences: watch::Sender<usize>,
    /// How often the clients' side of all connections was cut.
    client_cuts: watch::Sender<usize>,
    silent_from_start: AtomicBool,
    accepted: AtomicUsize,
    refused: AtomicUsize,
    /// Silent connections that their client has not closed.
    silent: AtomicUsize,
}

impl Proxy {
    /// Before the server at `target`, a host and a port.
    pub async fn before(target: (String, u16)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port on loopback");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared::default());
        tokio::spawn(accept(listener, target, shared.clone()));
        Self { address, shared }
    }

    /// Before a database; and the database, seen through the proxy.
    pub async fn before_database(database: PgConnectOptions) -> (Self, PgConnectOptions) {
        let proxy = Self::before((database.get_host().to_owned(), database.get_port())).await;
        let options = database.host("127.0.0.1").port(proxy.address.port());
        (proxy, options)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every connection, and whoever comes.
    pub fn cut(&self) {
        self.shared.state.send_replace(State::Cut);
    }

    /// Takes connections, and carries nothing on any until it is mended.
    pub fn freeze(&self) {
        self.shared.state.send_replace(State::Frozen);
    }

    /// Carries again.
    pub fn mend(&self) {
        self.shared.state.send_replace(State::Carrying);
    }

    /// Cuts every client off. The server keeps its ends and does not know.
    pub fn cut_clients_off(&self) {
        self.shared.client_cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Every connection that stands falls silent; new ones work.
    pub fn silence(&self) {
        self.shared.silences.send_modify(|silences| *silences += 1);
    }

    /// New connections are silent from the start, or are not.
    pub fn silence_new(&self, silent: bool) {
        self.shared
            .silent_from_start
            .store(silent, Ordering::SeqCst);
    }

    /// Happens once, after those that were staged before.
    pub fn stage(&self, fault: Fault) {
        self.shared.faults().push_back(fault);
    }

    /// Waits until a fault has happened.
    pub async fn until_struck(&self) {
        until("the fault struck", async || {
            *self.shared.has_struck.borrow()
        })
        .await;
    }

    /// Waits until all faults have happened.
    pub async fn until_all_struck(&self) {
        until("all faults struck", async || {
            self.shared.faults().is_empty()
        })
        .await;
    }

    /// What a fault holds goes on its way.
    pub fn let_through(&self) {
        self.shared.let_through.notify_one();
    }

    /// How many connections were taken.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// How many were refused, because it was cut.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// How many silent connections their clients still keep.
    pub fn silent(&self) -> usize {
        self.shared.silent.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, target: (String, u16), shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.state.borrow() == State::Cut {
            shared.refused.fetch_add(1, Ordering::SeqCst);
        } else {
            shared.accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(carry(client, target.clone(), shared.clone()));
        }
    }
}

async fn carry(mut client: TcpStream, target: (String, u16), shared: Arc<Shared>) {
    let (mut silences, mut client_cuts) =
        (shared.silences.subscribe(), shared.client_cuts.subscribe());
    let mut state = shared.state.subscribe();
    if shared.silent_from_start.load(Ordering::SeqCst) {
        return swallow(client, &shared).await;
    }
    let Ok(mut server) = TcpStream::connect(&target).await else {
        return;
    };
    let (mut said, mut answered) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    loop {
        let now = *state.borrow_and_update();
        if now == State::Cut {
            return;
        }
        tokio::select! {
            biased;
            _ = silences.changed() => return swallow(client, &shared).await,
            _ = state.changed() => {}
            _ = client_cuts.changed() => {
                drop(client);
                // The server's end stays open until it is done by itself.
                while let Ok(1..) = server.read(&mut answered).await {}
                return;
            }
            read = client.read(&mut said), if now == State::Carrying => {
                let Ok(length @ 1..) = read else { return };
                let request = &said[..length];
                match shared.next_fault(request) {
                    None => if server.write_all(request).await.is_err() { return },
                    Some(fault) => match fault::strike(fault, request, client, server, &shared).await {
                        Some(both) => (client, server) = both,
                        None => return,
                    },
                }
            }
            read = server.read(&mut answered), if now == State::Carrying => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}

/// Takes what comes, until the client closes.
async fn swallow(mut client: TcpStream, shared: &Shared) {
    shared.silent.fetch_add(1, Ordering::SeqCst);
    let mut said = vec![0; BUFFER_BYTES];
    while let Ok(1..) = client.read(&mut said).await {}
    shared.silent.fetch_sub(1, Ordering::SeqCst);
}
