//! What one client, and all together, may take: head, target, memory, connections.

use edge::{ConnectionSettings, MAX_HEAD_BYTES, MAX_URI_BYTES};
use rstest::rstest;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{
    LARGE_ANSWER_BYTES, SMALL, TEST_TIMEOUT, is_refusal, rest, served, served_with, until,
};

/// More than a head and a target may have, and more than is thrown away of what nobody reads.
const ENDLESS_BYTES: usize = 380_000;

fn head(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

fn headers(count: usize) -> String {
    (0..count)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect()
}

#[rstest]
#[case::endless_header(format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}", "a".repeat(ENDLESS_BYTES)), 431)]
#[case::endless_headers(format!("GET / HTTP/1.1\r\n{}", headers(ENDLESS_BYTES / 12)), 431)]
#[case::endless_target(format!("GET /{}", "a".repeat(ENDLESS_BYTES)), 414)]
#[case::long_target(format!("GET /{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", "a".repeat(MAX_URI_BYTES)), 414)]
#[case::large_head(head(&format!("x: {}\r\n", "a".repeat(MAX_HEAD_BYTES))), 431)]
#[case::many_headers(head(&headers(99)), 431)]
#[tokio::test]
async fn what_is_too_large_is_told_so(#[case] request: String, #[case] status: u16) {
    let served = served().await;
    let answer = served.answers(request).await;
    assert!(is_refusal(&answer, status, &status.to_string()), "{answer}");
    served.still_answers().await;
}

#[rstest]
#[case::head(head(&format!("x: {}\r\n", "a".repeat(MAX_HEAD_BYTES - 100))))]
#[case::target(format!("GET /?{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", "a".repeat(MAX_URI_BYTES - 2)))]
#[case::headers(head(&headers(98)))]
#[tokio::test]
async fn what_just_fits_is_served(#[case] request: String) {
    let served = served().await;
    assert!(served.answers(request).await.ends_with("here"));
}

/// The rest of a body that is not read must not reset the connection before its answer was read.
#[tokio::test]
async fn a_client_that_sends_too_large_a_body_sees_why() {
    let served = served().await;
    let length = ENDLESS_BYTES;
    let head = format!(
        "POST /body HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    );
    let answer = served
        .answers(format!("{head}{}", " ".repeat(length)))
        .await;
    assert!(is_refusal(&answer, 413, "413"), "{answer}");
}

#[tokio::test]
async fn a_request_names_one_host_and_one_on_loopback_a_host_of_this_machine() {
    let allowed_hosts = vec!["moa.example".parse().unwrap()];
    let served = served_with(ConnectionSettings {
        allowed_hosts,
        ..Default::default()
    })
    .await;
    let asks = |hosts: &str| format!("GET / HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
    for hosts in ["", "host: localhost\r\nhost: localhost\r\n"] {
        let answer = served.answers(asks(hosts)).await;
        assert!(
            is_refusal(&answer, 400, "00") && answer.contains("Host"),
            "{answer}"
        );
    }
    let answer = served.answers(asks("host: evil.example\r\n")).await;
    assert!(
        is_refusal(&answer, 421, "421") && answer.contains("MOA_ALLOWED_HOSTS"),
        "{answer}"
    );
    for host in ["localhost", "127.0.0.1:1", "[::1]", "moa.example:80"] {
        assert!(
            served
                .answers(asks(&format!("host: {host}\r\n")))
                .await
                .ends_with("here"),
            "{host}"
        );
    }
    assert!(
        served
            .answers("GET / HTTP/1.0\r\n\r\n")
            .await
            .ends_with("here")
    );
}

/// 1. There is memory for one large head. 2. Two clients send one, in part. 3. The second is refused, small requests are
/// not. 4. The first goes; its memory is free again.
#[tokio::test]
async fn large_heads_share_their_memory_and_small_ones_need_none() {
    let served = served_with(ConnectionSettings {
        max_shared_bytes: MAX_HEAD_BYTES,
        ..Default::default()
    })
    .await;
    let partial = format!(
        "GET / HTTP/1.1\r\nhost: localhost\r\nx: {}",
        "a".repeat(MAX_HEAD_BYTES - 1_000)
    );
    let mut first = served.sends(&partial).await;
    let refused = refused_once_memory_is_taken(&served, &partial).await;
    assert!(is_refusal(&refused, 503, "OVERLOADED"), "{refused}");
    served.still_answers().await;
    first
        .write_all(b"\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut first).await.ends_with("here"));
    let again = served
        .answers(format!("{partial}\r\nconnection: close\r\n\r\n"))
        .await;
    assert!(again.ends_with("here"), "{again}");
}

/// Sends `partial` until the server has taken note of who was first: a whole request is served until then.
async fn refused_once_memory_is_taken(served: &crate::client::Served, partial: &str) -> String {
    let whole = format!("{partial}\r\nconnection: close\r\n\r\n");
    let asking = async {
        loop {
            let answer = served.answers(&whole).await;
            if !answer.ends_with("here") {
                return answer;
            }
        }
    };
    timeout(TEST_TIMEOUT, asking)
        .await
        .expect("the first one's memory is taken")
}

/// Bodies that may be large, or do not say how large they are, share their memory too.
#[tokio::test]
async fn large_bodies_share_their_memory_and_small_ones_need_none() {
    let served = served_with(ConnectionSettings {
        max_shared_bytes: edge::MAX_BODY_BYTES,
        ..Default::default()
    })
    .await;
    let post = "POST /body HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let chunked = format!("{post}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n");
    let mut first = served
        .sends(format!("{post}content-length: 9000\r\n\r\n{{"))
        .await;
    let asking = async {
        loop {
            let answer = served.answers(&chunked).await;
            if !answer.contains("read") {
                return answer;
            }
        }
    };
    let refused = timeout(TEST_TIMEOUT, asking)
        .await
        .expect("the first one's memory is taken");
    assert!(is_refusal(&refused, 503, "OVERLOADED"), "{refused}");
    let small = served
        .answers(format!("{post}content-length: 2\r\n\r\n{{}}"))
        .await;
    assert!(small.contains("read"), "{small}");
    first
        .write_all(format!("}}{}", " ".repeat(9_000 - 2)).as_bytes())
        .await
        .unwrap();
    assert!(rest(&mut first).await.contains("read"));
    assert!(served.answers(&chunked).await.contains("read"));
}

/// 1. There is memory for one large answer, and a client that does not read has it. 2. Another read is told that we are
/// overloaded; what is no read gets its answer, as it has happened. 3. The client goes, and its memory is free.
#[tokio::test]
async fn answers_that_nobody_takes_share_their_memory() {
    let settings = ConnectionSettings {
        max_shared_bytes: LARGE_ANSWER_BYTES * 3 / 2,
        ..Default::default()
    };
    let served = served_with(settings).await;
    let asks = |method: &str| {
        format!("{method} /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
    };
    let mut never_reads = served.sends(asks("GET")).await;
    never_reads.read_exact(&mut [0; 12]).await.unwrap();
    let refused = served.answers(asks("GET")).await;
    assert!(is_refusal(&refused, 503, "OVERLOADED"), "{refused}");
    assert!(served.answers(asks("POST")).await.len() > LARGE_ANSWER_BYTES);
    served.still_answers().await;
    drop(never_reads);
    let again = async { while served.answers(asks("GET")).await.len() < LARGE_ANSWER_BYTES {} };
    timeout(TEST_TIMEOUT, again)
        .await
        .expect("the memory is free again");
}

/// 1. An address has all the connections that it may have. 2. One more is refused, in the envelope. 3. One goes, and another
/// may come.
#[tokio::test]
async fn an_address_has_so_many_connections_and_no_more() {
    let settings = ConnectionSettings {
        max_connections: 10,
        max_connections_per_peer: 3,
        ..Default::default()
    };
    let served = served_with(settings).await;
    let mut three = Vec::new();
    for _ in 0..3 {
        let mut stream = served.sends(SMALL).await;
        until(&mut stream, "here").await;
        three.push(stream);
    }
    let answer = rest(&mut TcpStream::connect(served.address).await.unwrap()).await;
    assert!(is_refusal(&answer, 429, "RATE_LIMITED"), "{answer}");
    drop(three.pop());
    let admitted = async {
        loop {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            // Refused ones may be reset before they have written.
            stream.write_all(SMALL.as_bytes()).await.ok();
            let mut status = [0; 12];
            if stream.read_exact(&mut status).await.is_ok() && status.ends_with(b"200") {
                return;
            }
        }
    };
    timeout(TEST_TIMEOUT, admitted)
        .await
        .expect("the place is free again");
}

/// A listener that does not get to accepting, as in the second when a product opens, loses nobody: a connection that
/// the kernel has no room for would not be there within the time.
#[tokio::test]
async fn connections_wait_in_the_kernels_queue() {
    const RUSH: usize = 1_000;
    let somaxconn = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|most| most.trim().parse().ok());
    let rush = somaxconn.unwrap_or(RUSH).min(RUSH);
    let listener = edge::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    let rushing = async {
        let mut waiting = Vec::new();
        for _ in 0..rush {
            waiting.push(TcpStream::connect(address).await.unwrap());
        }
        waiting
    };
    let waiting = timeout(Duration::from_secs(20), rushing)
        .await
        .expect("all are connected");
    assert_eq!(waiting.len(), rush);
}
