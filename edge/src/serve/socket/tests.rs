//! Each time limit of a connection, by a clock that the test moves.

use super::*;
use crate::ConnectionSettings;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep, timeout};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
const PIPE_BYTES: usize = MIN_TAKEN_BYTES;

/// One end of a pipe, of which is said whether something unread is there, and whether it keeps what it was given, as TLS may.
struct Fake {
    pipe: DuplexStream,
    has_unread: bool,
    keeps: bool,
}

impl Socket for Fake {
    fn has_unread(&self) -> bool {
        self.has_unread
    }
}

impl AsyncRead for Fake {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fake {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.keeps {
            return Poll::Pending;
        }
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

fn connected(has_unread: bool) -> (ClientSocket<Fake>, Progress, DuplexStream) {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let policy = ConnectionPolicy::new(ConnectionSettings {
        idle_timeout: IDLE_TIMEOUT,
        ..Default::default()
    });
    let progress = Progress::default();
    (
        ClientSocket::new(
            Fake {
                pipe: ours,
                has_unread,
                keeps: false,
            },
            progress.clone(),
            policy,
        ),
        progress,
        theirs,
    )
}

async fn write(socket: &mut ClientSocket<Fake>) -> io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *socket).poll_write(cx, &[0; PIPE_BYTES])).await
}

#[tokio::test(start_paused = true)]
async fn who_idles_is_closed_after_the_idle_timeout_and_who_dawdles_over_a_head_after_the_heads() {
    let (mut socket, progress, mut client) = connected(false);
    let began = Instant::now();
    assert_eq!(socket.read(&mut [0; 9]).await.unwrap(), 0);
    assert!(began.elapsed() >= IDLE_TIMEOUT && began.elapsed() < IDLE_TIMEOUT + POLL_INTERVAL);
    client.write_all(b"GET").await.unwrap();
    assert_eq!(socket.read(&mut [0; 9]).await.unwrap(), 3);
    assert_eq!(progress.stage(), Stage::Head);
    let began = Instant::now();
    assert_eq!(
        socket.read(&mut [0; 9]).await.unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    assert!(began.elapsed() >= HEAD_TIMEOUT && began.elapsed() < HEAD_TIMEOUT + POLL_INTERVAL);
    assert_eq!(socket.into_parts().1, Some(HeadRefusal::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn the_heads_limit_counts_from_its_first_byte_and_not_from_its_last() {
    let (mut socket, _, mut client) = connected(false);
    let began = Instant::now();
    let dripping = async {
        loop {
            client.write_all(b"x").await.unwrap();
            sleep(POLL_INTERVAL).await;
        }
    };
    let reading = async {
        while socket.read(&mut [0; 9]).await.is_ok() {}
        began.elapsed()
    };
    let taken = tokio::select! {
        () = dripping => unreachable!(),
        taken = reading => taken,
    };
    assert!(
        taken >= HEAD_TIMEOUT && taken < HEAD_TIMEOUT + POLL_INTERVAL,
        "{taken:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_there_when_its_connection_was_to_be_closed_is_waited_for() {
    let (mut socket, _, mut client) = connected(true);
    let late = async {
        sleep(IDLE_TIMEOUT + UNREAD_GRACE / 2).await;
        client.write_all(b"GET").await.unwrap();
    };
    let (read, ()) = tokio::join!(async { socket.read(&mut [0; 9]).await }, late);
    assert_eq!(read.unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_empty_line_begins_no_head_and_does_not_prolong_idling() {
    let (mut socket, progress, mut client) = connected(false);
    let began = Instant::now();
    let empty_lines = async {
        loop {
            client.write_all(b"\r\n").await.unwrap();
            sleep(HEAD_TIMEOUT).await;
        }
    };
    let reading = async { while socket.read(&mut [0; 9]).await.unwrap() > 0 {} };
    tokio::select! {
        () = empty_lines => unreachable!(),
        () = reading => {}
    }
    assert_eq!(progress.stage(), Stage::Idle);
    assert!(
        began.elapsed() >= IDLE_TIMEOUT && began.elapsed() < IDLE_TIMEOUT + POLL_INTERVAL,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_take_its_time() {
    let (mut socket, progress, _client) = connected(false);
    progress.enter(Stage::Serving);
    assert!(
        timeout(IDLE_TIMEOUT * 2, socket.read(&mut [0; 9]))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn what_tls_cannot_pass_on_for_too_long_cuts_its_client() {
    let (mut socket, progress, _client) = connected(false);
    socket.socket.keeps = true;
    progress.enter(Stage::Answered);
    write(&mut socket).await.unwrap();
    let began = Instant::now();
    assert_eq!(
        socket.flush().await.unwrap_err().kind(),
        io::ErrorKind::TimedOut
    );
    assert!(began.elapsed() >= WRITE_TIMEOUT && began.elapsed() < WRITE_TIMEOUT + POLL_INTERVAL);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_too_little_of_its_answer_is_cut_and_one_that_is_only_slow_is_not() {
    let (mut socket, progress, mut client) = connected(false);
    progress.enter(Stage::Answered);
    write(&mut socket).await.unwrap();
    for _ in 0..3 {
        let slowly = async {
            sleep(WRITE_TIMEOUT - POLL_INTERVAL).await;
            client.read_exact(&mut [0; PIPE_BYTES]).await
        };
        let (written, read) = tokio::join!(write(&mut socket), slowly);
        assert_eq!((written.unwrap(), read.unwrap()), (PIPE_BYTES, PIPE_BYTES));
    }
    let began = Instant::now();
    let a_byte_each_second = async {
        loop {
            sleep(POLL_INTERVAL).await;
            client.read_exact(&mut [0]).await.unwrap();
        }
    };
    let writing = async {
        loop {
            if let Err(error) = write(&mut socket).await {
                return error;
            }
        }
    };
    let error = tokio::select! {
        error = writing => error,
        () = a_byte_each_second => unreachable!(),
    };
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(
        began.elapsed() < WRITE_TIMEOUT + POLL_INTERVAL * 2,
        "{:?}",
        began.elapsed()
    );
}
