//! `serve` against real sockets: slow, broken and late clients.

use edge::ConnectionSettings;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{SMALL, TEST_TIMEOUT, is_refusal, rest, served, served_with, until};

/// 1. One client sends half a head, another nothing, a third has had an answer. 2. The first is told that it is too slow.
/// 3. The others are served all the same: idling has a limit of its own.
#[tokio::test]
async fn a_client_that_dawdles_over_its_head_is_cut_off_and_one_that_idles_is_not() {
    let served = served().await;
    let begun = Instant::now();
    let mut silent = served.sends("").await;
    let mut used = served.sends(SMALL).await;
    until(&mut used, "here").await;
    let mut dawdler = served.sends("GET / HTTP/1.1\r\nho").await;
    served.still_answers().await;
    let answer = rest(&mut dawdler).await;
    assert!(is_refusal(&answer, 408, "408"), "{answer}");
    let held = begun.elapsed();
    assert!(
        held < edge::HEAD_TIMEOUT + TEST_TIMEOUT,
        "held a connection for {held:?}"
    );
    for idle in [&mut silent, &mut used] {
        idle.write_all(SMALL.as_bytes()).await.unwrap();
        until(idle, "here").await;
    }
}

/// The end of idling is the end of the stream and nothing else: no answer that nobody asked for.
#[tokio::test]
async fn an_idle_connection_is_closed_cleanly() {
    let idle_timeout = Duration::from_millis(300);
    let served = served_with(ConnectionSettings {
        idle_timeout,
        ..Default::default()
    })
    .await;
    let mut silent = served.sends("").await;
    let mut used = served.sends(SMALL).await;
    until(&mut used, "here").await;
    assert_eq!(
        (rest(&mut silent).await, rest(&mut used).await),
        (String::new(), String::new())
    );
}

/// Requests that come shortly before the end of idling keep the connection, each time for the whole limit.
#[tokio::test]
async fn each_request_begins_the_idling_anew() {
    let idle_timeout = Duration::from_secs(2);
    let served = served_with(ConnectionSettings {
        idle_timeout,
        ..Default::default()
    })
    .await;
    let mut used = served.sends("").await;
    let begun = Instant::now();
    while begun.elapsed() < idle_timeout * 2 {
        used.write_all(SMALL.as_bytes()).await.unwrap();
        until(&mut used, "here").await;
        tokio::time::sleep(idle_timeout / 10).await;
    }
}

#[tokio::test]
async fn a_malformed_request_ends_only_its_connection() {
    let served = served().await;
    for garbage in [
        "\0\0\0\0\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let answer = served.answers(garbage).await;
        assert!(is_refusal(&answer, 400, "00"), "{garbage:?}: {answer}");
    }
    served.still_answers().await;
}

/// What was answered before, on the same connection, arrives whole and first.
#[tokio::test]
async fn a_malformed_request_after_good_ones_takes_nothing_from_them() {
    let served = served().await;
    let answer = served
        .answers(format!("{SMALL}{SMALL}garbage\r\n\r\n"))
        .await;
    let (good, refusal) = answer.rsplit_once("here").unwrap();
    assert_eq!(good.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert!(is_refusal(refusal, 400, "00"), "{answer}");
}

#[tokio::test]
async fn a_client_that_ends_its_side_after_its_request_gets_its_answer() {
    let served = served().await;
    let mut held = served
        .sends("GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    held.shutdown().await.unwrap();
    served.asked.notified().await;
    // Its farewell is there before the answer is.
    served.still_answers().await;
    served.answer.notify_one();
    assert!(rest(&mut held).await.ends_with("held"));
}

/// 1. A request is in flight and another connection idles. 2. Shutdown. 3. New connections are refused while the request
/// still waits. 4. The request is answered, and only then does `serve` return.
#[tokio::test]
async fn shutdown_accepts_no_more_and_lets_requests_finish() {
    let served = served().await;
    let mut idle = served.sends("").await;
    let mut held = served
        .sends("GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    served.asked.notified().await;
    served.shutdown.cancel();
    timeout(TEST_TIMEOUT, async {
        while TcpStream::connect(served.address).await.is_ok() {}
    })
    .await
    .unwrap();
    assert_eq!(
        timeout(TEST_TIMEOUT, idle.read(&mut [0]))
            .await
            .unwrap()
            .unwrap(),
        0,
        "who idles is let go"
    );
    assert!(!served.ended.is_finished());
    served.answer.notify_one();
    assert!(rest(&mut held).await.ends_with("held"));
    timeout(TEST_TIMEOUT, served.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let served = served().await;
    let _held = served
        .sends("GET /held HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    served.asked.notified().await;
    served.shutdown.cancel();
    timeout(edge::SHUTDOWN_TIMEOUT + TEST_TIMEOUT, served.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
