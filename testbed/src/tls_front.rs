//! TLS before a server that has none.

use rustls::ServerConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

/// Takes connections over TLS at a port of its own, and hands what comes to a server; gone with the value.
#[derive(Debug)]
pub struct TlsFront {
    address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

impl TlsFront {
    /// Before the server at `target`, an address such as `127.0.0.1:8080`.
    pub async fn before(target: &str, config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (acceptor, target) = (TlsAcceptor::from(Arc::new(config)), target.to_owned());
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(forward(stream, acceptor.clone(), target.clone()));
            }
        });
        Self {
            address,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Its URL, by this name of the machine's.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }
}

/// A client that does not believe the certificate goes away, and so does one that is done.
async fn forward(stream: TcpStream, acceptor: TlsAcceptor, target: String) {
    let Ok(mut client) = acceptor.accept(stream).await else {
        return;
    };
    let mut server = TcpStream::connect(target).await.expect("the server behind");
    copy_bidirectional(&mut client, &mut server).await.ok();
}
