//! A listener hears what is notified, and never waits for an answer that does not come.

use crate::proxied_pool::ProxiedPool;
use connection_pool::Listener;
use std::io::ErrorKind;
use std::time::Duration;
use testbed::{soon, until};

/// For connecting and an answer, on a slow machine.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(10);

async fn listening(test: &ProxiedPool) -> Listener {
    let patient = test.pool.clone().with_answer_timeout(LISTEN_TIMEOUT);
    patient.listen("news").await.unwrap()
}

async fn notify(test: &ProxiedPool, payload: &str) {
    sqlx::query("select pg_notify('news', $1)")
        .bind(payload)
        .execute(&test.direct)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_listener_hears_what_is_notified_in_order() {
    let test = ProxiedPool::new().await;
    let mut listener = listening(&test).await;
    for payload in ["one", "two"] {
        notify(&test, payload).await;
    }
    for payload in ["one", "two"] {
        assert_eq!(soon(listener.next()).await.unwrap(), payload);
    }
}

async fn none_is_silent(test: &ProxiedPool) {
    until("silent ones are closed", async || test.proxy.silent() == 0).await;
}

/// 1. Its connection breaks: it says so.
/// 2. That of another falls silent: it says so, and closes it.
/// 3. Nobody waits for another that is silent any more: it is closed at once.
/// 4. The server does not answer: nobody listens, and that is said, too.
/// 5. The server answers again: a new listener hears.
#[tokio::test]
async fn a_listener_says_when_it_cannot_hear() {
    let test = ProxiedPool::new().await;
    let mut listener = listening(&test).await;
    test.proxy.cut_clients_off();
    soon(listener.next()).await.unwrap_err();

    let mut listener = listening(&test).await;
    test.proxy.silence();
    soon(listener.next()).await.unwrap_err();
    none_is_silent(&test).await;

    let unheard = listening(&test).await;
    test.proxy.silence();
    until("it is silent", async || test.proxy.silent() == 1).await;
    drop(unheard);
    none_is_silent(&test).await;

    test.proxy.silence_new(true);
    let error = soon(test.pool.listen("news")).await.err().unwrap();
    assert!(
        matches!(&error, sqlx::Error::Io(error) if error.kind() == ErrorKind::TimedOut),
        "{error}"
    );

    test.proxy.silence_new(false);
    let mut listener = listening(&test).await;
    notify(&test, "again").await;
    assert_eq!(soon(listener.next()).await.unwrap(), "again");
}
