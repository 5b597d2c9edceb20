//! A listening socket that does not lose connections in a rush.

use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted. The kernel takes at most `net.core.somaxconn`.
pub const LISTEN_BACKLOG: u32 = 16_384;
/// What the kernel keeps of a client's bytes before we read them. The kernel takes twice as much for its own accounts.
const RECEIVE_BUFFER_BYTES: u32 = 64 * 1024;
/// What the kernel keeps of our bytes before the client takes them. Without it the kernel gives up to 4 MB.
const SEND_BUFFER_BYTES: u32 = 128 * 1024;

/// Listens at `address` with a backlog of [`LISTEN_BACKLOG`]. Every connection that is accepted has socket buffers of a
/// bounded size, so that clients who do not read cannot fill the kernel's memory either.
///
/// # Errors
/// The address is taken, or is not this machine's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for the connections of the process before it.
    socket.set_reuseaddr(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(LISTEN_BACKLOG)
}
