//! Just enough of an HTTP/1.1 client to cost the machine little beside the server.

use anyhow::{Context, bail};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        anyhow::ensure!(to.ip().is_loopback(), "load goes to loopback only, not to {to}");
        let stream = TcpStream::connect(to).await.with_context(|| format!("cannot reach {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    /// Sends a whole request and gives the answer's body.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(body) = body(&self.read)? {
                return Ok(&self.read[body..]);
            }
            anyhow::ensure!(self.read.len() <= MAX_ANSWER_BYTES, "the answer is too large");
        }
    }
}

/// Where the body begins, once all of it is there.
fn body(read: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&read[..end])?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("an answer without a length")?.trim().parse()?;
    Ok((read.len() >= end + 4 + length).then_some(end + 4))
}
