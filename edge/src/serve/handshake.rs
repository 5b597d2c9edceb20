//! The handshake of a listener that speaks TLS.

use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::policy::OWN_BYTES;

/// How long a client may take for its part of a handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The connection, encrypted; `None` when its client does not speak TLS, or not in time, or on shutdown.
pub(super) async fn shake_hands(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
    shutdown: &CancellationToken,
) -> Option<TlsStream<TcpStream>> {
    let accepted = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream));
    let reason = match shutdown.run_until_cancelled(accepted).await? {
        Ok(Ok(mut stream)) => {
            // rustls would else hold 64 KB of an answer that nobody takes.
            stream.get_mut().1.set_buffer_limit(Some(OWN_BYTES));
            return Some(stream);
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it took too long".to_owned(),
    };
    metrics::counter!("moa_http_connections_cut_total", "why" => "no handshake").increment(1);
    tracing::debug!(reason, "a client's handshake failed");
    None
}
