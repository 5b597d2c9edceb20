//! A wire to PostgreSQL that can be cut at a chosen word.

use crate::house::until;
use sqlx::postgres::PgConnectOptions;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// What happens to the client's request that says `word`, or to one that comes `later` requests after it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub word: &'static str,
    pub later: usize,
    pub does: Does,
    /// Whether the database cannot be reached from then on.
    pub kills: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Does {
    /// The request never arrives, and the connection is gone.
    LosesTheRequest,
    /// It arrives and is carried out; the answer is lost with the connection.
    LosesTheAnswer,
    /// It arrives and is carried out; the answer is kept until it is let through.
    KeepsTheAnswer,
    /// It is kept until it is let through, though the connection is cut when the wire dies.
    KeepsTheRequest,
}

impl Fault {
    /// In the first request from now on that says `word`.
    pub fn at(word: &'static str, does: Does) -> Self {
        Self { word, later: 0, does, kills: false }
    }

    pub fn later(self, later: usize) -> Self {
        Self { later, ..self }
    }

    /// And the database cannot be reached from then on.
    pub fn and_dies(self) -> Self {
        Self { kills: true, ..self }
    }
}

/// Carries bytes between clients and the database.
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    faults: Mutex<VecDeque<Fault>>,
    /// Whether the fault has happened.
    struck: watch::Sender<bool>,
    /// Whether the database can be reached; those who are connected are cut off when not.
    dead: watch::Sender<bool>,
    let_through: Notify,
}

impl Wire {
    pub async fn before(database: &PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let server = (database.get_host().to_owned(), database.get_port());
        tokio::spawn(accept(listener, server, shared.clone()));
        Self { port, shared }
    }

    /// The database, seen through this wire.
    pub fn options(&self, database: PgConnectOptions) -> PgConnectOptions {
        database.host("127.0.0.1").port(self.port)
    }

    /// Happens once, after those that were staged before.
    pub fn stage(&self, fault: Fault) {
        self.shared.faults.lock().unwrap().push_back(fault);
    }

    pub async fn until_it_struck(&self) {
        until("the fault struck", async || *self.shared.struck.borrow()).await;
    }

    pub async fn until_all_struck(&self) {
        until("all faults struck", async || self.shared.faults.lock().unwrap().is_empty()).await;
    }

    /// What is kept goes on its way.
    pub fn lets_through(&self) {
        self.shared.let_through.notify_one();
    }

    /// Cuts everybody off, and whoever comes.
    pub fn dies(&self) {
        self.shared.dead.send_replace(true);
    }

    pub fn comes_back(&self) {
        self.shared.dead.send_replace(false);
    }
}

async fn accept(listener: TcpListener, server: (String, u16), shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        if *shared.dead.borrow() {
            continue;
        }
        let server = TcpStream::connect(&server).await.unwrap();
        tokio::spawn(carry(client, server, shared.clone()));
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, shared: Arc<Shared>) {
    let (mut said, mut answered) = ([0; 65_536], [0; 65_536]);
    let mut dead = shared.dead.subscribe();
    loop {
        tokio::select! {
            read = client.read(&mut said) => {
                let Ok(length @ 1..) = read else { return };
                let request = &said[..length];
                match shared.strikes(request) {
                    None => server.write_all(request).await.unwrap(),
                    Some(fault) => match strike(fault, request, client, server, &shared).await {
                        Some(both) => (client, server) = both,
                        None => return,
                    },
                }
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
            () = death(&mut dead) => return,
        }
    }
}

/// What becomes of the request; both ends, if it goes on between them.
async fn strike(
    fault: Fault,
    request: &[u8],
    mut client: TcpStream,
    mut server: TcpStream,
    shared: &Shared,
) -> Option<(TcpStream, TcpStream)> {
    let answer = match fault.does {
        Does::LosesTheRequest | Does::KeepsTheRequest => Vec::new(),
        Does::LosesTheAnswer | Does::KeepsTheAnswer => carried_out(request, &mut client, &mut server).await,
    };
    if fault.kills {
        shared.dead.send_replace(true);
    }
    shared.struck.send_replace(true);
    match fault.does {
        Does::LosesTheRequest | Does::LosesTheAnswer => None,
        Does::KeepsTheAnswer => {
            shared.let_through.notified().await;
            client.write_all(&answer).await.ok()?;
            Some((client, server))
        }
        Does::KeepsTheRequest => {
            death(&mut shared.dead.subscribe()).await;
            drop(client);
            shared.let_through.notified().await;
            server.write_all(request).await.unwrap();
            server.readable().await.unwrap();
            None
        }
    }
}

async fn death(dead: &mut watch::Receiver<bool>) {
    dead.wait_for(|dead| *dead).await.ok();
}

/// Hands the request to the server, and what is still to come of it, and says what it answers.
async fn carried_out(request: &[u8], client: &mut TcpStream, server: &mut TcpStream) -> Vec<u8> {
    let (mut said, mut answered) = ([0; 65_536], [0; 65_536]);
    server.write_all(request).await.unwrap();
    loop {
        tokio::select! {
            read = server.read(&mut answered) => return answered[..read.unwrap()].to_vec(),
            Ok(length @ 1..) = client.read(&mut said) => server.write_all(&said[..length]).await.unwrap(),
        }
    }
}

impl Shared {
    /// Each request is one read: the client sends it at once and waits for its answer.
    fn strikes(&self, request: &[u8]) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let fault = faults.front_mut()?;
        if !fault.word.is_empty() && !request.windows(fault.word.len()).any(|part| part == fault.word.as_bytes()) {
            return None;
        }
        // From here on any request counts.
        fault.word = "";
        match fault.later.checked_sub(1) {
            Some(left) => fault.later = left,
            None => return faults.pop_front(),
        }
        None
    }
}
