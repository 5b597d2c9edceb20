//! A wire to PostgreSQL that can be cut at a chosen word.

use sqlx::postgres::PgConnectOptions;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the client's request that says `word`, or to one that comes `later` requests after it.
#[derive(Clone, Debug)]
pub struct Fault {
    pub word: &'static str,
    pub later: usize,
    pub loses: Loses,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Loses {
    /// The request never arrives, and the connection is gone.
    TheRequest,
    /// It arrives and is carried out; the answer is lost with the connection.
    TheAnswer,
}

/// Carries bytes between clients and the database.
pub struct Proxy {
    port: u16,
    fault: Staged,
    cut: watch::Sender<()>,
}

impl Proxy {
    pub async fn before(database: &PgConnectOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (fault, cut) = (Staged::default(), watch::Sender::new(()));
        let server = (database.get_host().to_owned(), database.get_port());
        tokio::spawn(accept(listener, server, fault.clone(), cut.subscribe()));
        Self { port, fault, cut }
    }

    /// The database, seen through this wire.
    pub fn options(&self, database: PgConnectOptions) -> PgConnectOptions {
        database.host("127.0.0.1").port(self.port)
    }

    /// Happens once.
    pub fn stage(&self, fault: Fault) {
        *self.fault.lock().unwrap() = Some(fault);
    }

    /// Cuts every client off. The server keeps its ends and does not know.
    pub fn cut_clients_off(&self) {
        self.cut.send_replace(());
    }
}

type Staged = Arc<Mutex<Option<Fault>>>;

async fn accept(listener: TcpListener, server: (String, u16), fault: Staged, cut: watch::Receiver<()>) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(&server).await.unwrap();
        let mut cut = cut.clone();
        cut.mark_unchanged();
        tokio::spawn(carry(client, server, fault.clone(), cut));
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, fault: Staged, mut cut: watch::Receiver<()>) {
    let (mut said, mut answered) = ([0; 65_536], [0; 65_536]);
    let mut answers_are_lost = false;
    loop {
        tokio::select! {
            read = client.read(&mut said) => {
                let Ok(length @ 1..) = read else { return };
                match strikes(&fault, &said[..length]) {
                    Some(Loses::TheRequest) => return,
                    Some(Loses::TheAnswer) => answers_are_lost = true,
                    None => {}
                }
                server.write_all(&said[..length]).await.unwrap();
            }
            read = server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if answers_are_lost || client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
            _ = cut.changed() => {
                drop(client);
                // The server's end stays open until it is done by itself.
                while let Ok(1..) = server.read(&mut answered).await {}
                return;
            }
        }
    }
}

/// Each request is one read: the client sends it at once and waits for its answer.
fn strikes(staged: &Staged, request: &[u8]) -> Option<Loses> {
    let mut staged = staged.lock().unwrap();
    let fault = staged.as_mut()?;
    if !fault.word.is_empty() && !request.windows(fault.word.len()).any(|part| part == fault.word.as_bytes()) {
        return None;
    }
    // From here on any request counts.
    fault.word = "";
    let left = fault.later.checked_sub(1);
    match left {
        Some(left) => fault.later = left,
        None => return staged.take().map(|fault| fault.loses),
    }
    None
}
