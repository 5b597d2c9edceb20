//! What a proxy does once to a request with a chosen word, or to the answer to it.

use std::collections::VecDeque;
use std::sync::MutexGuard;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{BUFFER_BYTES, Shared, State};

/// What happens to the client's request that says `word`, or to one that comes `later` requests after it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    word: &'static str,
    later: usize,
    kind: FaultKind,
    cuts: bool,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// The request never arrives, and the connection is gone.
    LosesRequest,
    /// It arrives and is carried out; the answer is lost with the connection.
    LosesAnswer,
    /// It arrives and is carried out; the answer is held until it is let through.
    HoldsAnswer,
    /// It is held until it is let through, though its connection is cut when the proxy is.
    HoldsRequest,
}

impl Fault {
    /// In the first request from now on that says `word`.
    pub fn at(word: &'static str, kind: FaultKind) -> Self {
        Self {
            word,
            later: 0,
            kind,
            cuts: false,
        }
    }

    /// So many requests later.
    pub fn later(self, later: usize) -> Self {
        Self { later, ..self }
    }

    /// And the proxy is cut from then on.
    pub fn and_cuts(self) -> Self {
        Self { cuts: true, ..self }
    }
}

impl Shared {
    pub(super) fn faults(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.faults.lock().expect("no test panics with it")
    }

    /// Each request is one read: the client sends it at once and waits for its answer.
    pub(super) fn next_fault(&self, request: &[u8]) -> Option<Fault> {
        let mut faults = self.faults();
        let fault = faults.front_mut()?;
        if !fault.word.is_empty()
            && !request
                .windows(fault.word.len())
                .any(|part| part == fault.word.as_bytes())
        {
            return None;
        }
        // From here on any request counts.
        fault.word = "";
        match fault.later.checked_sub(1) {
            Some(left) => fault.later = left,
            None => return faults.pop_front(),
        }
        None
    }
}

/// Lets the fault happen to the request; both ends, if it goes on between them.
pub(super) async fn strike(
    fault: Fault,
    request: &[u8],
    mut client: TcpStream,
    mut server: TcpStream,
    shared: &Shared,
) -> Option<(TcpStream, TcpStream)> {
    let answer = match fault.kind {
        FaultKind::LosesRequest | FaultKind::HoldsRequest => Vec::new(),
        FaultKind::LosesAnswer | FaultKind::HoldsAnswer => {
            carried_out(request, &mut client, &mut server).await
        }
    };
    if fault.cuts {
        shared.state.send_replace(State::Cut);
    }
    shared.has_struck.send_replace(true);
    match fault.kind {
        FaultKind::LosesRequest | FaultKind::LosesAnswer => None,
        FaultKind::HoldsAnswer => {
            shared.let_through.notified().await;
            client.write_all(&answer).await.ok()?;
            Some((client, server))
        }
        FaultKind::HoldsRequest => {
            shared
                .state
                .subscribe()
                .wait_for(|state| *state == State::Cut)
                .await
                .ok()?;
            drop(client);
            shared.let_through.notified().await;
            server.write_all(request).await.ok()?;
            server.readable().await.ok()?;
            None
        }
    }
}

/// Hands the request to the server, and what is still to come of it; what the server answers.
async fn carried_out(request: &[u8], client: &mut TcpStream, server: &mut TcpStream) -> Vec<u8> {
    let (mut said, mut answered) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    server
        .write_all(request)
        .await
        .expect("the server takes it");
    loop {
        tokio::select! {
            read = server.read(&mut answered) => return answered[..read.expect("an answer")].to_vec(),
            Ok(length @ 1..) = client.read(&mut said) => {
                server.write_all(&said[..length]).await.expect("the server takes it");
            }
        }
    }
}
