//! A client's connection, with a time limit on everything that the client must do.
//!
//! The socket sits below hyper and sees bytes, and the [`Progress`] tells it what they are. That is more than hyper's own
//! limits can do: hyper has one limit for idling and for a head together, and answers what it cannot read with an empty
//! body instead of the contract's.

use hyper::StatusCode;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::deadline::Deadline;
use super::policy::{ConnectionPolicy, OWN_BYTES, SharedBytes};
use super::stage::{Progress, Stage};
use crate::request_limits::{HEAD_TIMEOUT, MAX_HEAD_BYTES};

/// How long a client may take to take [`MIN_TAKEN_BYTES`] of an answer, or the rest of it.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// What a client must take of an answer in [`WRITE_TIMEOUT`], in bytes. A client that takes a byte now and then would else
/// hold the answer's memory for hours.
const MIN_TAKEN_BYTES: usize = 4 * 1024;
/// How long a request is waited for that is there already when its connection is about to be closed for idling.
const UNREAD_GRACE: Duration = Duration::from_secs(1);

/// Why a request is refused before any handler has seen it. The connection ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadRefusal {
    /// hyper cannot read it, and would say so with this status.
    Unreadable(StatusCode),
    /// It did not arrive within [`HEAD_TIMEOUT`].
    TooSlow,
    /// It needs more memory than is left for all connections.
    NoMemory,
}

/// What a client is connected by.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether the kernel has bytes of the client, or its farewell, that the runtime has not reported yet.
    fn has_unread(&self) -> bool;
}

impl Socket for TcpStream {
    fn has_unread(&self) -> bool {
        socket2::SockRef::from(self)
            .peek(&mut [MaybeUninit::uninit()])
            .is_ok()
    }
}

impl Socket for TlsStream<TcpStream> {
    fn has_unread(&self) -> bool {
        self.get_ref().0.has_unread()
    }
}

/// The bytes of one connection.
pub(super) struct ClientSocket<S> {
    socket: S,
    progress: Progress,
    policy: ConnectionPolicy,
    read_deadline: Deadline,
    write_deadline: Deadline,
    taken_bytes: usize,
    head_bytes: usize,
    head_memory: Option<SharedBytes>,
    refusal: Option<HeadRefusal>,
}

impl<S: Socket> ClientSocket<S> {
    pub(super) fn new(socket: S, progress: Progress, policy: ConnectionPolicy) -> Self {
        Self {
            socket,
            progress,
            policy,
            read_deadline: Deadline::default(),
            write_deadline: Deadline::default(),
            taken_bytes: 0,
            head_bytes: 0,
            head_memory: None,
            refusal: None,
        }
    }

    /// The socket itself, and why its last request was refused, when it was.
    pub(super) fn into_parts(self) -> (S, Option<HeadRefusal>) {
        (self.socket, self.refusal)
    }

    /// Takes what a head needs beyond the connection's own bytes.
    fn take_head_memory(&mut self) -> io::Result<()> {
        let needed = self.progress.stage() == Stage::Head && self.head_bytes >= OWN_BYTES;
        if needed && self.head_memory.is_none() {
            self.head_memory = self.policy.take(MAX_HEAD_BYTES);
            if self.head_memory.is_none() {
                return Err(self.refuse(HeadRefusal::NoMemory));
            }
        }
        Ok(())
    }

    fn refuse(&mut self, refusal: HeadRefusal) -> io::Error {
        self.refusal = Some(refusal);
        io::ErrorKind::TimedOut.into()
    }

    fn has_arrived(&mut self, bytes: &[u8]) {
        match self.progress.stage() {
            // Some clients end a body with an empty line more, which is no head.
            Stage::Idle if !bytes.iter().all(|byte| b"\r\n".contains(byte)) => {
                self.progress.enter(Stage::Head);
                self.read_deadline.lift();
                self.head_bytes = bytes.len();
            }
            Stage::Head => self.head_bytes += bytes.len(),
            Stage::Idle | Stage::Serving | Stage::Answered => {}
        }
    }

    /// Nothing has arrived: how long is that all right?
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.progress.stage() {
            Stage::Idle => {
                self.read_deadline.set(self.policy.idle_timeout());
                ready!(self.read_deadline.poll_passed(cx));
                if self.socket.has_unread() {
                    self.read_deadline.postpone(UNREAD_GRACE);
                    return self.read_deadline.poll_passed(cx).map(Ok);
                }
                metrics::counter!("moa_http_connections_cut_total", "why" => "idle").increment(1);
                // No byte more is how a client ends its side: hyper closes an idle connection then.
                Poll::Ready(Ok(()))
            }
            Stage::Head => {
                self.read_deadline.set(HEAD_TIMEOUT);
                ready!(self.read_deadline.poll_passed(cx));
                Poll::Ready(Err(self.refuse(HeadRefusal::TooSlow)))
            }
            // Handlers bound how long a body may take, and themselves.
            Stage::Serving | Stage::Answered => Poll::Pending,
        }
    }

    /// hyper writes while no handler has a request: that is its own answer to what it cannot read. It is dropped, as the
    /// connection ends with the contract's.
    fn is_hypers_own(&mut self, bytes: &[u8]) -> bool {
        let own = matches!(self.progress.stage(), Stage::Idle | Stage::Head);
        if own && self.refusal.is_none() {
            let status = bytes
                .get("HTTP/1.1 ".len()..)
                .and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok());
            self.refusal = Some(HeadRefusal::Unreadable(
                status.unwrap_or(StatusCode::BAD_REQUEST),
            ));
        }
        own
    }

    fn watch_write(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.taken_bytes += bytes;
                if self.taken_bytes >= MIN_TAKEN_BYTES {
                    self.write_deadline.lift();
                    self.taken_bytes = 0;
                }
                written
            }
            Poll::Ready(Err(_)) => written,
            Poll::Pending => self.poll_not_taken(cx).map(Err),
        }
    }

    /// The client takes nothing: how long is that all right?
    fn poll_not_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.write_deadline.set(WRITE_TIMEOUT);
        ready!(self.write_deadline.poll_passed(cx));
        metrics::counter!("moa_http_connections_cut_total", "why" => "answer not taken")
            .increment(1);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// All that was written is with the kernel.
    fn has_written(&mut self) {
        self.write_deadline.lift();
        self.taken_bytes = 0;
        if self.progress.stage() == Stage::Answered {
            self.progress.enter(Stage::Idle);
            self.read_deadline.lift();
            self.head_memory = None;
        }
    }
}

impl<S: Socket> AsyncRead for ClientSocket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.take_head_memory()?;
        let before = buf.filled().len();
        match Pin::new(&mut this.socket).poll_read(cx, buf) {
            Poll::Ready(read) => {
                this.has_arrived(&buf.filled()[before..]);
                Poll::Ready(read)
            }
            Poll::Pending => this.poll_silence(cx),
        }
    }
}

impl<S: Socket> AsyncWrite for ClientSocket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_hypers_own(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.watch_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_hypers_own(slices.first().map_or(&[], |slice| slice)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        let written = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.socket).poll_flush(cx) {
            Poll::Ready(flushed) => flushed?,
            // TLS has some of it still.
            Poll::Pending => return this.poll_not_taken(cx).map(Err),
        }
        this.has_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // There is something to say yet.
        if this.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
