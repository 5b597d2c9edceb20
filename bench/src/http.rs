//! Just enough of an HTTP/1.1 client to cost the machine little beside the server.

use anyhow::{Context, bail};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// How every answer begins that did what was asked.
const ACCEPTED: &[u8] = br#"{"result":true,"code":"01""#;

/// What ends the head of an answer.
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A connection that is kept open.
pub(crate) struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer, whole.
#[derive(Clone, Copy)]
pub(crate) struct Answer<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Whether it did what was asked.
    pub(crate) fn is_acceptance(&self) -> bool {
        self.body.starts_with(ACCEPTED)
    }

    /// The status; 0 when there is none.
    pub(crate) fn status(&self) -> u16 {
        let digits = self
            .head
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> anyhow::Result<Self> {
        anyhow::ensure!(
            to.ip().is_loopback(),
            "load goes to loopback only, not to {to}"
        );
        let stream = TcpStream::connect(to)
            .await
            .with_context(|| format!("cannot reach {to}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::with_capacity(4096),
        })
    }

    /// Sends a whole request and gives the answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some(body) = body(&self.read)? {
                let (head, body) = self.read.split_at(body);
                return Ok(Answer { head, body });
            }
            anyhow::ensure!(
                self.read.len() <= MAX_ANSWER_BYTES,
                "the answer is too large"
            );
        }
    }
}

/// Where the body begins, once all of it is there.
fn body(read: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(end) = read
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)
    else {
        return Ok(None);
    };
    let length = header(&read[..end], "content-length").context("an answer without a length")?;
    let (body, length) = (end + HEAD_END.len(), length.parse::<usize>()?);
    Ok((read.len() >= body + length).then_some(body))
}

/// The value of the first header of this name, in whatever case it is.
fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value
            .strip_prefix(b":")
            .filter(|_| found.eq_ignore_ascii_case(name.as_bytes()))?;
        std::str::from_utf8(value).ok().map(str::trim)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_begins_after_the_head_once_all_of_it_is_there() {
        let whole = b"HTTP/1.1 503 Service Unavailable\r\nContent-LENGTH: 3\r\nx: y\r\n\r\nabc";
        assert_eq!(body(whole).expect("a length"), Some(whole.len() - 3));
        assert_eq!(body(&whole[..whole.len() - 1]).expect("a length"), None);
        assert!(body(b"HTTP/1.1 200 OK\r\n\r\nabc").is_err());
        let (head, body) = whole.split_at(whole.len() - 3);
        assert_eq!(Answer { head, body }.status(), 503);
    }
}
