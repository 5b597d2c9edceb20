//! A wire to RabbitMQ that can be cut, and that can stop carrying without being cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Carries,
    /// Takes connections and carries nothing.
    Frozen,
    /// Ends what there is and what comes.
    Cut,
}

pub struct Wire {
    address: SocketAddr,
    state: watch::Sender<State>,
    refused: Arc<AtomicUsize>,
}

impl Wire {
    /// Before the broker at its usual address.
    pub async fn new() -> Self {
        let server = server();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, state) = (listener.local_addr().unwrap(), watch::Sender::new(State::Carries));
        let (staged, refused) = (state.subscribe(), Arc::new(AtomicUsize::new(0)));
        let count = refused.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *staged.borrow() == State::Cut {
                    count.fetch_add(1, Ordering::SeqCst);
                } else {
                    tokio::spawn(carry(client, server.clone(), staged.clone()));
                }
            }
        });
        Self { address, state, refused }
    }

    /// The broker's address, seen through this wire.
    pub fn url(&self) -> String {
        crate::house::amqp_url().replace(&server(), &self.address.to_string())
    }

    pub fn cut(&self) {
        self.state.send_replace(State::Cut);
    }

    /// How many connections were refused by now.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    pub fn freeze(&self) {
        self.state.send_replace(State::Frozen);
    }

    pub fn mend(&self) {
        self.state.send_replace(State::Carries);
    }
}

/// Host and port of the broker.
pub fn server() -> String {
    let url = crate::house::amqp_url();
    let after_the_password = url.rsplit('@').next().unwrap();
    after_the_password.trim_start_matches("amqp://").split('/').next().unwrap().to_owned()
}

async fn carry(mut client: TcpStream, server: String, mut state: watch::Receiver<State>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let (mut said, mut answered) = ([0; 65_536], [0; 65_536]);
    loop {
        let carries = *state.borrow_and_update() == State::Carries;
        tokio::select! {
            read = client.read(&mut said), if carries => {
                let Ok(length @ 1..) = read else { return };
                if server.write_all(&said[..length]).await.is_err() { return }
            }
            read = server.read(&mut answered), if carries => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&answered[..length]).await.is_err() { return }
            }
            changed = state.changed() => {
                if changed.is_err() || *state.borrow() == State::Cut { return }
            }
        }
    }
}
