//! A connection whose peer must keep taking what it asked for.

use hyper::rt::{Read, ReadBufCursor, Write};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// How long a write may wait for the peer to take a byte.
const WRITE_TIME_LIMIT: Duration = Duration::from_secs(30);

/// Fails a write that the peer has not let go on for 30 s: a client that asks and never reads would hold its connection,
/// and the answer's memory, for ever.
pub(crate) struct NoStall<T> {
    inner: T,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<T> NoStall<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, stalled: None }
    }

    fn watch<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIME_LIMIT)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: Read + Unpin> Read for NoStall<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<T: Write + Unpin> Write for NoStall<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_util::rt::TokioIo;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;

    const PIPE: usize = 4;

    async fn write(io: &mut NoStall<TokioIo<tokio::io::DuplexStream>>) -> io::Result<usize> {
        poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, &[0; PIPE])).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_fails_the_write_and_one_that_is_only_slow_does_not() {
        let (ours, mut theirs) = tokio::io::duplex(PIPE);
        let mut io = NoStall::new(TokioIo::new(ours));
        write(&mut io).await.unwrap();
        for _ in 0..3 {
            let slowly = async {
                sleep(WRITE_TIME_LIMIT - Duration::from_secs(1)).await;
                theirs.read_exact(&mut [0; PIPE]).await
            };
            let (written, read) = tokio::join!(write(&mut io), slowly);
            assert_eq!((written.unwrap(), read.unwrap()), (PIPE, PIPE));
        }
        assert_eq!(write(&mut io).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
